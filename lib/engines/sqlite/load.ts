import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Disproven, SourceUnsupported } from '#core/errors';
import type { Manifest } from '#core/manifest';
import type { Difference, OpenBackup, RestoredCopy, RunContext } from '#core/ports';
import { askWorker, DatabaseDamaged } from '#engines/sqlite/ask-worker';
import { ARTIFACT } from '#engines/sqlite/capture';
import { differencesFrom, type Fingerprint, readFingerprint } from '#engines/sqlite/fingerprint';
import { probeDifferences } from '#engines/sqlite/probes';
import type { Examination } from '#engines/sqlite/protocol';
import { unsealToFile } from '#engines/sqlite/unseal-to-file';

/** Unseals the snapshot into the scratch directory: a database file needs no server. */
export async function load(backup: OpenBackup, run: RunContext): Promise<RestoredCopy> {
  const folder = await mkdtemp(join(run.scratch, 'sqlite-'));
  const where = join(folder, ARTIFACT);
  try {
    const fingerprint = readFingerprint(await backup.fingerprint());
    await unsealToFile(backup, where, run);
    return {
      where,
      compare: () => compareFile(where, fingerprint, backup.manifest, run),
      close: () => rm(folder, { recursive: true, force: true }),
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Reads a whole restored file and compares all of it. */
export async function compareFile(
  file: string,
  fingerprint: Fingerprint,
  manifest: Manifest,
  run: RunContext,
): Promise<readonly Difference[]> {
  const restored = await examineRestored(file, manifest, run);
  const identical = restored.sha256 === fingerprint.sha256;
  return [
    ...differencesFrom(fingerprint, restored),
    ...(restored.complaints.length > 0 ? [] : probeDifferences(manifest.probes, restored.probes, identical)),
  ];
}

/** @throws Disproven it is no database any more */
export async function examineRestored(file: string, manifest: Manifest, run: RunContext): Promise<Examination> {
  try {
    return await askWorker({ do: 'examine', file, probes: manifest.probes }, run);
  } catch (error) {
    if (error instanceof SourceUnsupported || error instanceof DatabaseDamaged)
      throw new Disproven(`the restored database cannot be read: ${error.message}`, {
        source: manifest.source,
        hint: `prove an older backup: holdfast list ${manifest.source}`,
        cause: error,
      });
    throw error;
  }
}
