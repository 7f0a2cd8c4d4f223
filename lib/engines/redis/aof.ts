import { copyFile, link, mkdir, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SpaceLacking, TargetUnusable } from '#core/errors';
import type { RunContext } from '#core/ports';
import { parseInfo } from '#engines/redis/info';
import {
  AOF_BASE,
  AOF_DIRECTORY,
  AOF_INCREMENT,
  AOF_MANIFEST,
  AOF_MANIFEST_TEXT,
  ARTIFACT,
  OLD_AOF,
} from '#engines/redis/layout';
import { SCRATCH_LOG, type ScratchServer } from '#engines/redis/scratch-server';

const LOOK_EVERY = 100;

/**
 * Makes `appendonlydir` beside `directory/dump.rdb`, with that file as its base: a server with `appendonly yes` and a
 * lone dump.rdb starts empty. The base is a hard link where the disk can: no server writes into either, it replaces them.
 */
export async function makeAofDirectory(directory: string): Promise<void> {
  const folder = join(directory, AOF_DIRECTORY);
  await mkdir(folder, { mode: 0o700 });
  const [rdb, base] = [join(directory, ARTIFACT), join(folder, AOF_BASE)];
  await link(rdb, base).catch(() => copyFile(rdb, base));
  for (const [name, text] of [
    [AOF_INCREMENT, ''],
    [AOF_MANIFEST, AOF_MANIFEST_TEXT],
  ] as const) {
    const file = await open(join(folder, name), 'wx', 0o600);
    await file.writeFile(text);
    await file.sync();
    await file.close();
  }
}

/** Has the scratch server write all it holds as plain commands, times to live as moments. Returns the file's path. */
export async function writeCommands(server: ScratchServer, directory: string, run: RunContext): Promise<string> {
  const { connection } = server;
  await connection.call('CONFIG', 'SET', 'aof-use-rdb-preamble', 'no');
  await connection.call('BGREWRITEAOF');
  for (;;) {
    const info = parseInfo(String(await connection.call('INFO', 'persistence')));
    if (info.get('aof_rewrite_in_progress') === '0' && info.get('aof_rewrite_scheduled') === '0') {
      const status = info.get('aof_last_bgrewrite_status');
      if (status === 'ok') break;
      throw await notWritten(status ?? 'no status', directory);
    }
    await run.clock.sleep(LOOK_EVERY, run.signal);
  }
  const inFolder = await readdir(join(directory, AOF_DIRECTORY)).catch(() => []);
  const base = inFolder.find((name) => name.endsWith('.base.aof'));
  // Before Redis 7 there is one file.
  return base === undefined ? join(directory, OLD_AOF) : join(directory, AOF_DIRECTORY, base);
}

/** Redis 8.0 crashes where a vector set is to be written as commands; other modules may know no commands either. */
async function notWritten(status: string, directory: string): Promise<Error> {
  const log = await readFile(join(directory, SCRATCH_LOG), 'utf8');
  const full = /[^\n]*No space left on device[^\n]*/.exec(log)?.[0];
  if (full !== undefined)
    return new SpaceLacking(`no room in ${directory} to write the keys as commands: ${full.trim()}`, {
      hint: 'free some space, or point TMPDIR at a larger disk',
    });
  const why = /Background AOF rewrite terminated[^\n]*/.exec(log)?.[0] ?? status;
  return new TargetUnusable(
    `the keys cannot be sent to a running server: a scratch server could not write them as commands (${why})`,
    {
      hint: 'restore into a directory, which takes the RDB file as it is: --to ./directory; then start the server there',
    },
  );
}
