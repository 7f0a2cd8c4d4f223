import { rm, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CaptureIncomplete, CommandFailed, SpaceLacking } from '#core/errors';
import type { RunContext } from '#core/ports';
import { clientArguments, clientEnvironment, printable, type RedisAddress } from '#engines/redis/address';
import { refusal } from '#engines/redis/ask';
import { lookAtRdb } from '#engines/redis/rdb-file';
import type { RdbHeader } from '#engines/redis/rdb-header';

const LOOK_EVERY = 250;

/**
 * Fetches the whole server as an RDB file, over its replication protocol. `file` must not exist: redis-cli does not
 * truncate, and a longer old file would keep its tail.
 * @throws SourceUnreachable, SourceRefused, SourceUnsupported, SpaceLacking, CaptureIncomplete
 */
export async function fetchRdb(
  cli: string,
  address: RedisAddress,
  file: string,
  run: RunContext,
): Promise<{ readonly bytes: number; readonly header: RdbHeader }> {
  const where = printable(address);
  const watching = watchSize(file, run);
  let stderr: string;
  try {
    const command = {
      program: cli,
      args: [...clientArguments(address), '--rdb', file],
      env: clientEnvironment(address),
    };
    stderr = (await run.processes.run(command)).stderr;
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    throw await failure(error, address, file);
  } finally {
    watching.stop();
  }
  const refused = refusal(stderr, address);
  if (refused) throw refused;
  const promised = /Transfer finished with success after (\d+) bytes/.exec(stderr)?.[1];
  if (promised === undefined)
    throw new CaptureIncomplete(
      `redis-cli --rdb from ${where} did not say that the transfer finished: ${lastLine(stderr)}`,
    );
  const { bytes, header, problem } = await lookAtRdb(file);
  if (bytes !== Number(promised))
    throw new CaptureIncomplete(`redis-cli --rdb from ${where} said ${promised} bytes, the file has ${bytes}`, {
      hint: "the disk may be full or failing; look at the scratch directory's disk",
    });
  if (problem !== null || !header)
    throw new CaptureIncomplete(`what ${where} sent is not a whole RDB file: ${problem}`);
  return { bytes, header };
}

async function failure(error: CommandFailed, address: RedisAddress, file: string): Promise<Error> {
  const where = printable(address);
  if (/short write|No space left|writing data to file/i.test(error.stderr)) {
    const got = await stat(file).then(
      ({ size }) => size,
      () => 0,
    );
    const free = await statfs(dirname(file)).then(
      ({ bavail, bsize }) => bavail * bsize,
      () => 0,
    );
    await rm(file, { force: true });
    return new SpaceLacking(
      `no room for the RDB file of ${where}: the scratch directory's disk was full after ${got} bytes (${free} left)`,
      { cause: error, hint: 'free some space there, or point TMPDIR at a larger disk' },
    );
  }
  return (
    refusal(error.stderr, address) ??
    new CaptureIncomplete(`redis-cli --rdb from ${where} broke off: ${lastLine(error.stderr)}`, {
      cause: error,
      hint: "see the server's log; a slow reader meets client-output-buffer-limit replica",
    })
  );
}

/** Tells progress how the file grows; the bytes themselves never pass through here. */
function watchSize(file: string, run: RunContext): { stop(): void } {
  run.progress.stage('transfer', null);
  let seen = 0;
  let looking = false;
  const timer = setInterval(() => {
    if (looking) return;
    looking = true;
    stat(file).then(
      ({ size }) => {
        if (size > seen) run.progress.advance(size - seen);
        seen = Math.max(seen, size);
        looking = false;
      },
      () => {
        // Not there yet: the server is still forking.
        looking = false;
      },
    );
  }, LOOK_EVERY);
  return { stop: () => clearInterval(timer) };
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.slice(0, 300) || 'it said nothing';
}
