import type { SequencePosition, SequencePrint } from '#engines/postgres/fingerprint';

/**
 * Whether a restored sequence stands where pg_dump can have seen it: between what was read before the dump and after
 * it, in the sequence's own direction. A cycle may have come round; one that was set back meanwhile may stand anywhere.
 */
export function sequenceFits(print: SequencePrint, restored: SequencePosition): boolean {
  const increment = BigInt(print.increment);
  const forward = increment > 0n ? 1n : -1n;
  const [before, after, now] = [print.before, print.after, restored].map(
    (position) => reached(position, increment) * forward,
  ) as [bigint, bigint, bigint];
  if (before <= after) return before <= now && now <= after;
  if (print.cycle) return now >= before || now <= after;
  const value = BigInt(restored.value);
  return BigInt(print.min) <= value && value <= BigInt(print.max);
}

/** The last value given out, or one step before the first. */
function reached(position: SequencePosition, increment: bigint): bigint {
  return position.called ? BigInt(position.value) : BigInt(position.value) - increment;
}
