import { formatSeconds, formatTook } from '#core/duration';
import type { Source } from '#core/plan';
import type { ProofState } from '#core/proof';
import { longestGapSeconds, nextRun } from '#core/schedule';
import { CLOCK_TOLERANCE_SECONDS } from '#core/stamped-ahead';

/** What a source promises. */
export interface Objectives {
  readonly rpoSeconds: number;
  /** The plan says none: two of the longest intervals between runs, and an hour. */
  readonly rpoIsDefault: boolean;
  /** Null: the plan says none. */
  readonly rtoSeconds: number | null;
}

export function objectivesOf(source: Pick<Source, 'schedule' | 'objectives'>): Objectives {
  const rpo = source.objectives?.rpo;
  return {
    rpoSeconds: rpo?.seconds ?? 2 * longestGapSeconds(source.schedule) + 3600,
    rpoIsDefault: rpo === undefined,
    rtoSeconds: source.objectives?.rto?.seconds ?? null,
  };
}

/**
 * When the source may first have a proven backup: the first run that any of its schedules has after `since`, and where
 * proofs have times of their own the first of them after that. Nothing rings before (I10).
 */
export function firstDueRun(source: Pick<Source, 'schedule' | 'prove'>, zone: string, since: Date): Date {
  const run = new Date(Math.min(...source.schedule.map((schedule) => nextRun(schedule, zone, since).getTime())));
  const cron = proveCron(source);
  return cron === null ? run : nextRun({ cron }, zone, run);
}

/** `prove: { cron }`; null when each run proves its backup, or none does. */
function proveCron({ prove }: Pick<Source, 'prove'>): string | null {
  return (typeof prove === 'object' && prove.cron) || null;
}

/** What the vaults and ledgers tell about one source. */
export interface History {
  /** `firstDueRun` after the source came into the plan. */
  readonly firstDue: Date;
  readonly newestProven: { readonly id: string; readonly snapshotAt: Date } | null;
  /** The last time a run found the source equal to its newest proven backup (an `unchanged` entry). */
  readonly unchangedAt: Date | null;
  /** The newest backup whatever its proof; it may be the newest proven one. */
  readonly newest: { readonly id: string; readonly snapshotAt: Date; readonly proof: ProofState } | null;
  /** Why the newest is inconclusive or disproven, in the proof's words. */
  readonly reason: string | null;
  /** The last measured restore or proof, in seconds. */
  readonly restoreSeconds: number | null;
  /** What comes before it: the thaw of the newest proven backup where no copy can be read at once, by the plan. 0 = none. */
  readonly thawSeconds: number;
}

/** One line about a source, for people. */
export interface Finding {
  /** `proof`: of the newest backup; `clock`: a backup from the future; `choice`: `prove: never`. */
  readonly about: 'age' | 'clock' | 'proof' | 'rto' | 'choice';
  readonly message: string;
  /** Whether it makes the source unhealthy (exit 3); else it is only said. */
  readonly rings: boolean;
}

export interface Judgement {
  readonly healthy: boolean;
  /** Since the source last equalled a proven backup; since the newest stored one with `prove: never`. Null = none. */
  readonly ageSeconds: number | null;
  readonly findings: readonly Finding[];
}

/** Whether a source keeps its promise now (I4). */
export function judge(
  source: Pick<Source, 'schedule' | 'objectives' | 'prove'>,
  history: History,
  now: Date,
): Judgement {
  const objectives = objectivesOf(source);
  const byChoice = source.prove === 'never';
  const { newest, newestProven } = history;
  const stored = newest && newest.proof !== 'disproven' ? newest : null;
  const counts = byChoice ? latest(stored, newestProven) : newestProven;
  const equalAt = counts === null ? null : later(counts.snapshotAt, history.unchangedAt);
  const ageSeconds = equalAt === null ? null : (now.getTime() - equalAt.getTime()) / 1000;
  const findings: Finding[] = [];
  const say = (about: Finding['about'], rings: boolean, message: string) => findings.push({ about, rings, message });

  if (byChoice) say('choice', false, 'unproven by choice (prove: never)');
  if (ageSeconds === null) {
    const waiting = now < history.firstDue;
    const what = byChoice ? 'nothing stored yet' : newest ? 'nothing proven yet' : 'no backup yet';
    const first = proveCron(source) === null ? 'first run' : 'first proof';
    say('age', !waiting, waiting ? `${what}, ${first} due ${history.firstDue.toISOString()}` : what);
  } else if (ageSeconds > objectives.rpoSeconds) {
    const rpo = `${formatSeconds(objectives.rpoSeconds)}${objectives.rpoIsDefault ? ' (default)' : ''}`;
    say(
      'age',
      true,
      `newest ${byChoice ? '' : 'proven '}backup is ${formatSeconds(ageSeconds)} old, older than its RPO ${rpo}`,
    );
  } else if (ageSeconds < -CLOCK_TOLERANCE_SECONDS) {
    say('clock', true, `newest backup lies ${formatSeconds(-ageSeconds)} in the future: a clock is wrong`);
  }
  if (newest && newest.id !== newestProven?.id) {
    const because = history.reason === null ? '' : `: ${history.reason}`;
    if (newest.proof === 'disproven') say('proof', true, `newest backup ${newest.id} is disproven${because}`);
    if (newest.proof === 'inconclusive')
      say('proof', false, `newest backup ${newest.id} cannot be proven here${because}`);
    if (newest.proof === 'unproven' && !byChoice) say('proof', false, `newest backup ${newest.id} is not proven yet`);
  }
  const { rtoSeconds } = objectives;
  const { restoreSeconds, thawSeconds } = history;
  if (rtoSeconds !== null && (restoreSeconds ?? 0) + thawSeconds > rtoSeconds)
    say('rto', true, `${recoveryWords(restoreSeconds, thawSeconds)}, longer than its RTO ${formatSeconds(rtoSeconds)}`);
  return { healthy: !findings.some(({ rings }) => rings), ageSeconds, findings };
}

function recoveryWords(restoreSeconds: number | null, thawSeconds: number): string {
  const took = restoreSeconds === null ? '' : `the last restore took ${formatTook(restoreSeconds)}`;
  if (thawSeconds === 0) return took;
  const thaw = `the newest proven backup needs a thaw of up to ${formatSeconds(thawSeconds)}`;
  return took === '' ? thaw : `${thaw}, and ${took}: together`;
}

function later(a: Date, b: Date | null): Date {
  return b !== null && b > a ? b : a;
}

function latest<T extends { readonly snapshotAt: Date }>(a: T | null, b: T | null): T | null {
  if (a === null || b === null) return a ?? b;
  return a.snapshotAt >= b.snapshotAt ? a : b;
}
