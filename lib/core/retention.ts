import { formatSeconds } from '#core/duration';
import { objectivesOf } from '#core/objectives';
import { endangering, keptByAnomalies, witnesses } from '#core/retention-anomalies';
import { keepBases, neededText } from '#core/retention-chains';
import { byTime, countsAsProven, dayText, type RetentionInput, type StoredBackup } from '#core/retention-input';
import { standIns } from '#core/retention-stand-ins';
import { tierWords } from '#core/retention-tiers';
import { CLOCK_TOLERANCE_SECONDS, stampedAhead } from '#core/stamped-ahead';

/** What is to become of one backup. `hold`: a person or the plan keeps it, whatever else there is to say. */
export interface Decision {
  readonly id: string;
  readonly action: 'keep' | 'remove' | 'hold';
  /** For a tired person; at least one. */
  readonly reasons: readonly string[];
}

/** Why nothing at all may be removed. `known`: the caller's own reason. */
export interface Stop {
  readonly why: 'known' | 'clock' | 'unproven' | 'stale';
  readonly reason: string;
}

export interface Retention {
  /** One for each backup, oldest first. */
  readonly decisions: readonly Decision[];
  readonly stop: Stop | null;
  /** How many would go, were it not for `stop`. */
  readonly heldBack: number;
}

/** A vault's clock and this machine's may differ so much. */
export const CLOCK_TOLERANCE_MILLISECONDS = CLOCK_TOLERANCE_SECONDS * 1000;

/**
 * What of a source's backups in one vault is kept (I5). The only place that decides it; pure, so that it can be asked
 * about any moment. Never given up: the newest proven one; what is not proven and newer than that; what a kept one needs;
 * the last one before an anomaly that nobody acknowledged; anything at all while the source is not backed up as it should
 * be, or a clock is wrong.
 */
export function decide(asked: RetentionInput): Retention {
  const aside = setAside(asked);
  const input = { ...asked, backups: asked.backups.filter(({ id }) => !aside.has(id)) };
  const backups = input.backups.toSorted(byTime);
  const proven = backups.filter((backup) => countsAsProven(backup, input.settings));
  const newest = proven.at(-1) ?? null;
  const { acknowledged } = input;
  const words = tierWords(backups, input);
  const reasons = new Reasons();

  for (const { id } of backups) if (words.get(id)?.kept) reasons.keep(id);
  if (newest) protectNewest(backups, newest, input, reasons);
  for (const [id, said] of standIns(backups, input)) for (const reason of said) reasons.keep(id, reason);
  const dangers = endangering(proven, acknowledged);
  for (const [id, said] of keptByAnomalies(dangers)) for (const reason of said) reasons.keep(id, reason);
  keepLogBases(input, reasons);
  keepBasesOfUnreadable(backups, input, reasons);
  for (const { id } of backups) if (input.holds.has(id)) reasons.keep(id);
  keepBases(backups, reasons.kept);
  const seeing = witnesses(proven, acknowledged, dangers, (id) => reasons.kept.has(id));
  for (const [id, reason] of seeing) if (!reasons.kept.has(id)) reasons.keep(id, reason);
  for (const [base, needing] of keepBases(backups, reasons.kept)) reasons.keep(base, neededText(needing, input.holds));

  const stop = stopOf(backups, newest, input);
  const decisions = backups.map((backup): Decision => {
    const { id } = backup;
    const said = [words.get(id)?.reason as string, ...reasons.of(id)];
    if (input.settings?.hold)
      return { id, action: 'hold', reasons: ['the plan holds this source (hold: true)', ...said] };
    const hold = input.holds.get(id);
    if (hold !== undefined) return { id, action: 'hold', reasons: [`held: ${hold}`, ...said] };
    if (reasons.kept.has(id)) return { id, action: 'keep', reasons: said };
    return stop
      ? { id, action: 'keep', reasons: [...said, `nothing is removed now: ${stop.reason}`] }
      : { id, action: 'remove', reasons: said };
  });
  const kept = asked.backups
    .filter(({ id }) => aside.has(id))
    .toSorted(byTime)
    .map(({ id, snapshotAt }): Decision => {
      const hold = input.holds.get(id);
      const why = `stamped ${dayText(snapshotAt)} by a clock that was ahead: counts for nothing, and stays`;
      return hold === undefined
        ? { id, action: 'keep', reasons: [why] }
        : { id, action: 'hold', reasons: [`held: ${hold}`, why] };
    });
  const gone = input.settings?.hold ? 0 : backups.filter(({ id }) => !reasons.kept.has(id)).length;
  return { decisions: [...decisions, ...kept], stop, heldBack: stop ? gone : 0 };
}

/**
 * What a clock that was ahead has stamped would be the newest of all for years, and push out what is newer. Somebody has
 * to say first that he knows of it, of the last of them: until then the clock stops everything.
 */
export function setAside({ backups, acknowledged, now }: RetentionInput): ReadonlySet<string> {
  const ahead = [...stampedAhead(backups, now)];
  const known = ahead.filter((id) => acknowledged.includes(id)).sort();
  const last = known.at(-1);
  return new Set(last === undefined ? [] : ahead.filter((id) => id <= last));
}

/** Ids that are kept, and what there is to say about them beside what their tier says. */
class Reasons {
  readonly kept = new Set<string>();
  readonly #said = new Map<string, string[]>();

  keep(id: string, reason?: string): void {
    this.kept.add(id);
    if (reason === undefined) return;
    const said = this.#said.get(id);
    if (said) said.push(reason);
    else this.#said.set(id, [reason]);
  }

  of(id: string): readonly string[] {
    return this.#said.get(id) ?? [];
  }
}

function protectNewest(
  backups: readonly StoredBackup[],
  newest: StoredBackup,
  { settings }: RetentionInput,
  reasons: Reasons,
): void {
  const byChoice = settings?.prove === 'never';
  reasons.keep(newest.id, byChoice ? 'newest that is not disproven (unproven by choice)' : 'newest proven');
  for (let index = backups.length - 1; backups[index] !== newest; index--) {
    const { id, proof } = backups[index] as StoredBackup;
    const state = {
      disproven: 'disproven',
      inconclusive: 'not provable here',
      unproven: 'not proven',
      proven: 'proven',
    };
    reasons.keep(id, `${state[proof]}, but newer than the newest proven ${newest.id}`);
  }
}

function keepLogBases({ backups, logs, now }: RetentionInput, reasons: Reasons): void {
  if (logs.size === 0) return;
  for (const { id } of backups) {
    const range = logs.get(id);
    if (!range || (range.until !== null && range.until <= now)) continue;
    reasons.keep(id, `base of the logs from ${dayText(range.from, 0)} to ${dayText(range.to, 0)}`);
  }
}

/** What cannot be read may be a differential, and needs the full before it. */
function keepBasesOfUnreadable(
  backups: readonly StoredBackup[],
  { unreadable }: RetentionInput,
  reasons: Reasons,
): void {
  for (const id of unreadable) {
    const full = backups.findLast((backup) => backup.kind === 'full' && backup.id < id);
    if (full) reasons.keep(full.id, `may be the full of ${id}, whose manifest cannot be read`);
  }
}

/** Null when retention may do its work. */
function stopOf(backups: readonly StoredBackup[], newest: StoredBackup | null, input: RetentionInput): Stop | null {
  const { now, settings } = input;
  const last = backups.at(-1);
  if (!last) return null;
  if (input.stop !== null) return { why: 'known', reason: input.stop };
  const ahead = last.snapshotAt.getTime() - now.getTime();
  if (ahead > CLOCK_TOLERANCE_MILLISECONDS)
    return {
      why: 'clock',
      reason: `a clock is wrong: ${last.id} was taken ${formatSeconds(ahead / 1000)} in the future`,
    };
  if (!newest) return { why: 'unproven', reason: 'none of its backups is proven' };
  if (!settings || input.assumeFresh) return null;
  const { rpoSeconds } = objectivesOf(settings);
  const ageSeconds = (now.getTime() - equalAt(newest, input)) / 1000;
  if (ageSeconds <= rpoSeconds) return null;
  const what = settings.prove === 'never' ? 'backup' : 'proven backup';
  return {
    why: 'stale',
    reason: `its newest ${what} is ${formatSeconds(ageSeconds)} old, older than its RPO ${formatSeconds(rpoSeconds)}`,
  };
}

/** When the source last equalled a backup that counts, in milliseconds. What a clock that was ahead wrote says nothing. */
function equalAt(newest: StoredBackup, { unchanged, provenElsewhere, backups, settings, now }: RetentionInput): number {
  const equalled = backups.filter((backup) => unchanged.has(backup.id) && countsAsProven(backup, settings));
  const times = [
    newest.snapshotAt,
    ...equalled.map(({ id }) => unchanged.get(id) as Date),
    ...(provenElsewhere ? [provenElsewhere] : []),
  ].map((time) => time.getTime());
  return Math.max(...times.filter((time) => time <= now.getTime() + CLOCK_TOLERANCE_MILLISECONDS));
}
