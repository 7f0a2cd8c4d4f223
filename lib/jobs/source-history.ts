import { HoldfastError, KeyMissing, messageOf, RecordInvalid } from '#core/errors';
import { emptyHistory, fold, mergeHistories, readHistory, type SourceHistory } from '#core/history';
import { ledgerKey, readEntry } from '#core/ledger';
import type { Vault } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';
import { vaultsOf } from '#jobs/home';
import { readVaultIdentity } from '#vault/identity';
import { readLedger } from '#vault/ledger-store';
import { getRecord } from '#vault/record';

/** What was folded so far. A cache below `leases/`, whose keys alone may be written twice; the ledger decides. */
function checkpointKey(source: string): string {
  return `leases/${source}/history.json`;
}

/**
 * What one vault's ledger of a source adds up to, read on from the checkpoint where there is a good one.
 * @param onInvalid takes entries that were damaged or edited: `ledger verify` names them, the rest still counts
 */
export async function historyIn(
  vault: Vault,
  source: string,
  onInvalid: (error: RecordInvalid) => void = () => undefined,
): Promise<SourceHistory> {
  return (await readOn(vault, source, onInvalid)).history;
}

async function readOn(
  vault: Vault,
  source: string,
  onInvalid: (error: RecordInvalid) => void,
): Promise<{ readonly history: SourceHistory; readonly unkept: number }> {
  const history = (await checkpoint(vault, source)) ?? emptyHistory();
  let unkept = 0;
  for await (const entry of readLedger(vault, source, { after: history.seq, onInvalid })) {
    fold(history, entry);
    unkept += 1;
  }
  return { history, unkept };
}

/** Saves the next reader the entries that are in it. Only for jobs that may write. */
export async function keepHistory(vault: Vault, source: string, history: SourceHistory): Promise<void> {
  await vault.putAgain(checkpointKey(source), Buffer.from(JSON.stringify(history)));
}

export interface FoundHistory {
  /** All reachable vaults' word together. */
  readonly history: SourceHistory;
  /** By vault name, for those that answered. */
  readonly byVault: ReadonlyMap<string, SourceHistory>;
  /** By vault name: entries that no checkpoint holds yet. */
  readonly unkept: ReadonlyMap<string, number>;
  /** Vaults that could not be read: what they know is missing here. */
  readonly missing: readonly { readonly vault: string; readonly error: HoldfastError }[];
}

/** What all vaults of a source know of it; a vault that is away is named, not counted as empty (I14). */
export async function historyOf(source: string, environment: JobEnvironment): Promise<FoundHistory> {
  const byVault = new Map<string, SourceHistory>();
  const unkept = new Map<string, number>();
  const missing: { vault: string; error: HoldfastError }[] = [];
  for (const name of vaultsOf(source, environment)) {
    try {
      const vault = environment.vault(name);
      await readVaultIdentity(vault, environment.plan.plan.name);
      const read = await readOn(vault, source, () => undefined);
      byVault.set(name, read.history);
      unkept.set(name, read.unkept);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      missing.push({ vault: name, error });
    }
  }
  return { history: mergeHistories([...byVault.values()]), byVault, unkept, missing };
}

/** Null when there is none, or the ledger is not the one it was made of. */
async function checkpoint(vault: Vault, source: string): Promise<SourceHistory | null> {
  try {
    const text = Buffer.from(await getRecord(vault, checkpointKey(source))).toString('utf8');
    const kept = readHistory(JSON.parse(text));
    if (!kept || kept.seq === 0) return null;
    const key = ledgerKey(source, kept.seq);
    const entry = readEntry(Buffer.from(await getRecord(vault, key)).toString('utf8'), key);
    return entry.sha256 === kept.sha256 ? kept : null;
  } catch (error) {
    // No checkpoint, or one that cannot be read: the whole ledger says the same, only slower.
    if (error instanceof KeyMissing || error instanceof RecordInvalid || error instanceof SyntaxError) return null;
    throw error;
  }
}

/** Why a vault could not be read, in one line. */
export function whyMissing({ missing }: FoundHistory): readonly string[] {
  return missing.map(({ vault, error }) => `vault ${vault}: ${messageOf(error)}`);
}
