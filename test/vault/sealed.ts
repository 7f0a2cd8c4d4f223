import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Artifact } from '#core/manifest';
import type { ArtifactBytes, PlainBytes, Processes, Vault } from '#core/ports';
import { createProcesses } from '#host/processes';
import { type Identity, keygen, type Sealing, sealingOf } from '#vault/encryption';
import { seal, sealedName } from '#vault/seal';
import { unsealArtifact } from '#vault/unseal';

export const FOLDER = 'backups/events/daily/20261121T020000Z-7f3a';

/** Keys and children for tests of sealing; `close` ends the children and removes the keys. */
export interface Bench {
  readonly folder: string;
  readonly processes: Processes;
  readonly signal: AbortSignal;
  readonly publicKey: string;
  readonly identity: Identity;
  readonly sealing: Sealing;
  abort(): void;
  close(): Promise<void>;
}

export async function openBench(environment: Readonly<Record<string, string>> = {}): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-seal-'));
  const controller = new AbortController();
  const processes = createProcesses({ ...process.env, ...environment }, controller.signal, null);
  const file = join(folder, 'holdfast.key');
  const publicKey = await keygen(processes, file);
  return {
    folder,
    processes,
    signal: controller.signal,
    publicKey,
    identity: { file },
    sealing: await sealingOf({ recipients: [publicKey] }, processes),
    abort: () => controller.abort(new Error('the test said stop')),
    async close() {
      controller.abort(new Error('the test is over'));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Half of it compresses, so that sealed lengths are neither trivial nor those of the plain bytes. */
export function sampleBytes(length: number): Buffer {
  const half = Math.floor(length / 2);
  return Buffer.concat([randomBytes(half), Buffer.alloc(length - half, 'insert into events values (1);\n')]);
}

export function fromMemory(bytes: Buffer): ArtifactBytes {
  return { bytes: Readable.from([bytes], { objectMode: false }), whole: Promise.resolve() };
}

/** Seals and stores, as the backup job does. */
export async function sealInto(
  vault: Vault,
  source: ArtifactBytes,
  sealing: Sealing,
  { processes, signal }: Pick<Bench, 'processes' | 'signal'>,
  name = 'database.dump',
): Promise<Artifact> {
  const sealed = seal(source, sealing, processes, signal);
  const [volumes, { plainBytes }] = await Promise.all([
    vault.store(FOLDER, sealedName(name, sealing.method), sealed.bytes, { signal }),
    sealed.done,
  ]);
  return { name, volumes: [...volumes], plain: { bytes: plainBytes, sha256: null } };
}

export function unsealFrom(
  vault: Vault,
  artifact: Artifact,
  bench: Bench,
  options: { readonly identity?: Identity | null; readonly sealing?: Sealing } = {},
): Promise<PlainBytes> {
  const { sealing = bench.sealing, identity = bench.identity } = options;
  const { processes, signal } = bench;
  return unsealArtifact(vault, FOLDER, artifact, sealing.method, identity, processes, signal, sealing.fingerprints);
}

/** Everything, and the evidence that it is whole. */
export async function readWhole(plain: PlainBytes): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of plain.bytes) chunks.push(chunk as Buffer);
  await plain.whole;
  return Buffer.concat(chunks);
}
