import type { SequencePosition, SequencePrint } from '#engines/postgres/fingerprint';

/** A cycle of fewer steps may have come round any number of times while the dump ran. */
const SHORT_CYCLE = 1_000_000n;

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
  const value = BigInt(restored.value);
  const inBounds = BigInt(print.min) <= value && value <= BigInt(print.max);
  const steps = (BigInt(print.max) - BigInt(print.min)) / (increment * forward);
  if (print.cycle && steps < SHORT_CYCLE) return inBounds;
  if (before <= after) return before <= now && now <= after;
  return print.cycle ? now >= before || now <= after : inBounds;
}

/** The last value given out, or one step before the first. */
function reached(position: SequencePosition, increment: bigint): bigint {
  return position.called ? BigInt(position.value) : BigInt(position.value) - increment;
}
