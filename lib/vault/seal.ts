import { availableParallelism } from 'node:os';
import { Readable } from 'node:stream';
import { Cancelled, CaptureIncomplete, CommandFailed } from '#core/errors';
import type { ArtifactBytes, Command, Ended, Pipeline, Processes } from '#core/ports';
import { type Method, type Sealing, sealCommand } from '#vault/encryption';

/** More threads than these would not fit under I8 beside the rest. */
const MOST_THREADS = 8;
/** For a producer that lost its reader to say so, before it is blamed no more. */
const LAST_WORDS_MILLISECONDS = 5000;

export interface SealedBytes {
  /** Ends only after `done` has resolved; errors otherwise, so that a store never completes what is not whole (I2). */
  readonly bytes: Readable;
  /**
   * Resolves when every child has ended well and the producer is whole; rejects with the failure that came first.
   * `Cancelled` when it was stopped, or not read to its end: then the reader knows why.
   */
  readonly done: Promise<{ readonly plainBytes: number }>;
  stop(): void;
}

/** `database.dump` → `database.dump.zst.age` */
export function sealedName(artifactName: string, method: Method): string {
  return `${artifactName}.zst${method === 'none' ? '' : `.${method}`}`;
}

/**
 * Compresses and encrypts an artifact: `zstd | age`, joined by the kernel to the child or file that `source.bytes` is.
 * A descriptor stays its owner's to close, once `done` has settled.
 */
export function seal(source: ArtifactBytes, sealing: Sealing, processes: Processes, signal: AbortSignal): SealedBytes {
  // Told later, by `done`; until then nobody may be looking.
  source.whole.catch(() => undefined);
  if (signal.aborted) throw new Cancelled('stopped before sealing began', { cause: signal.reason });
  const commands = [compressCommand(), sealCommand(sealing)].filter((command) => command !== null);
  const pipeline = processes.pipe(commands, { stdin: source.bytes });
  let stopped = false;
  const stop = (): void => {
    stopped = true;
    halt();
  };
  const halt = (): void => {
    pipeline.stop();
    if (source.bytes instanceof Readable) source.bytes.destroy();
  };
  signal.addEventListener('abort', stop, { once: true });
  const done = finish(pipeline, source, halt)
    .catch((error: unknown) => {
      throw stopped ? new Cancelled('sealing was stopped before its end', { cause: error }) : error;
    })
    .finally(() => signal.removeEventListener('abort', stop));
  done.catch(() => undefined);
  const bytes = Readable.from(untilDone(pipeline.stdout as Readable, done), { objectMode: false });
  return { bytes, done, stop };
}

function compressCommand(): Command {
  const threads = Math.min(MOST_THREADS, availableParallelism());
  // -vv: the exact count of plain bytes on stderr at the end, for which they would else have to pass through here.
  // -B2M: jobs of 2 MiB instead of 8 take 20 MB instead of 59 with two threads, at the same speed and size (I8).
  return { program: 'zstd', args: ['-3', `-T${threads}`, '-B2M', '--check', '-vv', '--no-progress', '-c'] };
}

async function* untilDone(stdout: Readable, done: Promise<unknown>): AsyncGenerator<Buffer> {
  for await (const chunk of stdout) yield chunk as Buffer;
  await done;
}

async function finish(
  pipeline: Pipeline,
  source: ArtifactBytes,
  halt: () => void,
): Promise<{ readonly plainBytes: number }> {
  let timer: NodeJS.Timeout | undefined;
  let haltedFor: unknown = null;
  // A producer that failed may leave its stream open, and the children waiting for more. One that seems to have lost
  // its reader gets a while, in which the children end by themselves and say why.
  source.whole.catch((error: unknown) => {
    const give = (): void => {
      haltedFor = error;
      halt();
    };
    if (lostItsReader(error)) timer = setTimeout(give, LAST_WORDS_MILLISECONDS).unref();
    else give();
  });
  let ended: readonly Ended[];
  try {
    ended = await pipeline.done;
  } catch (error) {
    const own = haltedFor ?? (await producerFailure(source.whole));
    if (own) throw own;
    throw lostItsReader(error) ? new Cancelled('what was sealed was not read to its end', { cause: error }) : error;
  } finally {
    clearTimeout(timer);
  }
  await source.whole;
  return { plainBytes: countPlainBytes((ended[0] as Ended).stderr) };
}

/** The producer's own failure; null when it only lost its reader, or says nothing for a while. */
async function producerFailure(whole: Promise<void>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), LAST_WORDS_MILLISECONDS);
  });
  try {
    return await Promise.race([whole.then(() => null), silence]);
  } catch (error) {
    return lostItsReader(error) ? null : error;
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a failure may be the mere echo of another one further down the pipe. Node's pipes are sockets: they reset. */
export function lostItsReader(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const text = `${error.message} ${error instanceof CommandFailed ? error.stderr : ''}`;
  const { code } = error as NodeJS.ErrnoException;
  return (
    code === 'ERR_STREAM_PREMATURE_CLOSE' ||
    /SIGPIPE|EPIPE|ECONNRESET|broken pipe|connection reset by peer/i.test(text) ||
    lostItsReader(error.cause)
  );
}

/** `/*stdin*\  :  0.00%   (300000000 B =>   9420 B, /*stdout*\)`: exact below 2^53 bytes at -vv (zstd 1.4.9 and later). */
function countPlainBytes(stderr: string): number {
  const found = [...stderr.matchAll(/\(\s*(\d+) B\s*=>\s*\d+ B,/g)].at(-1)?.[1];
  if (found === undefined)
    throw new CaptureIncomplete('zstd ended well, but did not say how many bytes it compressed', {
      hint: 'look at `zstd --version`: 1.5 or later is wanted',
    });
  return Number(found);
}
