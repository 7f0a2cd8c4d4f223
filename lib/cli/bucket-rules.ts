import { mkdirSync, writeFileSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { awsBuckets, bucketFiles } from '#core/bucket-files';
import { messageOf, UsageError } from '#core/errors';
import type { Plan } from '#core/plan';
import type { LiveBucket } from '#jobs/check-buckets';

/**
 * `check --bucket-rules DIR`: for each bucket of AWS what it lacks, merged with what it has.
 * @throws UsageError
 */
export function writeBucketRules(plan: Plan, live: readonly LiveBucket[], out: string, directory: string): string[] {
  const root = isAbsolute(out) ? out : resolve(directory, out);
  return awsBuckets(plan).flatMap((one) => {
    const seen = live.find(({ vault }) => one.vaults.includes(vault));
    if (!seen) return [`bucket ${one.bucket}: not looked at, nothing was written`];
    const made = bucketFiles(plan, one, seen.settings);
    if (made === null) return [`bucket ${one.bucket}: has all that the plan wants, nothing to put`];
    const folder = join(root, one.bucket);
    try {
      mkdirSync(folder, { recursive: true });
      for (const { name, text } of made.files) writeFileSync(join(folder, name), text);
    } catch (cause) {
      throw new UsageError(`${folder} cannot be written: ${messageOf(cause)}`, {
        hint: 'name a directory that you may write: --bucket-rules DIR',
        cause,
      });
    }
    return [
      `bucket ${one.bucket}: read ${join(folder, 'put.sh')} and the files beside it, then: sh ${join(folder, 'put.sh')}`,
      ...made.leftOut.map((rule) => `  left out of its rules, as it ends backups or hides them: ${rule}`),
    ];
  });
}
