import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { cp, mkdtemp, open, readFile, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { Disproven } from '#core/errors';
import { type Artifact, canonicalJson, type Manifest, sha256Hex, signManifest } from '#core/manifest';
import { engineOf } from '#core/plan';
import type { Capture, CaptureResult, OpenBackup, Pipeline, PlainBytes, RunContext, SourceRef } from '#core/ports';

/** Odd on purpose: no reader may count on where chunks end. */
const CHUNK = 10_007;

const FOLDERS = join(tmpdir(), 'holdfast-stored-');

export interface ReadingOptions {
  /** Bytes come from a child's stdout, as from the real unseal, or from a stream of this process. */
  readonly through: 'child' | 'stream';
  /** The stored hash is not compared: the engine alone must notice what is wrong. */
  readonly trusting?: boolean;
}

/** Artifacts as plain files, and the manifest that a backup job would have written. */
export interface StoredBackup {
  readonly folder: string;
  readonly result: CaptureResult;
  backup(run: RunContext, options: ReadingOptions): OpenBackup;
  /** Changes one byte. `where`: a fraction of the artifact's length, or a text that stands in some artifact. */
  damage(where: number | string): Promise<void>;
  /** Leaves the first half of each artifact. */
  halve(): Promise<void>;
  /** Another, to be damaged. */
  copy(): Promise<StoredBackup>;
  remove(): Promise<void>;
}

/**
 * What seal, vault and the backup job do, in simple: reads each artifact to its end, awaits `whole`, then `finish()`.
 * Does not close the capture. A descriptor the engine hands out stays the engine's to close.
 * @param reading called once the first bytes of the first artifact were read; then bytes pass through this process
 */
export async function storeCapture(
  capture: Capture,
  source: SourceRef,
  run: RunContext,
  reading?: () => Promise<void>,
): Promise<StoredBackup> {
  const folder = await mkdtemp(FOLDERS);
  try {
    const artifacts: Artifact[] = [];
    for (const artifact of capture.artifacts) {
      const { bytes, whole } = await artifact.open();
      whole.catch(() => undefined);
      const path = join(folder, artifact.name);
      if (reading && artifacts.length === 0) await copySlowly(bytes, path, reading);
      else await copyByChild(bytes, path, run);
      await whole;
      artifacts.push(await describeArtifact(path, artifact.name));
    }
    const result = await capture.finish();
    return stored(folder, artifacts, capture, result, source, run);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

async function copyByChild(bytes: Readable | number, path: string, run: RunContext): Promise<void> {
  const file = await open(path, 'wx');
  try {
    await run.processes.pipe([{ program: 'cat', args: [] }], { stdin: bytes, stdout: file.fd }).done;
  } finally {
    await file.close();
  }
}

async function copySlowly(bytes: Readable | number, path: string, reading: () => Promise<void>): Promise<void> {
  const from = typeof bytes === 'number' ? createReadStream('', { fd: bytes, autoClose: false }) : bytes;
  const to = createWriteStream(path, { flags: 'wx' });
  let told = false;
  await pipeline(
    from,
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        yield chunk;
        if (!told) await reading();
        told = true;
      }
    },
    to,
  );
  if (!told) await reading();
}

async function describeArtifact(path: string, name: string): Promise<Artifact> {
  const sha256 = await hashFile(path);
  const bytes = (await stat(path)).size;
  return { name, volumes: [{ name, bytes, sha256 }], plain: { bytes, sha256 } };
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

function stored(
  folder: string,
  artifacts: readonly Artifact[],
  capture: Capture,
  result: CaptureResult,
  source: SourceRef,
  run: RunContext,
): StoredBackup {
  const content = JSON.parse(JSON.stringify(result.fingerprint));
  const now = run.clock.now().toISOString();
  const manifest = signManifest({
    format: 1,
    plan: { name: 'contract', sha256: sha256Hex('contract') },
    source: source.name,
    engine: engineOf(source.settings),
    identity: capture.identity,
    tools: { ...capture.tools },
    id: '20261121T020000Z-7f3a',
    kind: 'full',
    base: null,
    tier: 'daily',
    trigger: { by: 'manual', schedule: null, scheduledAt: null },
    snapshotAt: capture.snapshotAt.toISOString(),
    startedAt: now,
    finishedAt: now,
    host: run.host,
    reason: null,
    point: null,
    artifacts: [...artifacts],
    fingerprint: {
      digest: result.digest,
      measures: { ...result.measures },
      content,
      sha256: sha256Hex(canonicalJson(content)),
    },
    probes: [...result.probes],
    expires: null,
    after: null,
    encryption: { method: 'none', recipients: [] },
    lease: 1,
    ledgerHead: null,
    warnings: [...result.warnings],
    restore: { script: result.restoreScript },
  });
  return storedIn(folder, result, manifest, content);
}

function storedIn(folder: string, result: CaptureResult, manifest: Manifest, content: unknown): StoredBackup {
  const { artifacts } = manifest;
  return {
    folder,
    result,
    backup: (by, options) => ({
      manifest,
      fingerprint: async () => structuredClone(content),
      async open(name) {
        const artifact = artifacts.find((one) => one.name === name);
        if (!artifact) throw new Error(`the engine asked for ${name}, the backup has ${artifacts.map((a) => a.name)}`);
        return openArtifact(join(folder, name), artifact, by, options);
      },
    }),
    async damage(where) {
      for (const artifact of artifacts) {
        const path = join(folder, artifact.name);
        const bytes = await readFile(path);
        const at = typeof where === 'number' ? Math.floor(where * (bytes.length - 1)) : bytes.indexOf(where);
        if (at < 0 || bytes.length === 0) continue;
        const file = await open(path, 'r+');
        try {
          await file.write(Buffer.from([(bytes[at] as number) ^ 1]), 0, 1, at);
        } finally {
          await file.close();
        }
        return;
      }
      throw new Error(`no artifact holds ${where}`);
    },
    async halve() {
      for (const { name, plain } of artifacts) await truncate(join(folder, name), Math.floor(plain.bytes / 2));
    },
    async copy() {
      const other = await mkdtemp(FOLDERS);
      await cp(folder, other, { recursive: true });
      return storedIn(other, result, manifest, content);
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

async function openArtifact(
  path: string,
  artifact: Artifact,
  run: RunContext,
  { through, trusting = false }: ReadingOptions,
): Promise<PlainBytes> {
  const compare = async (): Promise<void> => {
    if (trusting || (await hashFile(path)) === artifact.plain.sha256) return;
    throw new Disproven(`${artifact.name}: the stored bytes are not those that were written`);
  };
  if (through === 'child') {
    const file = await open(path, 'r');
    let cat: Pipeline;
    try {
      cat = run.processes.pipe([{ program: 'cat', args: [] }], { stdin: file.fd });
    } finally {
      await file.close();
    }
    const whole = cat.done.then(compare);
    whole.catch(() => undefined);
    return { bytes: cat.stdout as Readable, whole, stop: () => cat.stop() };
  }
  const bytes = createReadStream(path, { highWaterMark: CHUNK });
  const whole = finished(bytes, { writable: false }).then(compare);
  whole.catch(() => undefined);
  return { bytes, whole, stop: () => void bytes.destroy() };
}
