import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import {
  appendFile,
  chmod,
  chown,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

/** A real PostgreSQL server of its own cluster: about half a second to start. Its superuser is `postgres`. */

const run = promisify(execFile);

export interface PostgresServer {
  readonly port: number;
  readonly password: string;
  /** Of the postmaster. */
  readonly pid: number;
  /** `initdb`, `psql`, … lie here. */
  readonly bin: string;
  /** Over TCP, with its password. */
  url(database: string, user?: string, password?: string): string;
  /** Over the socket, where nobody is asked for a password. */
  socketUrl(database: string, user?: string): string;
  /** Runs SQL as the superuser; answers with unaligned rows. */
  sql(database: string, text: string): Promise<string>;
  /** Runs a file of SQL as the superuser. */
  file(database: string, path: string): Promise<void>;
  /** `pg_dump` without what differs at each call. */
  dump(database: string, ...options: string[]): Promise<string>;
  /** SIGKILL to every process of the server, as when the machine loses its power. */
  crash(): Promise<void>;
  stop(): Promise<void>;
}

export interface PostgresOptions {
  readonly major?: number;
  /** Lines for postgresql.conf. */
  readonly conf?: string;
}

/** @param dir is emptied and holds the cluster; short enough for a socket path (90 bytes) */
export async function startPostgres(dir: string, options: PostgresOptions = {}): Promise<PostgresServer> {
  const bin = `/usr/lib/postgresql/${options.major ?? (await newestMajor())}/bin`;
  const password = 'pa:ss/wo@rd é%20';
  const port = await freePort();
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  await chmod(dir, 0o711);
  const home = join(dir, 'pg');
  await mkdir(home);
  const owner: Owner = process.getuid?.() === 0 ? await ids('postgres') : {};
  if (owner.uid !== undefined && owner.gid !== undefined) await chown(home, owner.uid, owner.gid);
  const data = join(home, 'data');
  await makeCluster(bin, home, password, owner);
  await writeFile(
    join(data, 'pg_hba.conf'),
    'local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nlocal replication all trust\n',
  );
  await appendFile(
    join(data, 'postgresql.conf'),
    // In the data directory: a server that a test kills would leave a segment behind in /dev/shm.
    `listen_addresses = '127.0.0.1'
port = ${port}
unix_socket_directories = '${home}'
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 64MB
dynamic_shared_memory_type = mmap
max_wal_size = 4GB
${options.conf ?? ''}
`,
  );
  const log = openSync(join(home, 'log'), 'a');
  const child = spawn(join(bin, 'postgres'), ['-D', data], {
    ...owner,
    cwd: home,
    stdio: ['ignore', log, log],
    env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', TZ: 'UTC' },
  });
  closeSync(log);
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  await ready(data, child, join(home, 'log'));

  const psql = async (database: string, args: readonly string[]): Promise<string> => {
    const { stdout } = await run(
      join(bin, 'psql'),
      [
        '-X',
        '-q',
        '-A',
        '-t',
        '-v',
        'ON_ERROR_STOP=1',
        '-h',
        home,
        '-p',
        String(port),
        '-U',
        'postgres',
        '-d',
        database,
        ...args,
      ],
      { maxBuffer: 64 * 1024 * 1024, env: { ...process.env, PGCLIENTENCODING: 'UTF8' } },
    );
    return stdout.trimEnd();
  };
  const encode = encodeURIComponent;
  return {
    port,
    password,
    pid: child.pid as number,
    bin,
    url: (database, user = 'postgres', secret = password) =>
      `postgresql://${encode(user)}:${encode(secret)}@127.0.0.1:${port}/${encode(database)}`,
    socketUrl: (database, user = 'postgres') =>
      `postgresql://${encode(user)}@/${encode(database)}?host=${encode(home)}&port=${port}`,
    sql: (database, text) => psql(database, ['-c', text]),
    file: async (database, path) => {
      await psql(database, ['-f', path]);
    },
    dump: async (database, ...more) => {
      const { stdout } = await run(
        join(bin, 'pg_dump'),
        ['-h', home, '-p', String(port), '-U', 'postgres', '-d', database, ...more],
        { maxBuffer: 256 * 1024 * 1024 },
      );
      return stdout.replace(/^\\(un)?restrict .*\n/gm, '');
    },
    crash: async () => {
      const children = await childrenOf(child.pid as number);
      for (const pid of [child.pid as number, ...children]) signal(pid, 'SIGKILL');
      await over(child);
    },
    stop: async () => {
      process.off('exit', kill);
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGQUIT');
      await over(child);
      await rm(dir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** A database name that no other test uses. */
let counter = 0;
export async function freshDatabase(server: PostgresServer, options = ''): Promise<string> {
  counter += 1;
  const name = `db_${process.pid}_${counter}`;
  await server.sql('postgres', `create database ${name} ${options}`);
  return name;
}

/** Beside Node's own cache of what it compiled. */
const CLUSTERS = join(import.meta.dirname, '../../node_modules/.cache/holdfast-clusters');

/**
 * A new cluster in `home`/data. initdb takes four times as long as a copy of what it made, so its first one is kept:
 * for this start of the machine, since nothing of it was synced to the disk.
 */
async function makeCluster(bin: string, home: string, password: string, owner: Owner): Promise<void> {
  const data = join(home, 'data');
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => 'unknown')).trim();
  const { mtimeMs } = await stat(join(bin, 'postgres'));
  const kept = join(CLUSTERS, boot, `${bin.replaceAll('/', '_')}-${Math.floor(mtimeMs)}-${process.getuid?.() ?? 0}`);
  const found = await stat(kept).catch(() => null);
  if (found) {
    await run('cp', ['-a', kept, data]);
    await renameSystem(bin, data, owner);
    return;
  }
  await writeFile(join(home, 'password'), `${password}\n`);
  // Whatever the umask.
  await chmod(join(home, 'password'), 0o644);
  await run(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '-N', `--pwfile=${home}/password`],
    { ...owner, cwd: home, env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8' } },
  );
  for (const old of await readdir(CLUSTERS).catch(() => []))
    if (old !== boot) await rm(join(CLUSTERS, old), { recursive: true, force: true });
  await mkdir(join(CLUSTERS, boot), { recursive: true });
  const half = `${kept}.${process.pid}`;
  await run('cp', ['-a', data, half]);
  // Another test file may have been faster: then its copy is the one that stays.
  await rename(half, kept).catch(() => rm(half, { recursive: true, force: true }));
}

/** Another system identifier: by that Holdfast knows one source from another. */
async function renameSystem(bin: string, data: string, owner: Owner): Promise<void> {
  const file = await open(join(data, 'global/pg_control'), 'r+');
  try {
    await file.write(randomBytes(7), 0, 7, 0);
  } finally {
    await file.close();
  }
  // Its checksum is wrong now, and the WAL another system's: this makes both anew.
  await run(join(bin, 'pg_resetwal'), ['-f', '-D', data], { ...owner, cwd: data, env: { PATH: process.env['PATH'] } });
}

async function newestMajor(): Promise<number> {
  const majors = (await readdir('/usr/lib/postgresql')).map(Number).filter(Number.isInteger);
  return Math.max(...majors);
}

interface Owner {
  readonly uid?: number;
  readonly gid?: number;
}

async function ids(user: string): Promise<Owner> {
  const [uid, gid] = await Promise.all([run('id', ['-u', user]), run('id', ['-g', user])]);
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
}

async function ready(data: string, child: ChildProcess, log: string): Promise<void> {
  for (const end = Date.now() + 30_000; ; await sleep(20)) {
    const text = await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '');
    if (text.split('\n')[7]?.trim() === 'ready') return;
    if (child.exitCode !== null || Date.now() > end)
      throw new Error(`PostgreSQL did not start: ${await readFile(log, 'utf8')}`);
  }
}

async function over(child: ChildProcess): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) await sleep(10);
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.split(' ').filter(Boolean).map(Number);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
