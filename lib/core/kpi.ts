import { formatSeconds, formatTook } from '#core/duration';
import type { SourceHistory } from '#core/history';
import type { Plan } from '#core/plan';

/** One promise of the plan's `kpi`, and what was measured. */
export interface Kpi {
  readonly name: 'success' | 'full' | 'lag' | 'recovery';
  /** A part of 1 for `success`, seconds for the others. */
  readonly target: number;
  /** Null: there was nothing to measure. */
  readonly measured: number | null;
  /** Null: nobody knows. */
  readonly met: boolean | null;
  readonly message: string;
}

export interface KpiFacts {
  /** One a source. */
  readonly histories: readonly Pick<SourceHistory, 'days'>[];
  /** Of the copies that are missing the oldest; null = there are no copies to make, or nobody could look. */
  readonly lagSeconds: number | null;
  /** The slowest of the last measured restores and proofs, with the thaw that would come before it. */
  readonly recoverySeconds: number | null;
}

const DAYS = 30;
const DAY_MILLISECONDS = 86_400_000;

/** What the plan names, over the last 30 days; a miss rings nobody, it is a figure to talk about. */
export function kpisOf(kpi: Plan['kpi'], facts: KpiFacts, now: Date): Kpi[] {
  const since = new Date(now.getTime() - DAYS * DAY_MILLISECONDS).toISOString().slice(0, 10);
  const days = facts.histories.flatMap((history) =>
    Object.entries(history.days).flatMap(([day, counts]) => (day > since ? [counts] : [])),
  );
  const sum = (of: (day: (typeof days)[number]) => number): number => days.reduce((total, day) => total + of(day), 0);
  const [ok, failed, stored] = [sum((day) => day.ok), sum((day) => day.failed), sum((day) => day.stored)];
  const kpis: Kpi[] = [];
  if (kpi?.success !== undefined) {
    const runs = ok + failed;
    const rate = runs === 0 ? null : ok / runs;
    const words = rate === null ? 'no runs' : `${ok} of ${runs} runs in ${DAYS} days (${percent(rate)})`;
    kpis.push(
      kpiOf('success', kpi.success, rate, (value, target) => value >= target, `${words}, want ${percent(kpi.success)}`),
    );
  }
  const seconds = (name: 'full' | 'lag' | 'recovery', measured: number | null, what: string): void => {
    const target = kpi?.[name]?.seconds;
    if (target === undefined) return;
    const words = measured === null ? `${what}: not measured` : `${what} ${formatTook(measured)}`;
    kpis.push(kpiOf(name, target, measured, (value) => value <= target, `${words}, want ${formatSeconds(target)}`));
  };
  seconds('full', stored === 0 ? null : sum((day) => day.fullSeconds) / stored, 'a backup takes on average');
  seconds('lag', facts.lagSeconds, 'the oldest missing copy waits for');
  seconds('recovery', facts.recoverySeconds, 'the slowest restore, as last measured, takes');
  return kpis;
}

function kpiOf(
  name: Kpi['name'],
  target: number,
  measured: number | null,
  meets: (measured: number, target: number) => boolean,
  words: string,
): Kpi {
  const met = measured === null ? null : meets(measured, target);
  const verdict = met === null ? 'unknown' : met ? 'met' : 'missed';
  return { name, target, measured, met, message: `${name} ${verdict}: ${words}` };
}

/** 99.95 % must not be shown as the 100 % that it is not. */
function percent(part: number): string {
  return `${Math.floor(part * 100_000) / 1000}%`;
}
