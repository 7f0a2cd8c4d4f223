import { mkdir, mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandFailed, Disproven, NotProvableHere, RecordInvalid } from '#core/errors';
import type { OpenBackup, RestoredCopy, RunContext } from '#core/ports';
import { compareTree } from '#engines/files/compare';
import { type FilesFingerprint, INDEX, readFingerprint } from '#engines/files/fingerprint';
import { removeTree } from '#engines/files/remove-tree';
import { tarVersion } from '#engines/files/tar-version';
import { fetchIndex, tooLongBelow, unpackTree } from '#engines/files/unpack';
import { freeSpace } from '#engines/target-directory';

/** A directory, an inode and a last, half-filled block for each member. */
const PER_ENTRY = 4096;

export function spaceFor(fingerprint: FilesFingerprint): number {
  return fingerprint.archive + fingerprint.entries * PER_ENTRY;
}

/**
 * Unpacks into the scratch directory.
 * @throws NotProvableHere no room, no GNU tar, or devices that only root may make
 * @throws Disproven, UnsafePath
 */
export async function load(backup: OpenBackup, run: RunContext): Promise<RestoredCopy> {
  const fingerprint = await fingerprintOf(backup);
  await lacksNothing(fingerprint, run);
  const home = await mkdtemp(join(run.scratch, 'files-'));
  const copy = join(home, 'copy');
  const indexPath = join(home, INDEX);
  const close = (): Promise<void> => removeTree(home);
  try {
    await mkdir(copy, { mode: 0o700 });
    const tooLong = tooLongBelow(copy, await fetchIndex(backup, fingerprint, indexPath));
    if (tooLong !== null)
      throw new NotProvableHere(tooLong, { hint: 'give a scratch directory with a shorter name: HOLDFAST_SCRATCH' });
    await unpackTree(backup, indexPath, null, copy, run);
  } catch (error) {
    await close();
    if (!(error instanceof CommandFailed)) throw error;
    const lack =
      /No space left on device|Disk quota exceeded|Cannot mknod: Operation not permitted|File name too long/.exec(
        error.stderr,
      );
    if (lack)
      throw new NotProvableHere(`cannot unpack here: ${error.message}`, {
        hint: 'prove it where the scratch directory has room, as root if it holds devices',
        cause: error,
      });
    throw new Disproven(`the archive does not unpack: ${error.message}`, { cause: error });
  }
  return { where: copy, compare: () => compareTree(copy, indexPath, null, run), close };
}

/** @throws Disproven the fingerprint is none of this engine's */
export async function fingerprintOf(backup: OpenBackup): Promise<FilesFingerprint> {
  const value = await backup.fingerprint();
  try {
    return readFingerprint(value);
  } catch (error) {
    if (error instanceof RecordInvalid) throw new Disproven(error.message, { cause: error, hint: error.hint });
    throw error;
  }
}

async function lacksNothing(fingerprint: FilesFingerprint, run: RunContext): Promise<void> {
  if ((await run.processes.find('tar')) === null)
    throw new NotProvableHere('tar is not installed on this machine', { hint: 'apt-get install tar' });
  await tarVersion(run);
  const free = await freeSpace(run.scratch);
  const needed = spaceFor(fingerprint);
  if (free < needed)
    throw new NotProvableHere(`unpacking needs ${needed} bytes in ${run.scratch}, which has ${free} free`, {
      hint: 'make room there, or give a larger place by TMPDIR',
    });
  if (fingerprint.devices > 0 && process.geteuid?.() !== 0)
    throw new NotProvableHere(`the backup holds ${fingerprint.devices} devices, which only root can make`, {
      hint: 'prove it as root',
    });
}
