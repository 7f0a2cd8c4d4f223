import * as z from 'zod';
import { repetitionAt } from '#core/due';
import { HoldfastError } from '#core/errors';
import type { Source } from '#core/plan';
import type { Vault } from '#core/ports';
import { provesAtOnce } from '#core/proof';
import { outcomesOf, placesOf } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { vaultsOf } from '#jobs/home';
import { openLease } from '#vault/lease';

const NOTE = 'proofs';
/** Only of backups of the last days is a proof made up for; the newest of all matters. */
const LOOK_BACK_MILLISECONDS = 3 * 86_400_000;

/** By source: how often a proof of its newest backup was started again, and when. */
const noteSchema = z.record(z.string(), z.strictObject({ id: z.string(), attempts: z.int(), at: z.iso.datetime() }));

/**
 * The newest backup of a source when nothing has been said about it: the task that was to prove it never began, or
 * ended without a word. Tried again as a failed run is, 15 minutes later, then 30, 60 …; each time is noted.
 */
export async function proofToRepeat(
  source: string,
  environment: JobEnvironment,
): Promise<{ readonly id: string; readonly attempt: number } | null> {
  const settings = environment.plan.plan.sources[source] as Source;
  if (!provesAtOnce(settings)) return null;
  const now = environment.run.clock.now();
  const newest = await newestUntried(source, environment);
  if (newest === null) return null;
  const parsed = noteSchema.safeParse(await environment.notes.read(NOTE));
  const notes = parsed.success ? parsed.data : {};
  const known = notes[source]?.id === newest ? notes[source] : undefined;
  if (known === undefined || repetitionAt({ failures: known.attempts, at: new Date(known.at) }) > now) {
    // Seen for the first time: its own proof may be just about to begin.
    if (known === undefined) await noted({ id: newest, attempts: 1, at: now.toISOString() });
    return null;
  }
  await noted({ id: newest, attempts: known.attempts + 1, at: now.toISOString() });
  return { id: newest, attempt: known.attempts };

  async function noted(note: z.output<typeof noteSchema>[string]): Promise<void> {
    await environment.notes.write(NOTE, { ...notes, [source]: note });
  }
}

/** Null also while somebody is at it. */
async function newestUntried(source: string, environment: JobEnvironment): Promise<string | null> {
  const since = new Date(environment.run.clock.now().getTime() - LOOK_BACK_MILLISECONDS);
  let newest: string | null = null;
  const tried = new Set<string>();
  const vaults: Vault[] = [];
  for (const name of vaultsOf(source, environment)) {
    try {
      const vault = environment.vault(name);
      for (const { id } of await placesOf(vault, source, since)) if (newest === null || id > newest) newest = id;
      for (const id of (await outcomesOf(vault, source, since)).keys()) tried.add(id);
      vaults.push(vault);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      environment.run.log.debug(`whether a proof of ${source} was lost is not asked of ${name}: ${error.message}`);
    }
  }
  if (newest === null || tried.has(newest)) return null;
  for (const vault of vaults)
    if ((await openLease(vault, { source, job: 'prove' }, environment.isGone))?.alive) return null;
  return newest;
}
