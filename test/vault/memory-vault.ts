import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { Cancelled, KeyExists, KeyMissing } from '#core/errors';
import type { StoredVolume, StoreOptions, Vault, VaultEntry } from '#core/ports';
import { refuseOther } from '#vault/volumes';

interface Stored {
  bytes: Buffer;
  modified: Date;
}

export interface MemoryVaultOptions {
  readonly name?: string;
  /** Bytes; an artifact longer than this is stored in several volumes. */
  readonly volume?: number;
  /** Bytes of the chunks that `open` gives. */
  readonly chunk?: number;
  /** What the vault's clock tells. */
  readonly now?: () => Date;
}

/** A vault that keeps everything in memory and shows it: tests break what lies there, and set its clock. */
export class MemoryVault implements Vault {
  readonly name: string;
  readonly url = 'memory://';
  readonly features = { createOnly: true, conditionalMultipart: true, serverChecksum: true, knowsSpace: false };
  readonly objects = new Map<string, Stored>();
  /** Called before each operation; what it throws is thrown by the vault. */
  before: (operation: string, key: string) => void | Promise<void> = () => undefined;
  readonly #options: Required<Omit<MemoryVaultOptions, 'name'>>;

  constructor(options: MemoryVaultOptions = {}) {
    this.name = options.name ?? 'memory';
    this.#options = { volume: 1 << 30, chunk: 64 * 1024, now: () => new Date(), ...options };
  }

  async putOnce(key: string, body: Uint8Array): Promise<void> {
    await this.#begin('putOnce', key);
    if (this.objects.has(key)) throw new KeyExists(`${key} is there already`);
    this.#set(key, body);
  }

  async putAgain(key: string, body: Uint8Array): Promise<void> {
    await this.#begin('putAgain', key);
    this.#set(key, body);
  }

  async store(folder: string, name: string, bytes: Readable, options: StoreOptions): Promise<readonly StoredVolume[]> {
    const chunks: Buffer[] = [];
    for await (const chunk of bytes as AsyncIterable<Buffer>) {
      if (options.signal.aborted) throw new Cancelled('stopped while storing', { cause: options.signal.reason });
      chunks.push(chunk);
      options.onBytes?.(chunk.length);
    }
    const whole = Buffer.concat(chunks);
    const volumes: (StoredVolume & { readonly part: Buffer })[] = [];
    do {
      const part = whole.subarray(volumes.length * this.#options.volume, (volumes.length + 1) * this.#options.volume);
      const volume = volumes.length === 0 ? name : `${name}.${String(volumes.length + 1).padStart(3, '0')}`;
      volumes.push({ name: volume, bytes: part.length, sha256: createHash('sha256').update(part).digest('hex'), part });
    } while (volumes.length * this.#options.volume < whole.length);
    refuseOther(folder, volumes, options.expect);
    for (const volume of volumes) await this.putOnce(`${folder}/${volume.name}`, volume.part);
    return volumes.map(({ part: _part, ...volume }) => volume);
  }

  async get(key: string): Promise<Uint8Array> {
    await this.#begin('get', key);
    return this.#find(key).bytes;
  }

  async open(key: string): Promise<Readable> {
    await this.#begin('open', key);
    const { bytes } = this.#find(key);
    const { chunk } = this.#options;
    const count = Math.ceil(bytes.length / chunk);
    return Readable.from(
      (function* () {
        for (let index = 0; index < count; index++) yield bytes.subarray(index * chunk, (index + 1) * chunk);
      })(),
      { objectMode: false },
    );
  }

  async *list(prefix: string, options: { after?: string; limit?: number } = {}): AsyncGenerator<VaultEntry> {
    await this.#begin('list', prefix);
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > (options.after ?? '')).sort();
    for (const key of keys.slice(0, options.limit ?? keys.length)) {
      const { bytes, modified } = this.#find(key);
      yield { key, bytes: bytes.length, modified };
    }
  }

  async *folders(prefix: string): AsyncGenerator<string> {
    await this.#begin('folders', prefix);
    const names = [...this.objects.keys()]
      .filter((key) => key.startsWith(prefix) && key.slice(prefix.length).includes('/'))
      .map((key) => key.slice(prefix.length).split('/')[0] as string);
    yield* [...new Set(names)].sort();
  }

  async lastNumber(prefix: string): Promise<number | null> {
    await this.#begin('lastNumber', prefix);
    const numbers = [...this.objects.keys()]
      .filter((key) => key.startsWith(prefix))
      .flatMap((key) => /^(\d{10})[^/]*$/.exec(key.slice(prefix.length))?.[1] ?? [])
      .map(Number);
    return numbers.length === 0 ? null : Math.max(...numbers);
  }

  async remove(key: string): Promise<void> {
    await this.#begin('remove', key);
    this.#find(key);
    this.objects.delete(key);
  }

  async now(): Promise<Date> {
    return this.#options.now();
  }

  async free(): Promise<null> {
    return null;
  }

  /** A round trip: others get their turn, so that races are races. */
  async #begin(operation: string, key: string): Promise<void> {
    await turn();
    await this.before(operation, key);
  }

  #find(key: string): Stored {
    const found = this.objects.get(key);
    if (!found) throw new KeyMissing(`${key} is not in the vault`);
    return found;
  }

  #set(key: string, body: Uint8Array): void {
    this.objects.set(key, { bytes: Buffer.from(body), modified: this.#options.now() });
  }
}
