import { type ExitCode, HoldfastError } from '#core/errors';
import { backupFolder, isoTime, type Manifest } from '#core/manifest';
import type { SourceRef, Vault } from '#core/ports';
import type { ProofState } from '#core/proof';
import type { JobEnvironment } from '#jobs/environment';
import { appendLedger } from '#vault/ledger-store';

/** Why a run is made. */
export interface Trigger {
  readonly by: Manifest['trigger']['by'];
  /** The key of the schedule it answers (`scheduleKeys`); null: the request's tier decides which one it belongs to. */
  readonly schedule: string | null;
  /** The time of that schedule that it answers; null when somebody asked for it. */
  readonly scheduledAt: Date | null;
}

export const BY_HAND: Trigger = { by: 'manual', schedule: null, scheduledAt: null };

/** As manifests and ledger entries say it. */
export function triggerDetails({ by, schedule, scheduledAt }: Trigger): {
  readonly trigger: Trigger['by'];
  readonly schedule: string | null;
  readonly scheduledAt: string | null;
} {
  return { trigger: by, schedule, scheduledAt: scheduledAt && isoTime(scheduledAt) };
}

export interface BackupRequest {
  readonly source: string;
  readonly tier: string | null;
  readonly point: string | null;
  readonly reason: string | null;
  readonly trigger: Trigger;
  /**
   * `elsewhere`: copies into further vaults and the proof are not this run's, as it may not read what it wrote (I9).
   */
  readonly afterwards?: 'here' | 'elsewhere';
}

/** What went wrong with one of several, as `--json` tells it beside the others. */
export interface BriefError {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
  /** Where in the plan. */
  readonly at: string | null;
}

/** One source's run, as `--json` tells it (DESIGN section 8). */
export interface BackupRun {
  readonly source: string;
  readonly id: string | null;
  readonly kind: Manifest['kind'];
  readonly tier: string | null;
  /** Where the whole backup now lies. */
  readonly vaults: readonly string[];
  readonly status: 'ok' | 'failed' | 'busy' | 'unchanged';
  readonly proof: ProofState;
  readonly bytes: number;
  readonly error: BriefError | null;
  readonly exit: ExitCode;
  readonly seconds: number;
  readonly warnings: readonly string[];
}

/** The ledger says why, and where the leftovers lie (I13). A vault that cannot take even that is said beside the cause. */
export async function tellFailure(
  error: { readonly code: string; readonly message: string },
  place: { readonly source: string; readonly tier: string | null; readonly id: string },
  trigger: Trigger,
  home: Vault,
  environment: JobEnvironment,
): Promise<void> {
  try {
    const left = place.tier ? await leftIn(home, backupFolder({ ...place, tier: place.tier })) : null;
    await appendLedger(
      home,
      place.source,
      {
        event: 'failed',
        id: place.id,
        manifest: null,
        host: environment.run.host,
        details: {
          code: error.code,
          message: environment.redact(error.message),
          left,
          ...triggerDetails(trigger),
        },
      },
      environment.run.clock,
    );
  } catch (second) {
    if (!(second instanceof HoldfastError)) throw second;
    environment.run.log.warn(`the failure could not be written into the ledger of ${home.name}: ${second.message}`);
  }
}

/** Null when the run failed before anything was stored. */
async function leftIn(home: Vault, folder: string): Promise<string | null> {
  for await (const _entry of home.list(`${folder}/`, { limit: 1 })) return folder;
  return null;
}

export function briefly({ code, message, hint, at }: HoldfastError): BriefError {
  return { code, message, hint, at };
}

export function withSource(error: HoldfastError, source: SourceRef): HoldfastError {
  error.source ??= source.name;
  return error;
}
