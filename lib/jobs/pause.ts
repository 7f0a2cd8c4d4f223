import { UsageError } from '#core/errors';
import { pausedAt } from '#core/history';
import { isoTime } from '#core/manifest';
import type { JobEnvironment } from '#jobs/environment';
import { historyOf } from '#jobs/source-history';
import { type Told, tellVaults } from '#jobs/tell-vaults';

/** A pause or its end, as it was written down. */
export interface PauseChange extends Told {
  readonly source: string;
  readonly paused: boolean;
  readonly reason: string | null;
  readonly until: string | null;
}

/**
 * Stops a source's schedules until `until`, or `resume`. What somebody asks for by hand is made all the same.
 * @param until null: no end
 * @throws UsageError the end has passed; HoldfastError no vault could be written
 */
export async function pause(
  source: string,
  reason: string,
  until: Date | null,
  environment: JobEnvironment,
): Promise<PauseChange> {
  const now = environment.run.clock.now();
  if (until && until <= now)
    throw new UsageError(`a pause until ${isoTime(until)} is over already: it is ${isoTime(now)}`, { source });
  const end = until && isoTime(until);
  const written = await tellVaults(
    source,
    { event: 'pause', id: null, manifest: null, details: { reason: environment.redact(reason), until: end } },
    environment,
  );
  return { source, paused: true, reason, until: end, ...written };
}

/** Ends a pause; what was due meanwhile is caught up once. Written down also where there is none: some vault may say else. */
export async function resume(source: string, reason: string | null, environment: JobEnvironment): Promise<PauseChange> {
  const said = reason && environment.redact(reason);
  const written = await tellVaults(
    source,
    { event: 'resume', id: null, manifest: null, details: { reason: said } },
    environment,
  );
  return { source, paused: false, reason, until: null, ...written };
}

/** The reason and end of a source's pause, in words; null when it is not paused, or no vault can say. */
export async function pauseOf(source: string, environment: JobEnvironment): Promise<string | null> {
  const { history } = await historyOf(source, environment);
  const paused = pausedAt(history, environment.run.clock.now());
  return paused && `${paused.reason} (since ${paused.since}${paused.until === null ? '' : `, until ${paused.until}`})`;
}
