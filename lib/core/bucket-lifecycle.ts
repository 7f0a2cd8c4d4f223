/**
 * Lifecycle rules of a bucket in S3's own shape, as its API answers and takes them, and what a rule does to whom. Rules
 * are judged by what they do and not by their names: somebody else's may do the same, or worse.
 */

interface Tag {
  readonly Key?: string | undefined;
  readonly Value?: string | undefined;
}

interface Parts {
  readonly Prefix?: string | undefined;
  readonly ObjectSizeGreaterThan?: number | undefined;
  readonly ObjectSizeLessThan?: number | undefined;
}

export interface LifecycleRule {
  readonly ID?: string | undefined;
  readonly Status?: string | undefined;
  /** The old place of it; rules of before 2017 still have it there. */
  readonly Prefix?: string | undefined;
  readonly Filter?:
    | (Parts & {
        readonly Tag?: Tag | undefined;
        readonly And?: (Parts & { readonly Tags?: readonly Tag[] | undefined }) | undefined;
      })
    | undefined;
  readonly Expiration?:
    | {
        readonly Days?: number | undefined;
        readonly Date?: Date | undefined;
        readonly ExpiredObjectDeleteMarker?: boolean | undefined;
      }
    | undefined;
  readonly Transitions?:
    | readonly {
        readonly Days?: number | undefined;
        readonly Date?: Date | undefined;
        readonly StorageClass?: string | undefined;
      }[]
    | undefined;
  readonly NoncurrentVersionExpiration?:
    | { readonly NoncurrentDays?: number | undefined; readonly NewerNoncurrentVersions?: number | undefined }
    | undefined;
  readonly AbortIncompleteMultipartUpload?: { readonly DaysAfterInitiation?: number | undefined } | undefined;
}

/** What retention puts on what it gives up. */
export const EXPIRED_MARK = { Key: 'holdfast', Value: 'expired' } as const;

/** The objects a rule is about. */
interface Reach {
  readonly prefix: string;
  readonly tags: readonly Tag[];
  readonly above: number | null;
  readonly below: number | null;
}

function reachOf({ Filter, Prefix }: LifecycleRule): Reach {
  const and = Filter?.And;
  return {
    // Ceph answers with empty parts beside the one that is meant.
    prefix: [and?.Prefix, Filter?.Prefix, Prefix].find((prefix) => prefix) ?? '',
    tags: and?.Tags?.length ? and.Tags : Filter?.Tag ? [Filter.Tag] : [],
    above: and?.ObjectSizeGreaterThan || Filter?.ObjectSizeGreaterThan || null,
    below: and?.ObjectSizeLessThan ?? Filter?.ObjectSizeLessThan ?? null,
  };
}

export function isEnabled({ Status }: LifecycleRule): boolean {
  return Status === 'Enabled';
}

/** The rule is about something below the prefix. */
export function touches(rule: LifecycleRule, below: string): boolean {
  const { prefix } = reachOf(rule);
  return below.startsWith(prefix) || prefix.startsWith(below);
}

/** All that the rule is about lies below the prefix. */
export function liesWithin(rule: LifecycleRule, below: string): boolean {
  return reachOf(rule).prefix.startsWith(below);
}

/** The rule is about all that lies below the prefix, whatever its size and its tags. */
export function coversAll(rule: LifecycleRule, below: string): boolean {
  return coversMarked(rule, below) && reachOf(rule).tags.length === 0;
}

/** The rule is about all that lies below the prefix and bears the mark, whatever its size and its other tags. */
function coversMarked(rule: LifecycleRule, below: string): boolean {
  const { prefix, tags, above, below: under } = reachOf(rule);
  const [tag, ...more] = tags;
  return below.startsWith(prefix) && above === null && under === null && more.length === 0 && (!tag || isMark(tag));
}

/** Tags that an object must bear for the rule to be about it. */
export function tagsOf(rule: LifecycleRule): readonly string[] {
  return reachOf(rule).tags.map(({ Key = '', Value = '' }) => `${Key}=${Value}`);
}

/** Bytes; null = small ones too. */
export function leastSizeOf(rule: LifecycleRule): number | null {
  return reachOf(rule).above;
}

export function asksForMark(rule: LifecycleRule): boolean {
  return reachOf(rule).tags.some(isMark);
}

function isMark({ Key, Value }: Tag): boolean {
  return Key === EXPIRED_MARK.Key && Value === EXPIRED_MARK.Value;
}

/** Days from an object's birth to its end by this rule; a date is none. Null = it ends no present version. */
export function endsAfterDays({ Expiration }: LifecycleRule): number | null {
  if (Expiration?.Days !== undefined) return Expiration.Days;
  return Expiration?.Date === undefined ? null : 0;
}

/** The rule ends, after so many days, all that lies below the prefix and bears the mark; and nothing that does not. */
export function endsMarked(rule: LifecycleRule, below: string): boolean {
  return isEnabled(rule) && rule.Expiration?.Days !== undefined && asksForMark(rule) && coversMarked(rule, below);
}

/** For people: the rule's name and reach. */
export function describeRule(rule: LifecycleRule): string {
  const { prefix, tags } = reachOf(rule);
  const where = prefix === '' ? 'the whole bucket' : prefix;
  const name = rule.ID ? `rule "${rule.ID}"` : 'a rule without a name';
  return `${name} (${where}${tags.length === 0 ? '' : `, tag ${tagsOf(rule).join(' and ')}`})`;
}
