import * as z from 'zod';
import { BackupMissing, HoldfastError, KeyExists, KeyMissing, RecordInvalid, UsageError } from '#core/errors';
import { backupId, isoTime, type Manifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { findBackup } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { homeVault, vaultsOf } from '#jobs/home';
import { type FoundHistory, historyOf } from '#jobs/source-history';
import { type Told, tellVaults } from '#jobs/tell-vaults';
import { readVaultIdentity } from '#vault/identity';
import { getRecord } from '#vault/record';

/** Holds: backups that a person wants kept, whatever the plan says. */

const holdSchema = z.strictObject({
  format: z.literal(1),
  source: z.string(),
  id: backupId,
  reason: z.string(),
  at: z.iso.datetime(),
  host: z.string(),
});

export interface HoldChange extends Told {
  readonly source: string;
  readonly id: string;
  readonly held: boolean;
  readonly reason: string | null;
}

export interface Holds {
  /** By id: why. */
  readonly reasons: ReadonlyMap<string, string>;
  /** Vaults whose holds are not known. */
  readonly warnings: readonly string[];
}

export function holdKey(source: string, id: string): string {
  return `holds/${source}/${id}.json`;
}

/**
 * Keeps one backup from retention, in every vault that can be reached.
 * @throws UsageError no id at all, or no such source; BackupMissing no vault has it
 */
export async function hold(
  source: string,
  id: string,
  reason: string,
  environment: JobEnvironment,
): Promise<HoldChange> {
  const { run, redact } = environment;
  const manifest = await mustExist(source, id, environment);
  const said = redact(reason);
  const record = { format: 1, source, id, reason: said, at: isoTime(run.clock.now()), host: run.host };
  const told = await tellVaults(
    source,
    { event: 'hold', id, manifest: manifest.sha256, details: { reason: said } },
    environment,
    async (vault) => {
      try {
        await vault.putOnce(holdKey(source, id), Buffer.from(`${JSON.stringify(record)}\n`));
      } catch (error) {
        // Held before: the ledger says what is new.
        if (!(error instanceof KeyExists)) throw error;
      }
    },
  );
  return { source, id, held: true, reason, ...told };
}

/** Ends a hold; from then on the backup is kept as its tier says. Written down also where there is none. */
export async function release(
  source: string,
  id: string,
  reason: string | null,
  environment: JobEnvironment,
): Promise<HoldChange> {
  const { reasons, warnings } = await holdsOf(source, environment);
  if (!reasons.has(id)) await mustExist(source, id, environment);
  const details = { reason: reason === null ? null : environment.redact(reason) };
  const told = await tellVaults(source, { event: 'release', id, manifest: null, details }, environment);
  const notHeld = reasons.has(id) ? [] : [`${source} ${id} was not held`];
  return {
    source,
    id,
    held: false,
    reason,
    ...told,
    warnings: [...new Set([...told.warnings, ...warnings]), ...notHeld],
  };
}

/** What is held now: a record in any vault that no later `release` has ended. */
export async function holdsOf(source: string, environment: JobEnvironment, found?: FoundHistory): Promise<Holds> {
  const { history, missing } = found ?? (await historyOf(source, environment));
  const released = new Set(history.released);
  const reasons = new Map<string, string>();
  const warnings = missing.map(
    ({ vault, error }) => `holds of ${source} that only vault ${vault} knows are not known: ${error.message}`,
  );
  const away = new Set(missing.map(({ vault }) => vault));
  for (const name of vaultsOf(source, environment)) {
    if (away.has(name)) continue;
    const vault = environment.vault(name);
    for (const id of await heldIn(vault, source))
      if (!released.has(id) && !reasons.has(id)) reasons.set(id, await reasonOf(vault, source, id));
  }
  return { reasons, warnings };
}

async function heldIn(vault: Vault, source: string): Promise<string[]> {
  const prefix = `holds/${source}/`;
  const ids: string[] = [];
  for await (const { key } of vault.list(prefix)) {
    const id = /^([^/]+)\.json$/.exec(key.slice(prefix.length))?.[1];
    if (id !== undefined && backupId.safeParse(id).success) ids.push(id);
  }
  return ids;
}

/** One that cannot be read holds all the same. */
async function reasonOf(vault: Vault, source: string, id: string): Promise<string> {
  try {
    const text = Buffer.from(await getRecord(vault, holdKey(source, id))).toString('utf8');
    const parsed = holdSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data.reason : 'for a reason that cannot be read';
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof KeyMissing || error instanceof RecordInvalid)
      return 'for a reason that cannot be read';
    throw error;
  }
}

/** The backup's manifest, from the first vault that has it. */
async function mustExist(source: string, id: string, environment: JobEnvironment): Promise<Manifest> {
  let first: HoldfastError | null = null;
  for (const name of vaultsOf(source, environment)) {
    try {
      const vault = environment.vault(name);
      await readVaultIdentity(vault, environment.plan.plan.name);
      return await findBackup(vault, source, id);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error instanceof UsageError) throw error;
      first ??= error;
    }
  }
  // Of a source that nobody knows: it says so itself.
  if (first instanceof BackupMissing) await homeVault(source, null, environment);
  throw first ?? new UsageError(`no vault is written for ${source}`, { source });
}
