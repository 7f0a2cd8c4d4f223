import { Cancelled, KeyMissing, PartlyDone } from '#core/errors';
import type { Vault } from '#core/ports';
import { outcomeInName } from '#core/proof';
import type { JobEnvironment } from '#jobs/environment';
import { holdKey } from '#jobs/holds';
import type { Folder, Surveyed } from '#jobs/retain-survey';
import type { Lease } from '#vault/lease';
import { appendLedger } from '#vault/ledger-store';

/** How something was given up. `swept`: what a failed run left (I13). */
export type How = 'removed' | 'marked' | 'swept';

/** What a run of retention may touch, and what it must look at before it does. */
export interface Applying {
  readonly vault: Vault;
  readonly source: string;
  readonly lease: Lease;
  /** What all removals stand on; null when only leftovers are touched. */
  readonly newest: Surveyed | null;
  /** Tiers in which the store itself removes what is marked. */
  readonly marking: ReadonlySet<string>;
  /** Whether the store removes marked proofs. */
  readonly markingProofs: boolean;
  /** Ids whose `retained` entry was written before, by a run that was killed or whose marks the store has yet to act on. */
  readonly given: ReadonlySet<string>;
  readonly released: ReadonlySet<string>;
  readonly environment: JobEnvironment;
}

/**
 * Gives one backup up, so that it can be killed at any moment: its ledger entry, then its manifest (from here on it is no
 * backup), then its artifacts, then its proofs. What a killed run left, the next one knows by the ledger entry.
 * @returns null: somebody holds it since it was decided about
 * @throws LeaseLost, PartlyDone what was decided does not hold any more
 */
export async function giveUp(
  backup: Surveyed,
  reasons: readonly string[],
  proofs: readonly string[],
  applying: Applying,
): Promise<How | null> {
  const { vault, source, environment, given } = applying;
  await mayGoOn(applying);
  if (await isHeldNow(backup.id, applying)) return null;
  const how = applying.marking.has(backup.tier) ? 'marked' : 'removed';
  if (!given.has(backup.id))
    await appendLedger(
      vault,
      source,
      {
        event: 'retained',
        id: backup.id,
        manifest: backup.sha256,
        host: environment.run.host,
        details: { tier: backup.tier, how, reasons: [...reasons] },
      },
      environment.run.clock,
    );
  await take(backup.folder, applying);
  await takeProofs(proofs, how, applying);
  return how;
}

/** Goes on with what a killed run began: a folder without a manifest whose `retained` entry is there. */
export async function finish(folder: Folder, proofs: readonly string[], applying: Applying): Promise<How> {
  await mayGoOn(applying);
  const how = applying.marking.has(folder.tier) ? 'marked' : 'removed';
  await take(folder, applying);
  await takeProofs(proofs, how, applying);
  return how;
}

/** Removes what a failed run left, which never was a backup. */
export async function sweep(folder: Folder, reason: string, applying: Applying): Promise<void> {
  const { vault, source, environment } = applying;
  await mayGoOn(applying);
  await appendLedger(
    vault,
    source,
    {
      event: 'retained',
      id: folder.id,
      manifest: null,
      host: environment.run.host,
      details: { tier: folder.tier, how: 'swept', reasons: [reason] },
    },
    environment.run.clock,
  );
  await take(folder, applying);
}

/** Proofs of a backup that is no more. */
export async function takeProofs(keys: readonly string[], how: How, applying: Applying): Promise<void> {
  if (how !== 'marked') return removeAll(applying.vault, keys);
  if (applying.markingProofs) await applying.vault.expiryMarks?.mark(keys);
}

async function take(folder: Folder, { vault, marking }: Applying): Promise<void> {
  const keys = [...(folder.manifest === null ? [] : [folder.manifest]), ...folder.rest];
  if (marking.has(folder.tier)) await vault.expiryMarks?.mark(keys);
  else await removeAll(vault, keys);
}

async function removeAll(vault: Vault, keys: readonly string[]): Promise<void> {
  for (const key of keys) {
    try {
      await vault.remove(key);
    } catch (error) {
      // The run before this one came so far.
      if (!(error instanceof KeyMissing)) throw error;
    }
  }
}

/** Asked before each step: minutes may have passed since all was looked at. */
async function mayGoOn({ vault, source, lease, newest, environment }: Applying): Promise<void> {
  const { signal } = environment.run;
  if (lease.lost.aborted) throw lease.lost.reason;
  if (signal.aborted) throw new Cancelled('stopped while removing', { source, cause: signal.reason });
  await lease.confirm();
  if (!newest) return;
  const changed = new PartlyDone(
    `${newest.id}, the newest proven backup of ${source} in ${vault.name}, is not what it was a minute ago: nothing more is removed`,
    { source, hint: `holdfast status ${source}` },
  );
  if (!(await isThere(vault, newest.folder.manifest as string))) throw changed;
  const prefix = `proofs/${source}/${newest.id}/`;
  for await (const { key } of vault.list(prefix))
    if (outcomeInName(key.slice(prefix.length)) === 'disproven' && newest.proof !== 'disproven') throw changed;
}

async function isHeldNow(id: string, { vault, source, released }: Applying): Promise<boolean> {
  return !released.has(id) && (await isThere(vault, holdKey(source, id)));
}

export async function isThere(vault: Vault, key: string): Promise<boolean> {
  for await (const entry of vault.list(key, { limit: 1 })) return entry.key === key;
  return false;
}
