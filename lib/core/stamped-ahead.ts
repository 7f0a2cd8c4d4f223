/** This machine's clock, a vault's and another machine's may differ so much. */
export const CLOCK_TOLERANCE_SECONDS = 300;

export function isAhead(moment: Date, now: Date): boolean {
  return moment.getTime() - now.getTime() > CLOCK_TOLERANCE_SECONDS * 1000;
}

/** What tells when a backup was made: by a clock, and by the number of its lease, which knows of no clock. */
export interface Stamp {
  readonly id: string;
  readonly snapshotAt: Date;
  readonly lease: number;
}

/**
 * Ids of backups that a clock which was ahead has stamped: they lie in the future, and such as do not were made after
 * them. Until their time comes they would else be the newest of all. One that nothing came after is none of them: it may
 * as well be this machine's clock that is behind, and then it is the newest there is.
 */
export function stampedAhead(stamps: readonly Stamp[], now: Date): ReadonlySet<string> {
  const late = stamps.filter(({ snapshotAt }) => isAhead(snapshotAt, now));
  if (late.length === 0) return new Set();
  const last = stamps.reduce(
    (most, { snapshotAt, lease }) => (isAhead(snapshotAt, now) ? most : Math.max(most, lease)),
    0,
  );
  return new Set(late.filter(({ lease }) => lease < last).map(({ id }) => id));
}
