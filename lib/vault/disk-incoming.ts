import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, rename, stat, unlink, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { messageOf } from '#core/errors';
import { diskMissing, isErrno, keyExists } from '#vault/disk-errors';
import { refuseWayOut, refuseWayOutAbove } from '#vault/disk-listing';

/**
 * Files on their way into a disk vault. All of them lie in one hidden folder of the vault (the same file system, so
 * that they can be linked into place), where the next run finds what a killed one left.
 */

export const INCOMING = '.incoming';
export const VAULT_FILE = 'vault.json';

/** Nothing touched a file for this long: its writer is gone. */
const LEFT_AFTER_MS = 60 * 60 * 1000;
/** How often a writer that may wait long for its source touches its files. */
const TOUCH_EVERY_MS = 5 * 60 * 1000;
/** Stored once, changed never: by mode too. */
const ONCE = 0o400;
const OFTEN = 0o600;

export type Link = (from: string, to: string) => Promise<void>;

/** Errors by which a file system says that it has no hard links: exFAT, SMB, some FUSE. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

export class Incoming {
  readonly #root: string;
  readonly #link: Link;

  constructor(root: string, hardLink: Link = link) {
    this.#root = root;
    this.#link = hardLink;
  }

  /**
   * An empty file nobody else sees. Sweeps what writers that are gone left.
   * @param founding only the vault's first file may make the directory: else a run would fill an unmounted mount point
   */
  async begin(again: boolean, founding = false): Promise<IncomingFile> {
    const folder = join(this.#root, INCOMING);
    const path = join(folder, randomBytes(12).toString('hex'));
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
    let handle: FileHandle;
    try {
      handle = await open(path, flags, again ? OFTEN : ONCE);
    } catch (error) {
      if (!isErrno(error) || error.code !== 'ENOENT') throw error;
      if (founding) await mkdir(this.#root, { recursive: true, mode: 0o700 });
      else await this.mustBeVault();
      await mkdir(folder, { recursive: true, mode: 0o700 });
      handle = await open(path, flags, again ? OFTEN : ONCE);
    }
    const { mtimeMs } = await handle.stat();
    const file = new IncomingFile(path, handle, Date.now() - mtimeMs);
    try {
      refuseWayOut(this.#root, INCOMING);
      await this.#sweep(folder, mtimeMs);
    } catch (error) {
      await file.discard();
      throw error;
    }
    return file;
  }

  /** @throws VaultMissing */
  async mustBeVault(): Promise<void> {
    try {
      await stat(join(this.#root, VAULT_FILE));
    } catch (error) {
      if (!isErrno(error) || (error.code !== 'ENOENT' && error.code !== 'ENOTDIR')) throw error;
      throw diskMissing(this.#root, `no ${VAULT_FILE} in it`);
    }
  }

  /** Gives a synced file its name, create-only, durably. Throws `KeyExists`. */
  async publish(file: IncomingFile, key: string): Promise<void> {
    await this.#inFolder(key, async (target) => {
      try {
        await this.#link(file.path, target);
      } catch (error) {
        if (isErrno(error) && error.code === 'EEXIST') throw keyExists(key, this.#root);
        if (!isErrno(error) || !NO_LINKS.has(error.code)) throw error;
        await this.#reserveAndRename(file, target, key);
      }
    });
    await file.discard();
  }

  /** Gives a synced file its name, whatever had it before. */
  async replace(file: IncomingFile, key: string): Promise<void> {
    await this.#inFolder(key, (target) => rename(file.path, target));
    file.renamed();
  }

  /** Where hard links are lacking: an empty file takes the name (a reader finds no record in it), then the bytes take its place. */
  async #reserveAndRename(file: IncomingFile, target: string, key: string): Promise<void> {
    try {
      await (await open(target, 'wx', ONCE)).close();
    } catch (error) {
      if (isErrno(error) && error.code === 'EEXIST') throw keyExists(key, this.#root);
      throw error;
    }
    try {
      await rename(file.path, target);
    } catch (error) {
      await unlink(target);
      throw error;
    }
    file.renamed();
  }

  /** Makes the key's folder, and all new names durable. Retention may remove an emptied folder under our hands: it is made again. */
  async #inFolder(key: string, work: (target: string) => Promise<void>): Promise<void> {
    const target = join(this.#root, key);
    const folder = dirname(target);
    for (let tries = 1; ; tries++) {
      // Before anything is made: else folders would appear behind a link that leads out.
      refuseWayOutAbove(this.#root, dirname(key));
      const made = await makeFolder(folder);
      try {
        refuseWayOut(this.#root, dirname(key));
        await work(target);
        await syncFolder(folder);
        if (made)
          for (let path = folder; path.length >= made.length; path = dirname(path)) await syncFolder(dirname(path));
        return;
      } catch (error) {
        if (tries === 3 || !isErrno(error) || error.code !== 'ENOENT') throw error;
      }
    }
  }

  async #sweep(folder: string, now: number): Promise<void> {
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      try {
        if (now - (await stat(path)).mtimeMs > LEFT_AFTER_MS) await unlink(path);
      } catch (error) {
        // Its writer, or another sweeper, was quicker.
        if (!isErrno(error) || error.code !== 'ENOENT') throw error;
      }
    }
  }
}

export class IncomingFile {
  readonly path: string;
  readonly handle: FileHandle;
  readonly #touching: NodeJS.Timeout;
  #closed = false;
  #named = true;

  /** @param ahead milliseconds by which this machine's clock is ahead of the file system's */
  constructor(path: string, handle: FileHandle, ahead: number) {
    this.path = path;
    this.handle = handle;
    this.#touching = setInterval(() => {
      const now = new Date(Date.now() - ahead);
      utimes(path, now, now).catch((error: unknown) => {
        // Without the touch the file may be swept, and then publishing it fails: nothing false comes of it.
        process.emitWarning(`cannot touch ${path}: ${messageOf(error)}`);
      });
    }, TOUCH_EVERY_MS).unref();
  }

  /** Bytes on the disk, file closed. */
  async finish(): Promise<void> {
    await this.handle.sync();
    await this.#close();
  }

  /** Closes it, and takes its hidden name away if it still has it. Harmless when done before. */
  async discard(): Promise<void> {
    clearInterval(this.#touching);
    await this.#close();
    if (!this.#named) return;
    this.#named = false;
    await unlink(this.path).catch((error: unknown) => {
      if (!isErrno(error) || error.code !== 'ENOENT') throw error;
    });
  }

  renamed(): void {
    clearInterval(this.#touching);
    this.#named = false;
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.handle.close();
  }
}

/** Returns the topmost folder that was not there before. */
async function makeFolder(folder: string): Promise<string | undefined> {
  try {
    return await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    // Node's word for a file in the way would be ours for a key that is there.
    if (isErrno(error) && error.code === 'EEXIST') throw Object.assign(error, { code: 'ENOTDIR' });
    throw error;
  }
}

/** Makes new and changed names in a folder durable. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch (error) {
    // Some network and FUSE file systems cannot sync a folder; their server decides when names are durable.
    if (!isErrno(error) || !['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'EBADF', 'EPERM'].includes(error.code)) throw error;
  } finally {
    await handle.close();
  }
}
