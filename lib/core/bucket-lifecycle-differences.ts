import {
  asksForMark,
  coversAll,
  describeRule,
  endsAfterDays,
  endsMarked,
  isEnabled,
  type LifecycleRule,
  leastSizeOf,
  liesWithin,
  tagsOf,
  touches,
} from '#core/bucket-lifecycle';
import { HALF_UPLOAD_DAYS, type Landing, landingsOf, rootOf, UNDELETE_DAYS } from '#core/bucket-rules';
import type { BucketDifference, BucketLifecycle } from '#core/bucket-settings';
import type { Plan } from '#core/plan';
import { SMALLEST_MOVED_BYTES } from '#core/thaw';

/** Names at a vault's root below which, or at which, everything is Holdfast's (DESIGN section 4). */
const OURS = ['backups/', 'logs/', 'proofs/', 'ledger/', 'holds/', 'plans/', 'leases/', 'vault.json'] as const;
/** Classes that are read only after a thaw. */
const FROZEN = new Set(['GLACIER', 'DEEP_ARCHIVE']);

/** What is Holdfast's of a vault, as prefixes within the bucket. */
export function ownPrefixes(plan: Plan, vault: string): string[] {
  return OURS.map((name) => `${rootOf(plan, vault)}${name}`);
}

/**
 * Rules that end what nobody gave up (I5): on every store the one thing that no rule may do. A rule for another tag is
 * none of them, as nothing of ours bears it.
 */
export function endingUnmarked(plan: Plan, vault: string, rules: readonly LifecycleRule[]): LifecycleRule[] {
  const own = ownPrefixes(plan, vault);
  return rules.filter(
    (rule) =>
      isEnabled(rule) &&
      endsAfterDays(rule) !== null &&
      tagsOf(rule).length === 0 &&
      own.some((prefix) => touches(rule, prefix)),
  );
}

/**
 * @param isAws what else the bucket should do is known: another provider's has what its store can do, and where it has no
 * rule for marks, `retain` deletes itself
 */
export function* lifecycleDifferences(
  plan: Plan,
  vault: string,
  lifecycle: BucketLifecycle,
  isAws: boolean,
): Generator<BucketDifference> {
  const own = ownPrefixes(plan, vault);
  const rules = lifecycle.rules.filter((rule) => isEnabled(rule) && own.some((prefix) => touches(rule, prefix)));
  for (const rule of endingUnmarked(plan, vault, rules)) yield unmarked(rule);
  const landings = landingsOf(plan, vault);
  for (const landing of landings) yield* marks(landing, rules, isAws);
  yield* foreignTags(rules);
  yield* frozen(plan, vault, landings, lifecycle, rules);
  if (!isAws) return;
  for (const landing of landings) yield* moves(landing, rules);
  yield* versions(plan, vault, rules);
  yield* leavings(plan, vault, rules);
}

function unmarked(rule: LifecycleRule): BucketDifference {
  const days = rule.Expiration?.Days;
  const when = days === undefined ? `on ${rule.Expiration?.Date?.toISOString().slice(0, 10)}` : `after ${days} days`;
  return {
    grave: true,
    rule,
    what: `${describeRule(rule)} ends backups ${when} that nobody gave up: it does not ask for the tag holdfast=expired`,
    hint: 'take that rule away now, or give it a prefix outside of the vault; what it ended meanwhile is among the noncurrent versions (aws s3api list-object-versions)',
  };
}

/** Of rules that ask for the mark: they end what retention gave up, when its tier is over. */
function* marks(
  { source, tier, prefix, days }: Landing,
  rules: readonly LifecycleRule[],
  isAws: boolean,
): Generator<BucketDifference> {
  const ending = rules.filter((rule) => asksForMark(rule) && endsAfterDays(rule) !== null && touches(rule, prefix));
  const least = days ?? Number.POSITIVE_INFINITY;
  const kept = days === null ? 'for ever' : `${days} days`;
  for (const rule of ending) {
    const after = endsAfterDays(rule) ?? 0;
    if (after < least)
      yield {
        // Of another provider's bucket nobody said how long: what retention marked is over in any case.
        grave: isAws,
        rule,
        what: `${describeRule(rule)} ends what is marked in ${source}/${tier} after ${after} days, the plan keeps it ${kept}: whoever may mark could end what is younger`,
        hint: days === null ? 'end that rule: nothing is to end there' : `give the rule ${days} days`,
      };
  }
  if (days === null) return;
  const whole = ending.filter((rule) => endsMarked(rule, prefix)).map((rule) => endsAfterDays(rule) ?? 0);
  const soonest = Math.min(...whole);
  if (whole.length === 0 && isAws)
    yield {
      grave: true,
      what: `no rule ends what retention marks in ${prefix}: nothing of ${source}/${tier} is removed, unless by somebody who may delete`,
      hint: `want a rule for that prefix and the tag holdfast=expired, of ${days} days`,
    };
  else if (whole.length > 0 && soonest > days)
    yield {
      grave: false,
      what: `what retention gives up of ${source}/${tier} is removed after ${soonest} days, the plan keeps it ${kept}`,
      hint: `give the rule ${days} days`,
    };
}

function* foreignTags(rules: readonly LifecycleRule[]): Generator<BucketDifference> {
  for (const rule of rules)
    if (endsAfterDays(rule) !== null && tagsOf(rule).length > 0 && !asksForMark(rule))
      yield {
        grave: false,
        rule,
        what: `${describeRule(rule)} ends what bears another tag: nothing that Holdfast writes does`,
        hint: 'let nobody tag in the vault, or give that rule a prefix outside of it',
      };
}

/** Moves into a class that needs a thaw, where the plan wants none, or none yet. */
function* frozen(
  plan: Plan,
  vault: string,
  landings: readonly Landing[],
  { smallStay }: BucketLifecycle,
  rules: readonly LifecycleRule[],
): Generator<BucketDifference> {
  const backups = `${rootOf(plan, vault)}backups/`;
  for (const rule of rules) {
    if (tagsOf(rule).length > 0) continue;
    for (const { StorageClass = '', Days = 0 } of rule.Transitions ?? []) {
      if (!FROZEN.has(StorageClass)) continue;
      const move = `${describeRule(rule)} moves to ${StorageClass} after ${Days} days`;
      const hint = 'a restore from there waits hours for a thaw: take that rule away, or give the tier its class';
      const home = landings.find(({ prefix }) => liesWithin(rule, prefix));
      if (!home) {
        const what = liesWithin(rule, backups) ? 'backups that the plan wants readable' : 'what is to stay readable';
        yield { grave: true, rule, what: `${move} ${what}`, hint };
        continue;
      }
      const { source, tier, cold } = home;
      if (cold === null) yield { grave: true, rule, what: `${move} what ${source}/${tier} is to keep readable`, hint };
      else if (StorageClass !== cold.storageClass || Days < cold.days)
        yield {
          grave: true,
          rule,
          what: `${move}, the plan has ${source}/${tier} in ${cold.storageClass} after ${cold.days}`,
          hint: `give the rule ${cold.storageClass} and ${cold.days} days`,
        };
      else if (!smallStay && (leastSizeOf(rule) ?? 0) < SMALLEST_MOVED_BYTES)
        yield {
          grave: true,
          rule,
          what: `${move} manifests too: nobody could read what there is without a thaw`,
          hint: `let the rule take only what is larger than ${SMALLEST_MOVED_BYTES} bytes`,
        };
    }
  }
}

function* moves({ source, tier, prefix, cold }: Landing, rules: readonly LifecycleRule[]): Generator<BucketDifference> {
  if (cold === null) return;
  const days = rules
    .filter((rule) => movesAllLarge(rule, prefix))
    .flatMap(({ Transitions = [] }) => Transitions)
    .filter(({ StorageClass }) => StorageClass === cold.storageClass)
    .map(({ Days = 0 }) => Days);
  const soonest = Math.min(...days);
  if (days.length === 0)
    yield {
      grave: false,
      what: `nothing moves ${source}/${tier} to ${cold.storageClass} after ${cold.days} days: it stays in the dearer class`,
      hint: `want a rule for ${prefix}, for what is larger than ${SMALLEST_MOVED_BYTES} bytes`,
    };
  else if (soonest > cold.days)
    yield {
      grave: false,
      what: `${source}/${tier} moves to ${cold.storageClass} after ${soonest} days, the plan says ${cold.days}`,
      hint: `give the rule ${cold.days} days`,
    };
}

function movesAllLarge(rule: LifecycleRule, below: string): boolean {
  const { Filter } = rule;
  const and = Filter?.And;
  const least = leastSizeOf(rule) ?? 0;
  const unsized: LifecycleRule = {
    Prefix: and?.Prefix || Filter?.Prefix || rule.Prefix,
    Filter: {
      And: { Tags: and?.Tags ?? (Filter?.Tag ? [Filter.Tag] : []), ObjectSizeLessThan: and?.ObjectSizeLessThan },
    },
  };
  return least <= SMALLEST_MOVED_BYTES && coversAll(unsized, below);
}

/** The days in which what was deleted can be had back. */
function* versions(plan: Plan, vault: string, rules: readonly LifecycleRule[]): Generator<BucketDifference> {
  const kept = ownPrefixes(plan, vault).filter((prefix) => !prefix.endsWith('leases/'));
  const ending = rules.filter(
    ({ NoncurrentVersionExpiration: noncurrent }) => noncurrent?.NoncurrentDays !== undefined,
  );
  for (const rule of ending) {
    const days = rule.NoncurrentVersionExpiration?.NoncurrentDays ?? 0;
    if (days < UNDELETE_DAYS && kept.some((prefix) => touches(rule, prefix)))
      yield {
        grave: true,
        rule,
        what: `${describeRule(rule)} ends noncurrent versions after ${days} days, want ${UNDELETE_DAYS}: so long can be had back what somebody deleted`,
        hint: `give the rule ${UNDELETE_DAYS} days, or a prefix outside of the vault`,
      };
  }
  const backups = `${rootOf(plan, vault)}backups/`;
  if (!ending.some((rule) => coversAll(rule, backups)))
    yield {
      grave: false,
      what: 'noncurrent versions stay for ever: what retention gives up goes on to cost',
      hint: `want a rule that ends noncurrent versions after ${UNDELETE_DAYS} days`,
    };
}

function* leavings(plan: Plan, vault: string, rules: readonly LifecycleRule[]): Generator<BucketDifference> {
  const backups = `${rootOf(plan, vault)}backups/`;
  const aborting = rules.filter(
    ({ AbortIncompleteMultipartUpload: abort }) => abort?.DaysAfterInitiation !== undefined,
  );
  for (const rule of aborting) {
    const days = rule.AbortIncompleteMultipartUpload?.DaysAfterInitiation ?? 0;
    if (days < HALF_UPLOAD_DAYS && touches(rule, backups))
      yield {
        grave: false,
        rule,
        what: `${describeRule(rule)} ends uploads after ${days} days: a backup that takes longer fails`,
        hint: `give the rule ${HALF_UPLOAD_DAYS} days`,
      };
  }
  if (!aborting.some((rule) => coversAll(rule, backups)))
    yield {
      grave: false,
      what: 'uploads that were never ended stay for ever, and cost',
      hint: `want a rule that ends them after ${HALF_UPLOAD_DAYS} days`,
    };
  if (!rules.some((rule) => rule.Expiration?.ExpiredObjectDeleteMarker === true && coversAll(rule, backups)))
    yield {
      grave: false,
      what: 'delete markers of what is gone stay for ever, and make listings slow',
      hint: 'want a rule with ExpiredObjectDeleteMarker',
    };
}
