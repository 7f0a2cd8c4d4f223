import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { type FileHandle, open, rmdir, stat, statfs, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { RecordInvalid } from '#core/errors';
import type { StoredVolume, StoreOptions, Vault, VaultEntry, VaultFeatures } from '#core/ports';
import { READ_BYTES, readBytes } from '#vault/disk-bytes';
import { diskError, diskMissing, isErrno } from '#vault/disk-errors';
import { Incoming, type Link, VAULT_FILE } from '#vault/disk-incoming';
import { holdsFile, namesIn, refuseWayOut, sortedNames, take, walk } from '#vault/disk-listing';
import { IncomingVolumes, type VolumeOptions } from '#vault/disk-volumes';
import { checkKey, checkPrefix, keyMissing, leadingNumber } from '#vault/keys';
import { refuseOther, SMALL_BYTES } from '#vault/volumes';

/** A pipe in a record's place must not be waited for. */
const READ_RECORD = constants.O_RDONLY | constants.O_NONBLOCK;
/** Entries of a listing found in one go, so that other work gets its turn between. */
const LISTED_AT_ONCE = 64;

export interface DiskVaultOptions extends VolumeOptions {
  readonly name: string;
  /** Absolute. */
  readonly root: string;
  /** The plan's `capacity` in bytes: what the vault may hold, however big its disk is. */
  readonly capacity?: number | undefined;
  /** For tests: a file system without hard links. */
  readonly link?: Link;
}

/** Backups in a directory. */
export class DiskVault implements Vault {
  readonly name: string;
  readonly url: string;
  readonly features: VaultFeatures = {
    createOnly: true,
    conditionalMultipart: true,
    serverChecksum: false,
    knowsSpace: true,
  };
  readonly #root: string;
  readonly #options: DiskVaultOptions;
  readonly #incoming: Incoming;

  constructor(options: DiskVaultOptions) {
    this.name = options.name;
    this.url = options.root;
    this.#root = options.root;
    this.#options = options;
    this.#incoming = new Incoming(options.root, options.link);
  }

  async putOnce(key: string, body: Uint8Array): Promise<void> {
    checkKey(key);
    await this.#on('store', key, () => this.#put(key, body, false));
  }

  async putAgain(key: string, body: Uint8Array): Promise<void> {
    checkKey(key);
    await this.#on('store', key, () => this.#put(key, body, true));
  }

  async store(folder: string, name: string, bytes: Readable, options: StoreOptions): Promise<readonly StoredVolume[]> {
    const key = `${folder}/${name}`;
    checkKey(key);
    const volumes = new IncomingVolumes(this.#incoming, this.url, this.#options);
    try {
      const written = await this.#on('store', key, () => volumes.write(name, bytes, options), bytes);
      refuseOther(folder, written, options.expect);
      for (const { file, name: volume } of volumes.all) {
        const place = `${folder}/${volume}`;
        await this.#on('store', place, () => this.#incoming.publish(file, place));
      }
      return written;
    } finally {
      // A source that still runs learns that nobody reads any more.
      bytes.destroy();
      await volumes.discard();
    }
  }

  async get(key: string): Promise<Uint8Array> {
    checkKey(key);
    return this.#on('read', key, async () => {
      refuseWayOut(this.#root, key);
      // Thousands of records are read in a row: all but the bytes themselves is asked at once, as listings are.
      const file = openSync(join(this.#root, key), READ_RECORD);
      try {
        const found = fstatSync(file);
        if (!found.isFile()) throw keyMissing(key, this.#root);
        if (found.size > SMALL_BYTES)
          throw new RecordInvalid(
            `${key} in ${this.url} has ${found.size} bytes, want a record of at most ${SMALL_BYTES}`,
            { hint: 'something else was put in its place; compare another copy of the vault' },
          );
        return await readBytes(file, found.size);
      } finally {
        closeSync(file);
      }
    });
  }

  async open(key: string): Promise<Readable> {
    checkKey(key);
    const root = this.#root;
    return this.#on('read', key, async () => {
      const handle = await this.#openFile(key);
      return new Readable({
        highWaterMark: READ_BYTES,
        read() {
          handle.read(Buffer.allocUnsafe(READ_BYTES)).then(
            ({ bytesRead, buffer }) => this.push(bytesRead === 0 ? null : buffer.subarray(0, bytesRead)),
            (error: unknown) => this.destroy(diskError(error, 'read', key, root)),
          );
        },
        destroy(error, done) {
          handle.close().then(() => done(error), done);
        },
      });
    });
  }

  async *list(
    prefix: string,
    options: { readonly after?: string; readonly limit?: number } = {},
  ): AsyncIterable<VaultEntry> {
    checkPrefix(prefix);
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    const beginning = prefix.slice(folder.length);
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    const entries = walk(this.#root, folder, beginning, options.after ?? '');
    for (let none = true; left > 0; none = false) {
      const some = await this.#on('list', prefix, () => take(entries, Math.min(left, LISTED_AT_ONCE)));
      if (some.length === 0) {
        if (none) await this.#on('list', prefix, () => this.#mayBeEmpty());
        return;
      }
      left -= some.length;
      yield* some;
    }
  }

  async *folders(prefix: string): AsyncIterable<string> {
    checkPrefix(prefix);
    const names = await this.#on('list', prefix, () => sortedNames(this.#root, asFolder(prefix)));
    if (names.length === 0) await this.#on('list', prefix, () => this.#mayBeEmpty());
    for (const { name, directory } of names) {
      if (!directory) continue;
      if (await this.#on('list', prefix, () => holdsFile(this.#root, `${asFolder(prefix)}${name}/`))) yield name;
    }
  }

  async lastNumber(prefix: string): Promise<number | null> {
    checkPrefix(prefix);
    return this.#on('list', prefix, async () => {
      const names = namesIn(this.#root, asFolder(prefix));
      if (names.length === 0) await this.#mayBeEmpty();
      const numbers = names.flatMap(({ name, directory }) => (directory ? [] : (leadingNumber(name) ?? [])));
      return numbers.reduce<number | null>((last, number) => Math.max(last ?? 0, number), null);
    });
  }

  async remove(key: string): Promise<void> {
    checkKey(key);
    await this.#on('remove', key, async () => {
      refuseWayOut(this.#root, dirname(key));
      await unlink(join(this.#root, key));
      await this.#removeEmptyFolders(dirname(key));
    });
  }

  async now(): Promise<Date> {
    return this.#on('read the clock of', VAULT_FILE, async () => {
      try {
        // A file's time is the server's on a network share, and this machine's on its own disks.
        const file = await this.#incoming.begin(true);
        try {
          return (await file.handle.stat()).mtime;
        } finally {
          await file.discard();
        }
      } catch (error) {
        if (!isErrno(error) || !['EROFS', 'EACCES', 'EPERM', 'ENOSPC', 'EDQUOT'].includes(error.code)) throw error;
        // A vault that may only be read, or is full, still has backups with ages.
        await this.#incoming.mustBeVault();
        return new Date();
      }
    });
  }

  async free(): Promise<number | null> {
    return this.#on('measure', VAULT_FILE, async () => {
      const { bavail, bsize } = await statfs(this.#root);
      const { capacity } = this.#options;
      if (capacity === undefined) return bavail * bsize;
      let used = 0;
      for (const entry of walk(this.#root, '', '', '')) used += entry.bytes;
      return Math.max(0, Math.min(bavail * bsize, capacity - used));
    });
  }

  async total(): Promise<number | null> {
    return this.#on('measure', VAULT_FILE, async () => {
      const { blocks, bsize } = await statfs(this.#root);
      return Math.min(this.#options.capacity ?? Number.POSITIVE_INFINITY, blocks * bsize);
    });
  }

  async #put(key: string, body: Uint8Array, again: boolean): Promise<void> {
    const file = await this.#incoming.begin(again, key === VAULT_FILE);
    try {
      await file.handle.writeFile(body);
      await file.finish();
      if (again) await this.#incoming.replace(file, key);
      else await this.#incoming.publish(file, key);
    } finally {
      await file.discard();
    }
  }

  async #openFile(key: string): Promise<FileHandle> {
    refuseWayOut(this.#root, key);
    const handle = await open(join(this.#root, key), 'r');
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    throw keyMissing(key, this.#root);
  }

  async #removeEmptyFolders(folder: string): Promise<void> {
    for (let key = folder; key !== '.'; key = dirname(key)) {
      try {
        await rmdir(join(this.#root, key));
      } catch (error) {
        if (isErrno(error) && ['ENOTEMPTY', 'EEXIST', 'ENOENT', 'EBUSY'].includes(error.code)) return;
        throw error;
      }
    }
  }

  /** "Nothing there" is only true of a vault: an unmounted mount point is empty too (I14). */
  async #mayBeEmpty(): Promise<void> {
    await this.#incoming.mustBeVault();
  }

  /**
   * Runs a piece of work and says what its failure means for the vault.
   * @param source a stream whose own failure is not the vault's
   */
  async #on<Result>(
    doing: string,
    key: string,
    work: () => Result | Promise<Result>,
    source?: Readable,
  ): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (source && error === source.errored) throw error;
      if (isErrno(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) {
        const root = await stat(this.#root).catch((cause: unknown) => diskError(cause, doing, this.#root, this.#root));
        if (root instanceof Error || !root.isDirectory()) throw diskMissing(this.#root, 'no such directory');
      }
      throw diskError(error, doing, key === '' ? 'everything' : key, this.#root);
    }
  }
}

function asFolder(prefix: string): string {
  return prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
}
