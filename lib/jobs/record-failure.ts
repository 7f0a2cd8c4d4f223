import { repetitionAt } from '#core/due';
import type { SourceHistory } from '#core/history';
import type { JobDocument } from '#core/job';
import type { LedgerEntry } from '#core/ledger';
import { isoTime } from '#core/manifest';
import type { Vault } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';
import { historyIn } from '#jobs/source-history';
import { appendLedgerOnce } from '#vault/ledger-store';

export interface Failure {
  readonly code: string;
  readonly message: string;
  /** Under which name the run is written down. */
  readonly host: string;
  readonly left: { readonly id: string; readonly folder: string } | null;
}

/**
 * Writes down a run that could not do so itself: it never started, or was ended from outside.
 * @param isSame an entry that says it already: several may come to write down one end
 */
export async function recordFailure(
  { source, trigger }: Pick<JobDocument, 'source' | 'trigger'>,
  { code, message, host, left }: Failure,
  home: Vault,
  environment: JobEnvironment,
  isSame: (entry: LedgerEntry) => boolean = () => false,
): Promise<void> {
  const { clock } = environment.run;
  const { by, schedule } = trigger;
  const scheduledAt = trigger.scheduledAt === null ? null : isoTime(new Date(trigger.scheduledAt));
  const now = clock.now();
  const failures = failuresAt(await historyIn(home, source), schedule, scheduledAt) + 1;
  const details = {
    code,
    message: environment.redact(message),
    left: left?.folder ?? null,
    trigger: by,
    schedule,
    scheduledAt,
    retryAt: schedule === null ? null : isoTime(repetitionAt({ failures, at: now })),
  };
  const fields = { event: 'failed', id: left?.id ?? null, manifest: null, host, details } as const;
  await appendLedgerOnce(home, source, fields, isSame, clock);
}

function failuresAt({ scheduled }: SourceHistory, schedule: string | null, scheduledAt: string | null): number {
  if (schedule === null || !Object.hasOwn(scheduled, schedule)) return 0;
  const run = scheduled[schedule];
  return run?.scheduledAt === scheduledAt ? (run.failures ?? 0) : 0;
}
