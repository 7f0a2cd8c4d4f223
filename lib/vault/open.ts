import { existsSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KeyExists, UsageError, VaultRefused } from '#core/errors';
import type { VaultSettings } from '#core/plan';
import type { Processes, Vault } from '#core/ports';
import { DiskVault } from '#vault/disk-vault';
import { openBucket, trimmedPrefix } from '#vault/open-bucket';
import type { S3Settings } from '#vault/s3-client';
import { S3Vault } from '#vault/s3-vault';

export interface VaultDeps {
  reveal(text: string): string;
  readonly processes: Processes;
  /** What relative disk paths are relative to: the plan's directory. */
  readonly baseDirectory: string;
  /** When it fires, a vault that does not answer is not tried again. */
  readonly signal?: AbortSignal;
}

/** The vault a plan names. Nothing is asked of it yet: `readVaultIdentity` tells whether it is there. */
export function openVault(name: string, settings: VaultSettings, deps: VaultDeps): Vault {
  if ('disk' in settings) return disk(name, settings.disk, deps, settings.capacity);
  return openBucket(name, settings, deps);
}

export interface VaultUrlDeps extends VaultDeps {
  /** AWS's usual variables are read from it: keys, region, and the endpoint of another store. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly endpoint?: string;
  readonly region?: string;
}

/**
 * A vault without a plan: a directory, `file:///…`, or `s3://bucket/prefix`.
 * @throws UsageError
 */
export function openVaultUrl(url: string, deps: VaultUrlDeps): Vault {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(url)?.[1]?.toLowerCase();
  if (scheme === undefined && url !== '') {
    // A plan's name for a vault, most likely: "not mounted" would send the reader looking for a disk.
    if (/^[\w-]+$/.test(url) && !existsSync(resolve(deps.baseDirectory, url)))
      throw new UsageError(`there is no directory ${url} here, and without a plan a vault has no name`, {
        hint: `a directory, file:///DIRECTORY or s3://BUCKET/PREFIX; the vault that the plan calls ${url}: --from ${url}`,
      });
    return disk(url, url, deps);
  }
  if (scheme === 'file') return disk(url, filePath(url), deps);
  const parts = scheme === 's3' ? /^s3:\/\/([A-Za-z0-9][A-Za-z0-9._-]{2,})(?:\/(.*))?$/i.exec(url) : null;
  if (!parts)
    throw new UsageError(`vault "${withoutUserinfo(url)}" is no place Holdfast knows`, {
      hint: 'want a directory, file:///DIRECTORY or s3://BUCKET/PREFIX',
    });
  const environment = deps.environment ?? {};
  return new S3Vault({
    name: url,
    stop: deps.signal,
    settings: {
      bucket: parts[1] as string,
      prefix: trimmedPrefix(parts[2] ?? '', (message) => new UsageError(`vault "${url}": ${message}`)),
      region: deps.region ?? environment['AWS_REGION'] ?? environment['AWS_DEFAULT_REGION'] ?? null,
      endpoint: deps.endpoint ?? environment['AWS_ENDPOINT_URL_S3'] ?? environment['AWS_ENDPOINT_URL'] ?? null,
      credentials: credentialsOf(environment),
      sse: null,
    },
  });
}

/**
 * Tries whether the vault refuses a second put of a key: two runs at one time are only safe where it does. Leaves the
 * hidden `leases/.check` behind, once, since nothing but retention may remove.
 * @throws VaultRefused when it overwrites
 */
export async function verifyCreateOnly(vault: Vault): Promise<void> {
  for (let put = 1; put <= 2; put++) {
    try {
      await vault.putOnce('leases/.check', Buffer.from('{"check":"create-only"}\n'));
    } catch (error) {
      if (error instanceof KeyExists) return;
      throw error;
    }
  }
  throw new VaultRefused(`vault ${vault.name} at ${vault.url} overwrites what is there: it ignores If-None-Match`, {
    hint: 'use a store that honours conditional writes; some (Ceph) do so only in buckets without versioning and Object Lock',
  });
}

function disk(name: string, path: string, deps: VaultDeps, capacity?: number): Vault {
  const root = isAbsolute(path) ? resolve(path) : resolve(deps.baseDirectory, path);
  return new DiskVault({ name, root, capacity, processes: deps.processes });
}

function filePath(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new UsageError(`vault "${url}" is no file on this machine`, { hint: 'want file:///DIRECTORY', cause });
  }
}

function credentialsOf(environment: Readonly<Record<string, string | undefined>>): S3Settings['credentials'] {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = environment;
  if (!AWS_ACCESS_KEY_ID || !AWS_SECRET_ACCESS_KEY) return null;
  return {
    accessKeyId: AWS_ACCESS_KEY_ID,
    secretAccessKey: AWS_SECRET_ACCESS_KEY,
    ...(AWS_SESSION_TOKEN ? { sessionToken: AWS_SESSION_TOKEN } : {}),
  };
}

/** Somebody may have put keys where other URLs have them. */
function withoutUserinfo(url: string): string {
  return url.replace(/\/\/[^/@]*@/, '//***@');
}
