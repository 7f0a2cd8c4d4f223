import { bucketDifferences, isHeldToPlan } from '#core/bucket-differences';
import type { BucketPart, BucketSettings } from '#core/bucket-settings';
import { HoldfastError, VaultMissing } from '#core/errors';
import type { Plan } from '#core/plan';
import type { CheckLine } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';

/** A bucket as it is at this moment. Of another provider's, its lifecycle alone: what else there is differs. */
export interface LiveBucket {
  readonly vault: string;
  readonly settings: Partial<BucketSettings>;
}

/**
 * What `check` says of the buckets that vaults lie in: whether they do what the plan wants of them, and nothing to the
 * backups that it does not. Whoever made them, a deployment or somebody by hand: rules are changed by hand, later.
 * @param vaults those whose stores answer
 * @param onLooked told of each bucket that could be looked at
 */
export async function* checkBuckets(
  vaults: Iterable<string>,
  environment: JobEnvironment,
  onLooked: (live: LiveBucket) => void = () => undefined,
): AsyncGenerator<CheckLine> {
  for (const vault of vaults) {
    const label = `vault ${vault}`;
    try {
      const settings = await lookAtBucket(vault, environment);
      if (settings === null) continue;
      onLooked({ vault, settings });
      yield* linesOf(label, vault, settings, environment);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      // No such bucket: told by the vault's own line.
      if (error instanceof VaultMissing) continue;
      yield {
        name: label,
        ok: false,
        message: `could not look at how its bucket is set up: ${error.message}`,
        hint: error.hint,
      };
    }
  }
}

async function lookAtBucket(vault: string, environment: JobEnvironment): Promise<Partial<BucketSettings> | null> {
  const settings = environment.plan.plan.vaults[vault];
  if (!settings || !('s3' in settings)) return null;
  const { bucket } = environment.vault(vault);
  if (!bucket) return null;
  return isAws(vault, environment.plan.plan) ? bucket.settings() : { lifecycle: await bucket.lifecycle() };
}

function* linesOf(
  name: string,
  vault: string,
  live: Partial<BucketSettings>,
  { plan: { plan } }: JobEnvironment,
): Generator<CheckLine> {
  const differences = [...bucketDifferences(plan, vault, live)];
  for (const { grave, what, hint } of differences) yield { name, ok: !grave, message: what, hint };
  if (differences.length > 0 && isAws(vault, plan))
    yield {
      name,
      ok: true,
      message: `its bucket differs from what the plan wants in ${differences.length === 1 ? 'one thing' : `${differences.length} things`}`,
      hint: 'holdfast check --bucket-rules ./buckets writes what it lacks, merged with what it has, and the script that puts it',
    };
  const parts = Object.entries(live) as [BucketPart, BucketSettings[BucketPart]][];
  const unseen = parts.flatMap(([part, seen]) => ('unseen' in seen ? [{ part, ...seen.unseen }] : []));
  const rights = unseen.flatMap(({ right }) => right ?? []);
  if (rights.length > 0)
    yield {
      name,
      // Elsewhere the rules need be none, and whoever only backs up may not look: in a deployment they are what removes.
      ok: isHeldToPlan(plan, vault) ? null : true,
      message: `could not look at how its bucket is set up: these credentials may not ${rights.join(', ')}`,
      hint: `allow them ${rights.join(', ')}, or check with credentials that may`,
    };
  const unknown = unseen.filter(({ right }) => right === null).map(({ part }) => WORDS[part]);
  // A store without a lifecycle has no rule that could do harm; `retain` deletes there itself.
  if (unknown.length > 0 && parts.length > 1)
    yield {
      name,
      ok: null,
      message: `could not look at its ${unknown.join(', ')}: the store does not know the call`,
      hint: 'name its endpoint in the plan, if it is not AWS',
    };
  if (differences.length > 0 || unseen.length > 0) return;
  const what = parts.map(([part]) => WORDS[part]);
  yield {
    name,
    ok: true,
    message: `its bucket is set up as the plan wants it: ${what.join(', ')}`,
    hint: null,
  };
}

function isAws(vault: string, { vaults }: Plan): boolean {
  const settings = vaults[vault];
  return settings !== undefined && 's3' in settings && settings.endpoint === undefined;
}

const WORDS: Readonly<Record<BucketPart, string>> = {
  lifecycle: 'lifecycle',
  versioning: 'versioning',
  policy: 'policy',
  lock: 'Object Lock',
  encryption: 'encryption',
  publicWays: 'block of public access',
  replication: 'replication',
};
