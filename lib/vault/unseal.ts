import { createHash, type Hash } from 'node:crypto';
import { Readable, type Writable } from 'node:stream';
import { Cancelled, CommandFailed, Disproven, IdentityWrong, KeyMissing, NotProvableHere } from '#core/errors';
import type { Artifact } from '#core/manifest';
import type { Command, Ended, Pipeline, PlainBytes, Processes, Vault } from '#core/ports';
import { fingerprintOf, type Identity, type Method, publicKeysOf, unsealCommand } from '#vault/encryption';
import { lostItsReader } from '#vault/seal';

type Volume = Artifact['volumes'][number];

const DIFFERENCES_TOLD = 5;

/**
 * Opens a sealed artifact: its volumes in order, hashed on the way, through `age -d | zstd -d`. `bytes` is the last
 * child's stdout, so that another child can inherit it; only where the manifest has a plain sha256 do the plain bytes
 * pass through this process. Whatever fails, the stored bytes are read to their end and blamed first when they differ.
 * @param recipients fingerprints of the manifest, to name the identity that would have fitted
 * @throws KeysMissing age without an identity
 */
export async function unsealArtifact(
  vault: Vault,
  folder: string,
  artifact: Artifact,
  method: Method,
  identity: Identity | null,
  processes: Processes,
  signal: AbortSignal,
  recipients: readonly string[] = [],
): Promise<PlainBytes> {
  if (signal.aborted) throw new Cancelled(`stopped before reading ${artifact.name}`, { cause: signal.reason });
  const commands = [unsealCommand(method, identity), decompressCommand()].filter((command) => command !== null);
  const pipeline = processes.pipe(commands, { stdin: 'pipe' });
  const halt = new AbortController();
  const stop = (): void => {
    halt.abort();
    pipeline.stop();
    stdout.destroy();
  };
  signal.addEventListener('abort', stop, { once: true });
  const stdout = pipeline.stdout as Readable;
  const feeding = feed(vault, folder, artifact, pipeline, halt.signal);
  const hash = artifact.plain.sha256 === null ? null : createHash('sha256');
  const bytes = hash ? Readable.from(hashing(stdout, hash), { objectMode: false }) : stdout;
  const whole = judge(artifact, feeding, pipeline, halt.signal, hash)
    .catch(async (error: unknown) => {
      throw error instanceof IdentityWrong ? await namingKeys(error, identity, recipients, processes) : error;
    })
    .finally(() => signal.removeEventListener('abort', stop));
  whole.catch(() => undefined);
  return { bytes, whole, stop };
}

/**
 * Re-hashes stored bytes without opening them: finds rot, needs no key.
 * @throws Disproven naming the volumes that are not as the manifest says; Cancelled
 */
export async function verifyStored(
  vault: Vault,
  folder: string,
  artifacts: readonly Artifact[],
  signal?: AbortSignal,
): Promise<void> {
  const found: string[] = [];
  for (const artifact of artifacts)
    for (const volume of artifact.volumes) {
      const difference = await readVolume(vault, folder, artifact, volume, async () => undefined, signal);
      if (difference) found.push(difference);
    }
  if (found.length > 0) throw notAsRecorded(found);
}

function decompressCommand(): Command {
  return { program: 'zstd', args: ['-d', '-vv', '--no-progress', '-c'] };
}

async function* hashing(stdout: Readable, hash: Hash): AsyncGenerator<Buffer> {
  for await (const chunk of stdout) {
    hash.update(chunk as Buffer);
    yield chunk as Buffer;
  }
}

/**
 * Writes the stored bytes into the first child. When that has died it only hashes on.
 * @returns what differs from the manifest, in words
 */
async function feed(
  vault: Vault,
  folder: string,
  artifact: Artifact,
  pipeline: Pipeline,
  halted: AbortSignal,
): Promise<readonly string[]> {
  const stdin = pipeline.stdin as Writable;
  // The child that closed its stdin is judged by its exit code.
  stdin.on('error', () => stdin.destroy());
  const differences: string[] = [];
  try {
    for (const volume of artifact.volumes) {
      const write = async (chunk: Buffer): Promise<void> => {
        if (!stdin.destroyed && !stdin.write(chunk)) await roomIn(stdin);
      };
      const difference = await readVolume(vault, folder, artifact, volume, write, halted);
      if (difference) differences.push(difference);
    }
  } catch (error) {
    // Without this the reader would take what has come so far for the whole.
    pipeline.stop();
    stdin.destroy();
    throw error;
  }
  stdin.end();
  return differences;
}

/** Not `events.once`: that rejects when the child has gone, which here only means that there is nobody left to wait for. */
function roomIn(stdin: Writable): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      stdin.off('drain', go).off('close', go);
      resolve();
    };
    stdin.on('drain', go).on('close', go);
    if (stdin.closed) go();
  });
}

/** Null, or how the stored volume differs from the manifest. */
async function readVolume(
  vault: Vault,
  folder: string,
  artifact: Artifact,
  volume: Volume,
  take: (chunk: Buffer) => Promise<void>,
  signal?: AbortSignal,
): Promise<string | null> {
  const where = `${artifact.name}, volume ${folder}/${volume.name} in ${vault.name}`;
  let stored: Readable;
  try {
    stored = await vault.open(`${folder}/${volume.name}`);
  } catch (error) {
    if (error instanceof KeyMissing) return `${where}: is missing`;
    throw error;
  }
  const hash = createHash('sha256');
  let bytes = 0;
  // A vault that has stalled would else not notice.
  const cancel = (): void => {
    stored.destroy(new Cancelled(`stopped while reading ${volume.name}`, { cause: signal?.reason }));
  };
  signal?.addEventListener('abort', cancel, { once: true });
  if (signal?.aborted) cancel();
  try {
    for await (const chunk of stored as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
      await take(chunk);
    }
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
  if (bytes !== volume.bytes) return `${where}: ${bytes} bytes, the manifest has ${volume.bytes}`;
  return hash.digest('hex') === volume.sha256
    ? null
    : `${where}: ${bytes} bytes with another sha256 than the manifest's`;
}

async function judge(
  artifact: Artifact,
  feeding: Promise<readonly string[]>,
  pipeline: Pipeline,
  halted: AbortSignal,
  hash: Hash | null,
): Promise<void> {
  const [fed, piped] = await Promise.allSettled([feeding, pipeline.done]);
  if (halted.aborted) throw new Cancelled(`reading ${artifact.name} was stopped before its end`);
  if (fed.status === 'rejected') throw fed.reason;
  if (fed.value.length > 0) throw notAsRecorded(fed.value);
  if (piped.status === 'rejected') throw blame(artifact, piped.reason);
  const plainBytes = countPlainBytes((piped.value.at(-1) as Ended).stderr);
  if (plainBytes === null)
    throw new NotProvableHere('zstd ended well, but did not say how many bytes it decompressed', {
      hint: 'look at `zstd --version`: 1.5 or later is wanted',
    });
  if (plainBytes !== artifact.plain.bytes)
    throw new Disproven(`${artifact.name}: unseals to ${plainBytes} bytes, the manifest has ${artifact.plain.bytes}`, {
      hint: 'restore another backup or another copy of this one',
    });
  if (hash && hash.digest('hex') !== artifact.plain.sha256)
    throw new Disproven(`${artifact.name}: unseals to other bytes than were sealed (sha256 differs)`, {
      hint: 'restore another backup or another copy of this one',
    });
}

function notAsRecorded(differences: readonly string[]): Disproven {
  const more = differences.length > DIFFERENCES_TOLD ? `; and ${differences.length - DIFFERENCES_TOLD} more` : '';
  const told = differences.slice(0, DIFFERENCES_TOLD).join('; ');
  return new Disproven(`the stored bytes are not what the manifest says: ${told}${more}`, {
    hint: 'take a new backup now; another copy of the vault may still hold this one whole',
  });
}

/** Why the children failed on bytes that are just as they were stored. */
function blame(artifact: Artifact, error: unknown): unknown {
  if (!(error instanceof CommandFailed)) return error;
  const said = error.stderr;
  if (/no identity matched any of the recipients|No secret key/i.test(said))
    return new IdentityWrong(`the identity given does not open ${artifact.name}: ${firstWords(error)}`, {
      cause: error,
    });
  // A key that cannot be read, or wants a passphrase where nobody can type one, is no fault of the backup.
  if (error.program === 'age' && /^age: error: (?:reading "|.*(?:identit|passphrase|secret key))/im.test(said))
    return new IdentityWrong(`age cannot use the identity file: ${firstWords(error)}`, { cause: error });
  if (lostItsReader(error))
    return new CommandFailed(`${artifact.name} was not read to its end: its reader stopped`, {
      program: error.program,
      exitCode: error.exitCode,
      stderr: said,
    });
  // Killed or out of memory: says nothing about the backup.
  if (error.exitCode === null || /alloc|memory|No space left/i.test(said)) return error;
  return new Disproven(`${artifact.name} does not unseal, although it lies as it was stored: ${firstWords(error)}`, {
    cause: error,
    hint: 'take a new backup now; this one was damaged before it reached the vault',
  });
}

/** Says which keys the backup wants, and which one it was offered. */
async function namingKeys(
  error: IdentityWrong,
  identity: Identity | null,
  recipients: readonly string[],
  processes: Processes,
): Promise<IdentityWrong> {
  const offered = identity ? await publicKeysOf(identity, processes) : [];
  const wanted = recipients.length > 0 ? `one of ${recipients.join(', ')}` : 'a key that `holdfast show` lists';
  const given = offered.length > 0 ? `; the one given is ${offered.map(fingerprintOf).join(', ')}` : '';
  const isGpg = recipients.some((one) => one.startsWith('gpg:'));
  return new IdentityWrong(error.message, {
    cause: error.cause,
    hint: isGpg
      ? `bring the secret key of ${wanted} into this user's GnuPG (gpg --import FILE), or say by GNUPGHOME where it is`
      : `name the identity of ${wanted}${given}`,
  });
}

function firstWords(error: CommandFailed): string {
  const line = error.stderr.split('\n').find((one) => one.includes('rror') || one.startsWith('gpg:'));
  return line?.trim() ?? error.message;
}

/** `/*stdin*\           : 300000000 bytes` */
function countPlainBytes(stderr: string): number | null {
  const found = [...stderr.matchAll(/:\s*(\d+) bytes\s*$/gm)].at(-1)?.[1];
  return found === undefined ? null : Number(found);
}
