import { setTimeout as wait } from 'node:timers/promises';
import { Cancelled } from '#core/errors';
import type { Clock } from '#core/ports';

/** Something that happens to the world at a moment of virtual time. */
export interface Happening {
  readonly at: Date;
  act(): void | Promise<void>;
}

/**
 * Time for tests of what runs for hours: it stands still while a job is under way, and jumps when the loop has nothing
 * to do. `pacer` is for the loop, `clock` for the jobs, whose own waiting is real.
 */
export class FastTime {
  #now: Date;
  readonly #happenings: Happening[];
  readonly #end: Date;
  readonly #over = new AbortController();
  /** Virtual milliseconds that pass in a real one while a job runs; 0 = none. */
  speed = 0;
  #since = performance.now();

  constructor(start: Date, end: Date, happenings: readonly Happening[] = []) {
    this.#now = start;
    this.#end = end;
    this.#happenings = [...happenings].sort((a, b) => a.at.getTime() - b.at.getTime());
  }

  /** Fires when the end is reached: for whoever waits for it. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  stop(): void {
    this.#over.abort(new Error('the time is over'));
  }

  readonly now = (): Date => {
    const passed = this.speed * (performance.now() - this.#since);
    return new Date(this.#now.getTime() + passed);
  };

  /** For the jobs. */
  get clock(): Clock {
    return {
      now: this.now,
      sleep: async (milliseconds, signal) => {
        try {
          await wait(this.speed > 0 ? milliseconds / this.speed : milliseconds, undefined, signal ? { signal } : {});
        } catch (cause) {
          throw new Cancelled('stopped while waiting', { cause });
        }
      },
    };
  }

  /** For the loop: what happens on the way happens, and wakes it. */
  get pacer(): Clock {
    return {
      now: this.now,
      sleep: async (milliseconds, signal) => {
        if (signal?.aborted) throw new Cancelled('stopped while waiting');
        const now = this.now();
        const until = new Date(Math.min(now.getTime() + Math.max(milliseconds, 1), this.#end.getTime()));
        const next = this.#happenings[0];
        this.#jump(next && next.at <= until ? new Date(Math.max(next.at.getTime(), now.getTime())) : until);
        if (next && next.at <= until) {
          this.#happenings.shift();
          await next.act();
        }
        if (this.#now >= this.#end) this.stop();
      },
    };
  }

  /** As somebody sets a clock. */
  set(to: Date): void {
    this.#jump(to);
  }

  #jump(to: Date): void {
    this.#now = to;
    this.#since = performance.now();
  }
}
