import type { Telling } from '#core/alert';
import type { Message } from '#core/message';
import type { RunContext } from '#core/ports';

/** What a channel needs of the run it speaks for. */
export type Surroundings = Pick<RunContext, 'reveal' | 'processes' | 'clock' | 'signal' | 'host'>;

/** Carries one message. Throws `Undelivered`; what else it throws is told as it is, without what the run revealed. */
export type Send = (telling: Telling, message: Message) => Promise<void>;

/** Why a message did not arrive, in words that hold no secret. */
export class Undelivered extends Error {
  /** Whether the same may succeed within seconds. */
  readonly retryable: boolean;
  /** How long the other side asks to be left alone. */
  readonly afterMs: number | null;

  constructor(message: string, details: { retryable?: boolean; afterMs?: number | null; cause?: unknown } = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.retryable = details.retryable ?? false;
    this.afterMs = details.afterMs ?? null;
  }
}

/** How patient a delivery is. */
export interface Pace {
  /** From the first attempt to the end of the last; a wait that would end later is not begun. */
  readonly totalMs: number;
  /** For one attempt, the answer included. */
  readonly attemptMs: number;
  readonly attempts: number;
  /** Longest wait before the second attempt; doubles with each further one. */
  readonly firstMs: number;
  random(): number;
}

export const PACE: Pace = { totalMs: 30_000, attemptMs: 10_000, attempts: 5, firstMs: 1000, random: Math.random };

/**
 * Tries until it succeeds, fails for good, or the time is over: exponential backoff with jitter, never less than the
 * other side asks for.
 * @param attempt gets a signal that fires when its own time is over, or the run is stopped
 * @throws Undelivered
 */
export async function untilDelivered<T>(
  { clock, signal }: Surroundings,
  pace: Pace,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const began = clock.now().getTime();
  for (let tried = 1; ; tried++) {
    if (signal.aborted) throw new Undelivered('stopped before it was sent');
    try {
      const left = Math.max(1, pace.totalMs - (clock.now().getTime() - began));
      return await attempt(AbortSignal.any([signal, AbortSignal.timeout(Math.min(pace.attemptMs, left))]));
    } catch (error) {
      if (signal.aborted) throw new Undelivered('stopped while it was sent', { cause: error });
      if (!(error instanceof Undelivered) || !error.retryable) throw error;
      const longest = pace.firstMs * 2 ** (tried - 1);
      const wait = Math.max(error.afterMs ?? 0, Math.round(longest * (0.5 + pace.random() / 2)));
      const spent = clock.now().getTime() - began;
      if (tried >= pace.attempts || spent + wait > pace.totalMs) throw givenUp(error, tried, spent);
      await clock.sleep(wait, signal);
    }
  }
}

function givenUp(error: Undelivered, tried: number, spentMs: number): Undelivered {
  if (tried === 1) return error;
  const message = `${error.message} (tried ${tried} times in ${Math.round(spentMs / 1000)} s)`;
  return new Undelivered(message, { cause: error });
}
