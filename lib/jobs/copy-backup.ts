import { createHash } from 'node:crypto';
import { Cancelled, Disproven, KeyExists, KeyMissing, StoredBytesDiffer } from '#core/errors';
import { keepOptions } from '#core/keeping';
import { backupFolder, type Manifest, manifestKey, readManifest } from '#core/manifest';
import type { KeepOptions, StoreOptions, Vault } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';
import { getRecord } from '#vault/record';

type Volume = Manifest['artifacts'][number]['volumes'][number];

export interface CopyOptions {
  /** Beside the run's own: a lease that was lost. */
  readonly signal?: AbortSignal;
  /** Told of each chunk; without it the copy shows its own progress. */
  readonly onBytes?: (bytes: number) => void;
  /** Called right before the commit. Throws when it may not happen any more. */
  readonly confirm?: () => Promise<void>;
}

/**
 * Copies a committed backup into another vault: volumes first, each hash as the manifest has it, the manifest last (I1).
 * Nothing is ever overwritten. What a killed copy left is hashed where it lies, and not sent again.
 * @returns what the vault did not do of the class or lock that the plan asks for
 * @throws Disproven what came out of the first vault is not what its manifest says: then nothing of it was stored
 * @throws StoredBytesDiffer another object has the place of a volume or of the manifest
 */
export async function copyBackup(
  manifest: Manifest,
  from: Vault,
  to: Vault,
  { plan, run }: Pick<JobEnvironment, 'plan' | 'run'>,
  options: CopyOptions = {},
): Promise<readonly string[]> {
  const folder = backupFolder(manifest);
  const lacking = new Set<string>();
  const expires = manifest.expires === null ? null : new Date(manifest.expires);
  const keep: KeepOptions = {
    ...keepOptions(plan.plan, to.name, manifest.tier, expires, run.clock.now()),
    onLess: ({ what }) => lacking.add(what),
  };
  const signal = options.signal ? AbortSignal.any([run.signal, options.signal]) : run.signal;
  const { onBytes = (count: number) => run.progress.advance(count) } = options;
  if (!options.onBytes) run.progress.stage(`copying ${manifest.id} to ${to.name}`, bytesOf(manifest));
  await copyPlan(manifest, from, to);
  const there = new Map<string, number>();
  for await (const { key, bytes } of to.list(`${folder}/`)) there.set(key, bytes);
  for (const volume of manifest.artifacts.flatMap(({ volumes }) => volumes)) {
    const key = `${folder}/${volume.name}`;
    const left = there.get(key);
    if (left === undefined) await copyVolume(manifest, volume, from, to, { ...keep, signal, onBytes });
    else {
      await compareLeft(key, left, volume, to, signal);
      onBytes(volume.bytes);
    }
  }
  const record = await readRecord(manifest, from);
  await options.confirm?.();
  try {
    await to.putOnce(manifestKey(manifest), record, keep);
  } catch (error) {
    if (!(error instanceof KeyExists)) throw error;
    if (!record.equals(await to.get(manifestKey(manifest)))) throw inTheWay(manifestKey(manifest), to, manifest.source);
  }
  return [...lacking];
}

async function copyVolume(
  manifest: Manifest,
  volume: Volume,
  from: Vault,
  to: Vault,
  options: StoreOptions,
): Promise<void> {
  const folder = backupFolder(manifest);
  const bytes = await from.open(`${folder}/${volume.name}`);
  try {
    const { bytes: length, sha256 } = volume;
    await to.store(folder, volume.name, bytes, { ...options, expect: { bytes: length, sha256 } });
  } catch (error) {
    if (!(error instanceof Disproven)) throw error;
    throw new Disproven(`${folder}/${volume.name} in ${from.name} is not what its manifest says`, {
      source: manifest.source,
      hint: `holdfast prove ${manifest.source} --id ${manifest.id} --stored --from ${from.name}`,
      cause: error,
    });
  }
}

/** A vault gives a name only to what is whole, so what has one is whole: whether it is the right one, its hash tells. */
async function compareLeft(key: string, bytes: number, volume: Volume, to: Vault, signal: AbortSignal): Promise<void> {
  const hash = createHash('sha256');
  if (bytes === volume.bytes)
    for await (const chunk of await to.open(key)) {
      if (signal.aborted)
        throw new Cancelled('stopped while comparing what is there already', { cause: signal.reason });
      hash.update(chunk as Buffer);
    }
  if (bytes !== volume.bytes || hash.digest('hex') !== volume.sha256) throw inTheWay(key, to, null);
}

/** The manifest's own bytes, read once more and checked: a record that was hurt on its way is not passed on. */
async function readRecord(manifest: Manifest, from: Vault): Promise<Buffer> {
  const key = manifestKey(manifest);
  const record = Buffer.from(await getRecord(from, key));
  if (readManifest(record.toString('utf8'), key).sha256 === manifest.sha256) return record;
  throw new Disproven(`${key} in ${from.name} is another manifest than a moment ago`, {
    source: manifest.source,
    hint: `holdfast ledger verify ${manifest.source}`,
  });
}

/** The plan the backup was made by, so that the copy tells its whole story. */
export async function copyPlan(manifest: Manifest, from: Vault, to: Vault): Promise<void> {
  const key = `plans/${manifest.plan.sha256}.yaml`;
  for await (const found of to.list(key, { limit: 1 })) if (found.key === key) return;
  try {
    await to.putOnce(key, await from.get(key));
  } catch (error) {
    // Another run was quicker; or the first vault lacks it, which hinders no restore.
    if (!(error instanceof KeyExists || error instanceof KeyMissing)) throw error;
  }
}

function inTheWay(key: string, to: Vault, source: string | null): StoredBytesDiffer {
  return new StoredBytesDiffer(`${key} is already in ${to.url} and is not the copy's: nothing is overwritten`, {
    source,
    hint: 'look at what lies there and who wrote it; the other vaults still have their copies',
  });
}

/** Bytes of all volumes. */
export function bytesOf(manifest: Manifest): number {
  return manifest.artifacts.flatMap(({ volumes }) => volumes).reduce((sum, { bytes }) => sum + bytes, 0);
}
