import { bucketDifferences, type S3Settings, wantedEncryption } from '#core/bucket-differences';
import { describeRule, isEnabled, type LifecycleRule, liesWithin, touches } from '#core/bucket-lifecycle';
import { ownPrefixes } from '#core/bucket-lifecycle-differences';
import { bucketPolicy } from '#core/bucket-policy';
import { ACCOUNT_PLACE, replicationOf } from '#core/bucket-replication';
import { bucketRules, rootOf } from '#core/bucket-rules';
import type { BucketDifference, BucketSettings } from '#core/bucket-settings';
import type { Plan } from '#core/plan';
import { quoteShell } from '#core/shell';

/** What a bucket is to be given, as files to put and the script that puts them. */
export interface BucketFiles {
  readonly bucket: string;
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** Rules of the bucket that would end or hide backups, and are left out. */
  readonly leftOut: readonly string[];
}

/** One bucket of AWS, and the vaults of the plan that lie in it, under a prefix each. */
export interface BucketOfVaults {
  readonly bucket: string;
  readonly vaults: readonly string[];
  /** Of the first of them; `lock` and `sse` of any: they are the bucket's. */
  readonly settings: S3Settings;
}

export function awsBuckets(plan: Plan): BucketOfVaults[] {
  const found = Object.entries(plan.vaults).flatMap(([vault, settings]) =>
    's3' in settings && settings.endpoint === undefined ? [{ vault, settings }] : [],
  );
  return [...Map.groupBy(found, ({ settings }) => settings.s3)].map(([bucket, all]) => ({
    bucket,
    vaults: all.map(({ vault }) => vault),
    settings: {
      ...(all[0] as (typeof all)[number]).settings,
      lock: all.find(({ settings }) => settings.lock)?.settings.lock,
      sse: (all.find(({ settings }) => settings.sse === 'kms') ?? all[0])?.settings.sse,
    },
  }));
}

/**
 * @param live what the bucket has; a part that is not known is put only where the bucket has none, as each put replaces
 * all there is
 * @returns null: it has all of it already
 */
export function bucketFiles(
  plan: Plan,
  { bucket, vaults, settings }: BucketOfVaults,
  live: Partial<BucketSettings>,
): BucketFiles | null {
  const region = settings.region ?? plan.cloud?.region ?? null;
  const differences = vaults.flatMap((vault) => [...bucketDifferences(plan, vault, live)]);
  const { rules, leftOut } = mergedRules(plan, vaults, live, differences);
  const seen = { lifecycle: knownOf(live.lifecycle), policy: knownOf(live.policy) };
  const wanted = bucketPolicy({ bucket, roots: vaults.map((vault) => rootOf(plan, vault)), region });
  const names = new Set(wanted.map(({ Sid }) => Sid));
  const policy = {
    Version: '2012-10-17',
    Statement: [...(seen.policy ?? []).filter(({ Sid }) => !names.has(Sid)), ...wanted],
  };
  const lacks = (part: keyof BucketSettings): boolean =>
    !('value' in (live[part] ?? {})) || bucketDifferencesOf(plan, vaults, live, part).length > 0;
  const steps: Step[] = [];
  const byHand: string[] = [];
  const files: { name: string; text: string }[] = [];
  const put = (name: string, value: unknown): string => {
    files.push({ name, text: `${JSON.stringify(value, null, 2)}\n` });
    return `file://${name}`;
  };
  if (lacks('versioning')) steps.push({ call: 'put-bucket-versioning --versioning-configuration Status=Enabled' });
  if (settings.lock && knownOf(live.lock)?.enabled !== true)
    steps.push({
      // It would take a default away that somebody wants.
      ...(live.lock === undefined || 'unseen' in live.lock
        ? { unless: 'has get-object-lock-configuration ObjectLockConfigurationNotFoundError' }
        : {}),
      call: 'put-object-lock-configuration --object-lock-configuration ObjectLockEnabled=Enabled',
    });
  if (lacks('publicWays'))
    steps.push({
      call: 'put-public-access-block --public-access-block-configuration BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true',
    });
  const algorithm = wantedEncryption(plan, settings);
  if (algorithm !== null && lacks('encryption')) {
    const rule = { ApplyServerSideEncryptionByDefault: { SSEAlgorithm: algorithm }, BucketKeyEnabled: true };
    const file = put('encryption.json', { Rules: [rule] });
    steps.push({
      // Somebody may have given it a key of its own.
      first: ['encryption=$(aws s3api get-bucket-encryption --bucket "$bucket" --output json)'],
      unless: 'printf %s "$encryption" | grep -q aws:kms',
      call: `put-bucket-encryption --server-side-encryption-configuration ${file}`,
    });
  }
  if (lacks('policy'))
    steps.push({
      replaces: {
        what: 'a policy',
        get: 'get-bucket-policy',
        shown: '--query Policy --output text',
        kept: 'policy.before.json',
        none: 'NoSuchBucketPolicy',
        has: countOf(seen.policy),
      },
      call: `put-bucket-policy --policy ${put('policy.json', policy)}`,
    });
  if (lacks('lifecycle')) {
    const small =
      seen.lifecycle?.smallStay === false ? ' --transition-default-minimum-object-size varies_by_storage_class' : '';
    steps.push({
      replaces: {
        what: 'lifecycle rules',
        get: 'get-bucket-lifecycle-configuration',
        shown: '--output json',
        kept: 'lifecycle.before.json',
        none: 'NoSuchLifecycleConfiguration',
        has: countOf(seen.lifecycle?.rules),
      },
      call: `put-bucket-lifecycle-configuration${small} --lifecycle-configuration ${put('lifecycle.json', { Rules: rules })}`,
    });
  }
  const replication = vaults.map((vault) => replicationOf(plan, vault)).find((one) => one !== null);
  const replicating = countOf(knownOf(live.replication));
  if (replication && lacks('replication')) {
    const file = put('replication.json', replication);
    // A bucket replicates by one role: what others set up cannot be merged with ours.
    if (replicating) byHand.push(`it replicates already: add the rule of replication.json, and its role's rights`);
    else steps.push(replicationStep(file, JSON.stringify(replication).includes(ACCOUNT_PLACE), replicating));
  }
  if (steps.length === 0 && byHand.length === 0) return null;
  const script = scriptOf({ plan, bucket, vaults, region, steps, leftOut, byHand });
  return { bucket, files: [{ name: 'put.sh', text: script }, ...files], leftOut };
}

interface Step {
  /** Present = the call replaces all that the bucket has of this. */
  readonly replaces?: {
    readonly what: string;
    readonly get: string;
    /** How it is written as JSON. */
    readonly shown: string;
    /** The file that keeps what was there. */
    readonly kept: string;
    /** The store's word for "there is none". */
    readonly none: string;
    /** How many of it are known, and merged; null = not known. */
    readonly has: number | null;
  };
  /** Of what is never replaced: how to see that the bucket has it. */
  readonly unless?: string;
  /** Lines before the call. */
  readonly first?: readonly string[];
  readonly call: string;
}

function bucketDifferencesOf(
  plan: Plan,
  vaults: readonly string[],
  live: Partial<BucketSettings>,
  part: keyof BucketSettings,
): BucketDifference[] {
  const alone = { [part]: live[part] } as Partial<BucketSettings>;
  return vaults.flatMap((vault) => [...bucketDifferences(plan, vault, alone)]);
}

/** The plan's rules, and those of the bucket that are about something else. */
function mergedRules(
  plan: Plan,
  vaults: readonly string[],
  live: Partial<BucketSettings>,
  differences: readonly BucketDifference[],
): { readonly rules: LifecycleRule[]; readonly leftOut: string[] } {
  const own = vaults.flatMap((vault) => ownPrefixes(plan, vault));
  const wanted = new Map(vaults.flatMap((vault) => bucketRules(plan, vault)).map((rule) => [rule.ID, rule]));
  const harmful = new Set(differences.filter(({ grave }) => grave).map(({ rule }) => rule));
  const present = knownOf(live.lifecycle)?.rules ?? [];
  const isAbout = (rule: LifecycleRule): boolean => own.some((prefix) => touches(rule, prefix));
  const kept = present.filter((rule) => {
    const isReplaced = own.some((prefix) => liesWithin(rule, prefix)) || (isAbout(rule) && wanted.has(rule.ID));
    return !isReplaced && !harmful.has(rule);
  });
  const taken = new Set(kept.map(({ ID }) => ID));
  const named = [...wanted.values()].map((rule) => (taken.has(rule.ID) ? { ...rule, ID: `${rule.ID}-2` } : rule));
  const leftOut = present.filter((rule) => isEnabled(rule) && harmful.has(rule)).map(describeRule);
  return { rules: [...kept.map(modern), ...named], leftOut };
}

/** S3 takes no rule of the old shape beside one of the new. */
function modern({ Prefix, ...rule }: LifecycleRule): LifecycleRule {
  return rule.Filter ? rule : { ...rule, Filter: { Prefix: Prefix ?? '' } };
}

/** Last, as the role it names is made by the deployment, and both buckets must have versions. */
function replicationStep(file: string, wantsAccount: boolean, has: number | null): Step {
  const filled = 'replication.filled.json';
  return {
    replaces: {
      what: 'a replication',
      get: 'get-bucket-replication',
      shown: '--output json',
      kept: 'replication.before.json',
      none: 'ReplicationConfigurationNotFoundError',
      has,
    },
    ...(wantsAccount
      ? {
          first: [
            'account=$(aws sts get-caller-identity --query Account --output text)',
            `sed "s/${ACCOUNT_PLACE}/$account/g" replication.json > ${filled}`,
          ],
        }
      : {}),
    call: `put-bucket-replication --replication-configuration ${wantsAccount ? `file://${filled}` : file}`,
  };
}

interface Script {
  readonly plan: Plan;
  readonly bucket: string;
  readonly vaults: readonly string[];
  readonly region: string | null;
  readonly steps: readonly Step[];
  readonly leftOut: readonly string[];
  readonly byHand: readonly string[];
}

function scriptOf({ plan, bucket, vaults, region, steps, leftOut, byHand }: Script): string {
  const unknown = steps.flatMap(({ replaces }) => (replaces?.has === null ? [replaces] : []));
  return [
    '#!/bin/sh',
    `# Gives the bucket ${bucket} what the plan ${plan.name} wants of it (${vaults.map((vault) => `vault ${vault}`).join(', ')}).`,
    '# Read it, and the files beside it; then: sh put.sh',
    '# As somebody who may change the bucket: no role of Holdfast may.',
    'set -eu',
    'cd "$(dirname "$0")"',
    `bucket=${quoteShell(bucket)}`,
    ...(region === null ? [] : [`export AWS_REGION=${quoteShell(region)}`]),
    ...leftOut.map((rule) => `# LEFT OUT, as it ends backups or hides them: ${rule.replaceAll(/\p{Cc}+/gu, ' ')}`),
    ...byHand.map((what) => `# BY HAND: ${what}`),
    ...(unknown.length === 0 && steps.every(({ unless }) => unless === undefined) ? [] : [HAS]),
    ...unknown.map(({ get, none, what }) => `none_yet ${get} ${none} ${quoteShell(what)}`),
    ...steps.flatMap(stepLines),
    '',
    ...byHand.map((what) => `echo ${quoteShell(`still by hand: ${what}`)}`),
    'echo "done; look with: holdfast check"',
    '',
  ].join('\n');
}

const HAS = `
# Whether the bucket has one. Where that cannot be seen, nothing is put: it might replace something.
has() {
  if said=$(aws s3api "$1" --bucket "$bucket" 2>&1); then return 0; fi
  case $said in *"$2"*) return 1 ;; esac
  printf '%s\\n' "$said" >&2
  exit 1
}
none_yet() {
  if has "$1" "$2"; then
    echo "$bucket has $3 already, and this would replace all of it: nothing was changed" >&2
    echo "hint: holdfast check --bucket-rules DIR  writes it merged with what is there" >&2
    exit 1
  fi
}`;

function stepLines({ replaces, unless, first = [], call }: Step): string[] {
  const before = replaces?.has
    ? [
        `# Replaces the ${replaces.has} that are there: what is to stay of them is merged, and all are kept here.`,
        `aws s3api ${replaces.get} --bucket "$bucket" ${replaces.shown} > ${replaces.kept}`,
      ]
    : [];
  return [
    '',
    ...before,
    ...first,
    `${unless === undefined ? '' : `${unless} || `}aws s3api ${call} --bucket "$bucket"`,
  ];
}

function countOf(list: readonly unknown[] | undefined): number | null {
  return list === undefined ? null : list.length;
}

function knownOf<Value>(part: { readonly value: Value } | { readonly unseen: unknown } | undefined): Value | undefined {
  return part !== undefined && 'value' in part ? part.value : undefined;
}
