import { createHash, type Hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { CommandFailed, StoredBytesDiffer, ToolMissing } from '#core/errors';
import type { Processes, StoredVolume, StoreOptions } from '#core/ports';
import { hashFile, writeAll } from '#vault/disk-bytes';
import type { Incoming, IncomingFile } from '#vault/disk-incoming';
import { ReadBack } from '#vault/disk-read-back';
import { readable } from '#vault/source-stream';
import { VOLUME_BYTES, volumeName } from '#vault/volumes';

const WRITE_BYTES = 1024 * 1024;

export interface VolumeOptions {
  readonly processes: Processes;
  /** For tests: where a volume ends. */
  readonly volumeBytes?: number;
  /** For tests: called between the writing of a volume and its comparison. */
  readonly beforeCompare?: (path: string) => Promise<void>;
  /** For tests: false = a file system that cannot be read past the machine's memory. */
  readonly direct?: boolean;
}

interface Volume {
  readonly file: IncomingFile;
  readonly name: string;
  readonly hash: Hash;
  readBack: ReadBack | null;
  size: number;
  sha256: string;
}

/** The files of one artifact on their way into a directory: written, flushed, and compared with what the disk gives back. */
export class IncomingVolumes {
  readonly #incoming: Incoming;
  readonly #url: string;
  readonly #options: VolumeOptions;
  readonly #volumes: Volume[] = [];

  /** @param url the vault's, for messages */
  constructor(incoming: Incoming, url: string, options: VolumeOptions) {
    this.#incoming = incoming;
    this.#url = url;
    this.#options = options;
  }

  get all(): readonly { readonly file: IncomingFile; readonly name: string }[] {
    return this.#volumes;
  }

  /** @throws StoredBytesDiffer, Cancelled, and what the stream or the file system says */
  async write(name: string, bytes: Readable, { signal, onBytes }: StoreOptions): Promise<readonly StoredVolume[]> {
    const limit = this.#options.volumeBytes ?? VOLUME_BYTES;
    let volume = await this.#begin(name, signal);
    let pending: Buffer[] = [];
    let waiting = 0;
    const flush = async (): Promise<void> => {
      await writeAll(volume.file.handle, pending);
      volume.readBack?.written(volume.size);
      pending = [];
      waiting = 0;
    };
    for await (const chunk of readable(bytes, signal)) {
      for (let rest = chunk; rest.length > 0; ) {
        if (volume.size === limit) {
          await flush();
          await this.#compare(volume, signal);
          volume = await this.#begin(name, signal);
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
    return this.#volumes.map(({ name: stored, size, sha256 }) => ({ name: stored, bytes: size, sha256 }));
  }

  /** Takes away what has not got its final name. */
  async discard(): Promise<void> {
    for (const { file, readBack } of this.#volumes) {
      await readBack?.close();
      await file.discard();
    }
  }

  async #begin(name: string, signal: AbortSignal): Promise<Volume> {
    const volume: Volume = {
      file: await this.#incoming.begin(false),
      name: volumeName(name, this.#volumes.length + 1),
      size: 0,
      hash: createHash('sha256'),
      readBack: null,
      sha256: '',
    };
    this.#volumes.push(volume);
    if (this.#options.direct !== false) volume.readBack = await ReadBack.begin(volume.file.path, signal);
    return volume;
  }

  /** What the disk gives back has to be what was sent (I2). */
  async #compare(volume: Volume, signal: AbortSignal): Promise<void> {
    await volume.file.finish();
    await this.#options.beforeCompare?.(volume.file.path);
    volume.sha256 = volume.hash.digest('hex');
    const stored = (await volume.readBack?.finish()) ?? (await this.#readLater(volume.file.path, signal));
    if (stored.bytes !== volume.size || stored.sha256 !== volume.sha256)
      throw new StoredBytesDiffer(
        `${volume.name} in ${this.#url}: the disk gives back ${stored.bytes} bytes with sha256 ${stored.sha256}, ` +
          `sent were ${volume.size} with ${volume.sha256}`,
        { hint: 'the disk, its cable or the memory is failing: see smartctl and dmesg; use another vault until then' },
      );
  }

  /** Reads the disk and not this machine's memory of it. Where dd cannot do that, it still compares. */
  async #readLater(path: string, signal: AbortSignal): Promise<{ bytes: number; sha256: string }> {
    try {
      await this.#options.processes.run({
        program: 'dd',
        args: [`if=${path}`, 'of=/dev/null', 'iflag=nocache', 'count=0', 'status=none'],
      });
    } catch (error) {
      if (!(error instanceof CommandFailed || error instanceof ToolMissing)) throw error;
    }
    return hashFile(path, signal);
  }
}
