import { PlanInvalid } from '#core/errors';
import type { VaultSettings } from '#core/plan';
import type { Vault } from '#core/ports';
import type { VaultDeps } from '#vault/open';
import { S3Vault } from '#vault/s3-vault';

export type BucketSettings = Extract<VaultSettings, { s3: string }>;

/** A vault in a bucket. Apart from directories, so that a function need not bring along what it has no use for. */
export function openBucket(name: string, settings: BucketSettings, deps: Pick<VaultDeps, 'reveal' | 'signal'>): Vault {
  const { s3, prefix, region, endpoint, accessKeyId, secretAccessKey, sse, capacity } = settings;
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined))
    throw new PlanInvalid(
      `vaults.${name}: got only ${accessKeyId === undefined ? 'secretAccessKey' : 'accessKeyId'}, want both or none`,
      { hint: 'give both keys, or neither: then the AWS credentials of this machine are used' },
    );
  const credentials =
    accessKeyId !== undefined && secretAccessKey !== undefined
      ? { accessKeyId: deps.reveal(accessKeyId), secretAccessKey: deps.reveal(secretAccessKey) }
      : null;
  return new S3Vault({
    name,
    capacity,
    stop: deps.signal,
    settings: {
      bucket: s3,
      prefix: trimmedPrefix(prefix ?? '', (message) => new PlanInvalid(`vaults.${name}.prefix: ${message}`)),
      region: region ?? null,
      endpoint: endpoint ?? null,
      credentials,
      sse: sse ?? null,
    },
  });
}

export function trimmedPrefix(prefix: string, wrong: (message: string) => Error): string {
  const trimmed = prefix.replace(/^\/+|\/+$/g, '');
  if (trimmed === '') return '';
  const parts = trimmed.split('/');
  if (trimmed.length > 200 || parts.some((part) => !/^[^\p{Cc}\\]+$/u.test(part) || part === '.' || part === '..'))
    throw wrong(`got ${JSON.stringify(prefix)}, want names joined by /, at most 200 characters, without . or ..`);
  return trimmed;
}
