import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { awsBuckets, bucketFiles } from '#core/bucket-files';
import type { Plan } from '#core/plan';

/**
 * Writes, for each bucket with `existing: true`, what it has to be given beside the templates: a deployment does not
 * touch it, and without its rules retention never removes anything, and history can be overwritten.
 * @returns lines for people
 */
export function writeAdoptedBuckets(plan: Plan, directory: string): string[] {
  return awsBuckets(plan).flatMap((one) => {
    if (!one.settings.existing) return [];
    // Nothing is known of it here: synthesis has no credentials.
    const made = bucketFiles(plan, one, {});
    if (made === null) return [];
    const folder = join(directory, 'buckets', one.bucket);
    mkdirSync(folder, { recursive: true });
    for (const { name, text } of made.files) writeFileSync(join(folder, name), text);
    const script = relative(process.cwd(), join(folder, 'put.sh'));
    return [
      `bucket ${one.bucket} is yours (existing: true) and stays as it is. Once, and after each change of tiers: sh ${script}`,
      `  it refuses to replace rules that are there; what differs, and all of it merged: holdfast check --bucket-rules DIR`,
    ];
  });
}
