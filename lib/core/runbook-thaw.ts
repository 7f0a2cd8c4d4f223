import { formatSeconds } from '#core/duration';
import { fenced } from '#core/markdown';
import type { RestorableSource, RunbookVault } from '#core/runbook';
import { bucketVariable } from '#core/runbook-steps';
import { shellWord } from '#core/shell';
import { AWS_CLASS, isMoved, THAW_DAYS } from '#core/thaw';

/**
 * What comes before the files of a backup can be fetched, once its tier's `after:` is over. The page may have been written
 * long before that, so it tells the day. Null: its class can be read at once.
 */
export function thawWords({ source, backup }: RestorableSource, used: readonly RunbookVault[]): string | null {
  const { manifest, archived } = backup;
  const bucket = used.find(({ name }) => name === backup.vault)?.bucket;
  if (!archived || !bucket) return null;
  const { tier, id, artifacts } = manifest;
  const files = artifacts.flatMap(({ volumes }) => volumes.filter(isMoved).map(({ name }) => name));
  const root = bucket.prefix === '' ? '' : `${bucket.prefix}/`;
  const named = bucketVariable(backup.vault, used);
  const call = (name: string, more: string): string =>
    `  aws s3api ${name} --region "$AWS_REGION" --bucket "$${named}" --key "$folder/$name" ${more}`;
  const each = (line: string): string => `for name in ${files.map(shellWord).join(' ')}; do\n${line}\ndone`;
  const request = `{"Days":${THAW_DAYS},"GlacierJobParameters":{"Tier":"Standard"}}`;
  return `**From ${archived.from.toISOString().slice(0, 10)} on** its files lie in ${AWS_CLASS[archived.class]}, and cannot be fetched before they were thawed: ${formatSeconds(archived.seconds)} at most. Ask for it, once:

${fenced('sh thaw', `folder=${shellWord(`${root}backups/${source}/${tier}/${id}`)}\n${each(call('restore-object', `--restore-request '${request}'`))}`)}

\`RestoreAlreadyInProgress\` = somebody has asked before you; \`InvalidObjectState\` = there is nothing to thaw; \`AccessDenied\` = it takes \`s3:RestoreObject\`. Go on when each line of this says \`ongoing-request="false"\`; they can be read for ${THAW_DAYS} days then:

${fenced('sh thaw', each(call('head-object', '--query Restore --output text')))}`;
}
