import { PLAN_CHAIN } from '#core/alert';
import { BackupMissing, HoldfastError, UsageError } from '#core/errors';
import type { SourceHistory } from '#core/history';
import { backupId } from '#core/manifest';
import { findBackup } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { homeVault, vaultsOf } from '#jobs/home';
import { historyOf } from '#jobs/source-history';
import { type Told, tellVaults } from '#jobs/tell-vaults';
import { entryBefore, readLedger } from '#vault/ledger-store';

export interface Acknowledgement extends Told {
  readonly source: string;
  readonly id: string | null;
  /** Alerts that are not told again. */
  readonly alerts: readonly string[];
  readonly reason: string;
}

const DAY_MILLISECONDS = 86_400_000;

/**
 * Writes down that somebody has looked: at a backup that is unlike those before it, which from then on endangers nothing
 * (I5); at a run that failed, whose leftovers may then go (I13); at an alert, which is then told once more, when it is over.
 * @throws UsageError neither an id nor an alert, or no such alert is open; BackupMissing no backup and no run has that id
 */
export async function acknowledge(
  source: string,
  ask: { readonly id: string | null; readonly alert: string | null; readonly reason: string },
  environment: JobEnvironment,
): Promise<Acknowledgement> {
  const { history } = await historyOf(source, environment);
  const open = Object.keys(history.alerts);
  if (ask.id === null && ask.alert === null)
    throw new UsageError('ack wants --id ID, or --alert KEY, or both', { source, hint: openText(open) });
  if (ask.alert !== null && !Object.hasOwn(history.alerts, ask.alert))
    throw new UsageError(`no alert "${ask.alert}" of ${source} is open`, { source, hint: openText(open) });
  if (ask.id !== null) await mustBeKnown(source, ask.id, history, environment);
  const alerts = ask.alert !== null ? [ask.alert] : open.filter((key) => isAbout(key, ask.id as string, history));
  const id = ask.id ?? anomalyIn(ask.alert as string);
  const reason = environment.redact(ask.reason);
  let told: Told = { vaults: [], missed: [], warnings: [] };
  for (const key of alerts.length > 0 ? alerts : [null])
    told = await tellVaults(source, { event: 'ack', id, manifest: null, details: { reason, key } }, environment);
  return { source, id, alerts, reason: ask.reason, ...told };
}

function openText(open: readonly string[]): string {
  return open.length > 0 ? `open alerts: ${open.join(', ')}` : 'no alert of it is open';
}

/** Keys of what is about one backup end with its id; of a run that failed there is one at a time. */
function isAbout(key: string, id: string, { failing }: SourceHistory): boolean {
  return key.endsWith(`/${id}`) || (key === 'failed' && failing?.id === id);
}

/** Who has looked at the alert of an anomaly has looked at the backup. */
function anomalyIn(key: string): string | null {
  const id = /^anomaly\/(.+)$/.exec(key)?.[1];
  return id !== undefined && backupId.safeParse(id).success ? id : null;
}

/** A backup in some vault, or a run that a ledger tells of. */
async function mustBeKnown(
  source: string,
  id: string,
  history: SourceHistory,
  environment: JobEnvironment,
): Promise<void> {
  if (Object.hasOwn(history.leftovers, id) || history.failing?.id === id) return;
  let first: HoldfastError | null = null;
  for (const name of source === PLAN_CHAIN ? [] : vaultsOf(source, environment)) {
    try {
      const vault = environment.vault(name);
      try {
        await findBackup(vault, source, id);
        return;
      } catch (error) {
        if (!(error instanceof BackupMissing)) throw error;
        first = error;
      }
      // Its run is told of within a day of the time that its id begins with.
      const began = new Date(`${id.slice(0, 4)}-${id.slice(4, 6)}-${id.slice(6, 8)}T00:00:00Z`);
      const after = await entryBefore(vault, source, new Date(began.getTime() - DAY_MILLISECONDS));
      for await (const entry of readLedger(vault, source, { after, onInvalid: () => undefined }))
        if (entry.id === id) return;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error instanceof UsageError) throw error;
      first ??= error;
    }
  }
  // Of a source that nobody knows: it says so itself.
  if (first instanceof BackupMissing) await homeVault(source, null, environment);
  throw first ?? new UsageError(`--id is of a source's backup or run, not of ${source}`, { source });
}
