import type { LifecycleRule, LifecycleRuleFilter } from '@aws-sdk/client-s3';

/**
 * A bucket's `LifecycleConfiguration` of a template as `PutBucketLifecycleConfiguration` takes it: the same rules under
 * other names. Throws for a property it does not know, so that no rule gets lost on the way.
 */

type Json = Readonly<Record<string, unknown>>;

interface Filtering {
  readonly Prefix?: string;
  readonly Tags?: { readonly Key: string; readonly Value: string }[];
  readonly ObjectSizeGreaterThan?: number;
  readonly ObjectSizeLessThan?: number;
}

export function lifecycleRules(configuration: unknown): LifecycleRule[] {
  const { Rules, TransitionDefaultMinimumObjectSize: _ofTheWholeBucket, ...rest } = configuration as Json;
  noMore(rest, 'LifecycleConfiguration');
  return (Rules as Json[]).map(ruleOf);
}

function ruleOf(rule: Json): LifecycleRule {
  const { Id, Status, Prefix, TagFilters, ObjectSizeGreaterThan, ObjectSizeLessThan, ...actions } = rule;
  const { ExpirationInDays, ExpiredObjectDeleteMarker, Transitions, ...same } = actions;
  const { NoncurrentVersionExpiration, AbortIncompleteMultipartUpload, ...rest } = same;
  noMore(rest, `rule ${Id}`);
  return {
    ID: Id as string,
    Status: Status as 'Enabled',
    Filter: filterOf({
      ...(Prefix === undefined ? {} : { Prefix: Prefix as string }),
      ...(TagFilters === undefined ? {} : { Tags: TagFilters as { Key: string; Value: string }[] }),
      // Text in a template, numbers in the API.
      ...(ObjectSizeGreaterThan === undefined ? {} : { ObjectSizeGreaterThan: Number(ObjectSizeGreaterThan) }),
      ...(ObjectSizeLessThan === undefined ? {} : { ObjectSizeLessThan: Number(ObjectSizeLessThan) }),
    }),
    ...(ExpirationInDays === undefined ? {} : { Expiration: { Days: ExpirationInDays as number } }),
    ...(ExpiredObjectDeleteMarker === undefined ? {} : { Expiration: { ExpiredObjectDeleteMarker: true } }),
    ...(Transitions === undefined ? {} : { Transitions: (Transitions as Json[]).map(transitionOf) }),
    // These two are the same in both shapes.
    ...({ NoncurrentVersionExpiration, AbortIncompleteMultipartUpload } as Partial<LifecycleRule>),
  };
}

function transitionOf({ StorageClass, TransitionInDays, ...rest }: Json) {
  noMore(rest, 'a transition');
  return { StorageClass: StorageClass as 'GLACIER', Days: TransitionInDays as number };
}

/** One condition stands alone, several stand below `And`. */
function filterOf(filtering: Filtering): LifecycleRuleFilter {
  const { Tags = [], ...others } = filtering;
  const conditions = Tags.length + Object.keys(others).length;
  if (conditions > 1) return { And: filtering };
  const [Tag] = Tags;
  return Tag ? { Tag } : conditions === 0 ? { Prefix: '' } : others;
}

/** What the gateway cannot try: a condition on sizes, which it would leave out without a word. */
export function withoutSizes(rules: readonly LifecycleRule[]): {
  readonly rules: LifecycleRule[];
  readonly left: readonly string[];
} {
  const left: string[] = [];
  const put = rules.map((rule): LifecycleRule => {
    const { Prefix, Tags, ...sizes } = (rule.Filter?.And ?? {}) as Filtering;
    if (Object.keys(sizes).length === 0) return rule;
    left.push(`${rule.ID}: ${JSON.stringify(sizes)}`);
    return { ...rule, Filter: filterOf({ ...(Prefix ? { Prefix } : {}), ...(Tags ? { Tags } : {}) }) };
  });
  return { rules: put, left };
}

function noMore(rest: Json, where: string): void {
  const unknown = Object.keys(rest);
  if (unknown.length > 0) throw new Error(`${where}: ${unknown} is not known here`);
}
