import { HoldfastError, KeyMissing, RecordInvalid, VaultMissing } from '#core/errors';
import { hostOfRun, type JobDocument } from '#core/job';
import type { LedgerEntry } from '#core/ledger';
import { backupId, compactTime, type Manifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { manifestAt, placesOf } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { vaultsOf } from '#jobs/home';
import { readVaultIdentity } from '#vault/identity';
import { entryBefore, readLedger } from '#vault/ledger-store';

/** Clocks of tasks, functions and vaults may differ by so much. */
const MARGIN_MILLISECONDS = 10 * 60_000;

/** What a run elsewhere has left in the vaults, found by the host name it wrote under. */
export interface RunTrace {
  /** The first vault that answers: what is to be written down about the run goes there. */
  readonly home: Vault;
  /** Its backup (I1: there is one when its manifest is there), and where. */
  readonly manifest: Manifest | null;
  readonly at: Vault | null;
  /** The ledger's word on how it ended: of a backup, `backup`, `unchanged` or `failed`; of a proof, `proof`. */
  readonly entry: LedgerEntry | null;
  /** Where bytes lie that belong to no backup, and of which no ledger speaks. */
  readonly left: { readonly id: string; readonly folder: string } | null;
}

/**
 * @param since when the run began, or a little earlier
 * @throws VaultMissing a vault does not answer, and no other has heard of the run: nobody can tell how it ended (I14)
 */
export async function traceOf(document: JobDocument, since: Date, environment: JobEnvironment): Promise<RunTrace> {
  const answering: Vault[] = [];
  const away: HoldfastError[] = [];
  let found: Pick<RunTrace, 'manifest' | 'at' | 'entry'> = { manifest: null, at: null, entry: null };
  let left: RunTrace['left'] = null;
  for (const name of vaultsOf(document.source, environment)) {
    try {
      const vault = environment.vault(name);
      await readVaultIdentity(vault, environment.plan.plan.name);
      const entries = await entriesSince(vault, document.source, since);
      const entry = entries.find((one) => isEndOf(document, one)) ?? found.entry;
      const stored = document.job === 'backup' ? await storedBy(document, vault, since, entries) : null;
      answering.push(vault);
      found = stored?.manifest ? { manifest: stored.manifest, at: vault, entry } : { ...found, entry };
      left ??= stored?.left ?? null;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      away.push(error);
    }
  }
  const [home] = answering;
  const [reason] = away;
  if (home && (!reason || found.manifest || found.entry)) return { home, ...found, left };
  throw new VaultMissing(`how run ${document.run} of ${document.source} ended is not known: ${reason?.message}`, {
    source: document.source,
    hint: reason?.hint ?? null,
    cause: reason,
  });
}

/** Whether an entry says how this run ended. */
export function isEndOf(document: JobDocument, { event, host }: LedgerEntry): boolean {
  if (host !== hostOfRun(document)) return false;
  return document.job === 'prove' ? event === 'proof' : ['backup', 'unchanged', 'failed'].includes(event);
}

async function entriesSince(vault: Vault, source: string, since: Date): Promise<LedgerEntry[]> {
  const before = await entryBefore(vault, source, new Date(since.getTime() - MARGIN_MILLISECONDS));
  const entries: LedgerEntry[] = [];
  // What was damaged is `ledger verify`'s to tell.
  for await (const entry of readLedger(vault, source, { after: before, onInvalid: () => undefined }))
    entries.push(entry);
  return entries;
}

/** Ids begin with the time a run was scheduled for, or with its own start. */
async function storedBy(
  document: JobDocument,
  vault: Vault,
  since: Date,
  entries: readonly LedgerEntry[],
): Promise<{ readonly manifest: Manifest | null; readonly left: RunTrace['left'] }> {
  const { source, trigger } = document;
  const asked = trigger.scheduledAt === null;
  const from = new Date(asked ? since.getTime() - MARGIN_MILLISECONDS : Date.parse(trigger.scheduledAt as string));
  // Another run's bytes are not this one's: where its time is known, its ids begin with that minute.
  const until = asked ? null : new Date(from.getTime() + 60_000);
  const places = await placesOf(vault, source, from);
  for (const place of places.toReversed()) {
    try {
      const manifest = await manifestAt(vault, place);
      if (manifest.host === hostOfRun(document)) return { manifest, left: null };
    } catch (error) {
      if (!(error instanceof RecordInvalid) && !(error instanceof KeyMissing)) throw error;
    }
  }
  const spokenOf = new Set([...places.map(({ id }) => id), ...entries.map(({ id }) => id)]);
  return { manifest: null, left: await leftSince(vault, source, from, until, spokenOf) };
}

/** The newest folder without a manifest. */
async function leftSince(
  vault: Vault,
  source: string,
  from: Date,
  until: Date | null,
  spokenOf: ReadonlySet<string | null>,
): Promise<RunTrace['left']> {
  let newest: RunTrace['left'] = null;
  const last = until && compactTime(until);
  for await (const tier of vault.folders(`backups/${source}/`)) {
    const prefix = `backups/${source}/${tier}/`;
    for await (const { key } of vault.list(prefix, { after: `${prefix}${compactTime(from)}` })) {
      const id = key.slice(prefix.length).split('/')[0] as string;
      if (!backupId.safeParse(id).success || spokenOf.has(id) || (last !== null && id > last)) continue;
      if (newest && newest.id >= id) continue;
      newest = { id, folder: `${prefix}${id}` };
    }
  }
  return newest;
}
