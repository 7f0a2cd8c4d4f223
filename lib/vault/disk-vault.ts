import { createHash, type Hash } from 'node:crypto';
import { open, rmdir, stat, statfs, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { CommandFailed, RecordInvalid, StoredBytesDiffer, ToolMissing } from '#core/errors';
import type { Processes, StoredVolume, StoreOptions, Vault, VaultEntry, VaultFeatures } from '#core/ports';
import { hashFile, READ_BYTES, writeAll } from '#vault/disk-bytes';
import { diskError, diskMissing, isErrno } from '#vault/disk-errors';
import { Incoming, type IncomingFile, type Link, VAULT_FILE } from '#vault/disk-incoming';
import { holdsFile, refuseWayOut, sortedNames, walk } from '#vault/disk-listing';
import { checkKey, checkPrefix, keyMissing, leadingNumber } from '#vault/keys';
import { readable } from '#vault/source-stream';
import { SMALL_BYTES, VOLUME_BYTES, volumeName } from '#vault/volumes';

const WRITE_BYTES = 1024 * 1024;

export interface DiskVaultOptions {
  readonly name: string;
  /** Absolute. */
  readonly root: string;
  readonly processes: Processes;
  /** The plan's `capacity` in bytes: what the vault may hold, however big its disk is. */
  readonly capacity?: number | undefined;
  /** For tests: where a volume ends. */
  readonly volumeBytes?: number;
  /** For tests: a file system without hard links. */
  readonly link?: Link;
  /** For tests: called between the writing of a volume and its comparison. */
  readonly beforeCompare?: (path: string) => Promise<void>;
}

/** One file of an artifact on its way in. */
interface Volume {
  readonly file: IncomingFile;
  readonly name: string;
  readonly hash: Hash;
  size: number;
  sha256: string;
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
    const volumes: Volume[] = [];
    try {
      await this.#on('store', key, () => this.#write(name, bytes, options, volumes), bytes);
      for (const volume of volumes) {
        const place = `${folder}/${volume.name}`;
        await this.#on('store', place, () => this.#incoming.publish(volume.file, place));
      }
      return volumes.map(({ name: stored, size, sha256 }) => ({ name: stored, bytes: size, sha256 }));
    } finally {
      // A source that still runs learns that nobody reads any more.
      bytes.destroy();
      for (const { file } of volumes) await file.discard();
    }
  }

  async get(key: string): Promise<Uint8Array> {
    checkKey(key);
    return this.#on('read', key, async () => {
      const { handle, size } = await this.#openFile(key);
      try {
        if (size > SMALL_BYTES)
          throw new RecordInvalid(`${key} in ${this.url} has ${size} bytes, want a record of at most ${SMALL_BYTES}`, {
            hint: 'something else was put in its place; compare another copy of the vault',
          });
        return await handle.readFile();
      } finally {
        await handle.close();
      }
    });
  }

  async open(key: string): Promise<Readable> {
    checkKey(key);
    const root = this.#root;
    return this.#on('read', key, async () => {
      const { handle } = await this.#openFile(key);
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
    if (left <= 0) return;
    const entries = await this.#on('list', prefix, () => walk(this.#root, folder, beginning, options.after ?? ''));
    for (let none = true; ; none = false) {
      const next = await this.#on('list', prefix, () => entries.next());
      if (next.done) {
        if (none) await this.#on('list', prefix, () => this.#mayBeEmpty());
        return;
      }
      yield next.value;
      if (--left === 0) return;
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
      const names = sortedNames(this.#root, asFolder(prefix));
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

  async #write(name: string, bytes: Readable, { signal, onBytes }: StoreOptions, volumes: Volume[]): Promise<void> {
    const limit = this.#options.volumeBytes ?? VOLUME_BYTES;
    const begin = async (): Promise<Volume> => {
      const file = await this.#incoming.begin(false);
      const volume = {
        file,
        name: volumeName(name, volumes.length + 1),
        size: 0,
        hash: createHash('sha256'),
        sha256: '',
      };
      volumes.push(volume);
      return volume;
    };
    let volume = await begin();
    let pending: Buffer[] = [];
    let waiting = 0;
    const flush = async (): Promise<void> => {
      await writeAll(volume.file.handle, pending);
      pending = [];
      waiting = 0;
    };
    for await (const chunk of readable(bytes, signal)) {
      for (let rest = chunk; rest.length > 0; ) {
        if (volume.size === limit) {
          await flush();
          await this.#compare(volume, signal);
          volume = await begin();
        }
        const piece = rest.subarray(0, limit - volume.size);
        rest = rest.subarray(piece.length);
        volume.hash.update(piece);
        volume.size += piece.length;
        pending.push(piece);
        waiting += piece.length;
        if (waiting >= WRITE_BYTES) await flush();
      }
      onBytes?.(chunk.length);
    }
    await flush();
    await this.#compare(volume, signal);
  }

  /** What the disk gives back has to be what was sent (I2). */
  async #compare(volume: Volume, signal: AbortSignal): Promise<void> {
    await volume.file.finish();
    await this.#options.beforeCompare?.(volume.file.path);
    await this.#dropCache(volume.file.path);
    volume.sha256 = volume.hash.digest('hex');
    const stored = await hashFile(volume.file.path, signal);
    if (stored.bytes !== volume.size || stored.sha256 !== volume.sha256)
      throw new StoredBytesDiffer(
        `${volume.name} in ${this.url}: the disk gives back ${stored.bytes} bytes with sha256 ${stored.sha256}, ` +
          `sent were ${volume.size} with ${volume.sha256}`,
        { hint: 'the disk, its cable or the memory is failing: see smartctl and dmesg; use another vault until then' },
      );
  }

  /** So that the comparison reads the disk and not this machine's memory of it. Where dd cannot do that, it still compares. */
  async #dropCache(path: string): Promise<void> {
    try {
      await this.#options.processes.run({
        program: 'dd',
        args: [`if=${path}`, 'of=/dev/null', 'iflag=nocache', 'count=0', 'status=none'],
      });
    } catch (error) {
      if (!(error instanceof CommandFailed || error instanceof ToolMissing)) throw error;
    }
  }

  async #openFile(key: string): Promise<{ handle: Awaited<ReturnType<typeof open>>; size: number }> {
    refuseWayOut(this.#root, key);
    const handle = await open(join(this.#root, key), 'r');
    const found = await handle.stat();
    if (found.isFile()) return { handle, size: found.size };
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
