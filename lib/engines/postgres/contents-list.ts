import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { CommandFailed, Disproven } from '#core/errors';
import type { Command } from '#core/ports';
import { removeTree } from '#engines/files/remove-tree';
import type { Restoring } from '#engines/postgres/restoring';

/** What a dump says that it holds: the lines of `pg_restore -l`. */
export async function contentsList(restoring: Restoring, artifact: string): Promise<string> {
  const { fingerprint, target, run } = restoring;
  if (fingerprint.format === 'custom')
    return answerOf([{ program: target.pgRestore, args: ['-l'] }], restoring, artifact);
  const folder = join(run.scratch, `${artifact}-list`);
  await mkdir(folder, { mode: 0o700 });
  try {
    // The first of that name, and then no further: the tables' data may be behind it.
    await answerOf(
      [{ program: 'tar', args: ['-C', folder, '-xf', '-', '--occurrence=1', './toc.dat'] }],
      restoring,
      artifact,
    );
    return (await run.processes.run({ program: target.pgRestore, args: ['-l', folder] })).stdout;
  } catch (error) {
    throw unreadable(error);
  } finally {
    await removeTree(folder);
  }
}

/** What the commands say of the artifact's beginning. They may end before the bytes do. */
async function answerOf(commands: readonly Command[], { backup, run }: Restoring, artifact: string): Promise<string> {
  const plain = await backup.open(artifact);
  // Cut off in the middle on purpose, so its verdict is not asked for; the load that follows asks.
  plain.whole.catch(() => undefined);
  const pipeline = run.processes.pipe(commands, { stdin: plain.bytes });
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of pipeline.stdout as Readable) chunks.push(chunk as Buffer);
    await pipeline.done;
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    throw unreadable(error);
  } finally {
    plain.stop();
  }
}

function unreadable(error: unknown): unknown {
  if (!(error instanceof CommandFailed)) return error;
  return new Disproven(`the backup's list cannot be read: ${error.message}`, { cause: error });
}
