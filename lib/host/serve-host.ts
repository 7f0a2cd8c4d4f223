import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { HoldfastError } from '#core/errors';
import { type Machine, openWorld, readPlan, variablesOf, type World } from '#host/world';
import type { JobEnvironment } from '#jobs/environment';
import { finishLeftHooks } from '#jobs/hooks';
import type { ServeHost } from '#jobs/serve';

/**
 * What this machine gives `serve`: one world for looking, with the vaults opened once, and one for each job, with a
 * scratch directory and children of its own, so that nothing of a job outlives it. S3 connections are kept; a plan that
 * was changed opens its vaults anew.
 */
export class HostOfServe implements ServeHost {
  readonly #machine: Machine;
  readonly #path: string;
  #world: World;
  /** What the plan in force was read from. */
  #text: string;
  /** The newest text, when it is wrong, and why. */
  #refused: { readonly text: string; readonly error: HoldfastError } | null = null;

  private constructor(machine: Machine, path: string, world: World, text: string) {
    this.#machine = machine;
    this.#path = path;
    this.#world = world;
    this.#text = text;
  }

  static async open(machine: Machine, path: string): Promise<HostOfServe> {
    const text = textOf(path);
    return new HostOfServe(machine, path, await openWorld(machine, path), text);
  }

  environment(): World {
    return this.#world;
  }

  async inRun<T>(act: (environment: JobEnvironment) => Promise<T>): Promise<T> {
    const own = new AbortController();
    const stop = (): void => own.abort(this.#machine.signal.reason);
    if (this.#machine.signal.aborted) stop();
    // A signal that lives for months must not remember each of its jobs.
    this.#machine.signal.addEventListener('abort', stop, { once: true });
    try {
      const world = await openWorld({ ...this.#machine, signal: own.signal }, this.#path, this.#world);
      try {
        for (const warning of await finishLeftHooks(world)) world.run.log.warn(warning);
        return await act(world);
      } finally {
        await world.close();
      }
    } finally {
      this.#machine.signal.removeEventListener('abort', stop);
    }
  }

  async reread(): Promise<boolean> {
    const text = textOf(this.#path);
    if (text === this.#text) {
      this.#refused = null;
      return false;
    }
    if (this.#refused?.text === text) throw this.#refused.error;
    try {
      readPlan(this.#path, this.#machine.directory);
      this.#machine.secrets.lookIn(variablesOf(this.#machine.environment, dirname(this.#path)));
      const former = this.#world;
      this.#world = await openWorld(this.#machine, this.#path);
      // `reread` is called between two jobs, so nothing lies in its scratch.
      await former.close();
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      this.#refused = { text, error };
      throw error;
    }
    this.#text = text;
    this.#refused = null;
    return true;
  }

  async close(): Promise<void> {
    await this.#world.close();
  }
}

/** Hash of the plan and of `.env` beside it; of what is absent, of nothing. */
function textOf(path: string): string {
  const hash = createHash('sha256');
  for (const file of [path, join(dirname(path), '.env')])
    hash.update(existsSync(file) ? readFileSync(file) : 'absent').update('\0');
  return hash.digest('hex');
}
