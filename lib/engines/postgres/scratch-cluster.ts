import { appendFile, chmod, chown, mkdtemp, readFile, stat } from 'node:fs/promises';
import { freemem, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { CommandFailed, NotProvableHere } from '#core/errors';
import type { RunContext, Service } from '#core/ports';
import { removeTree } from '#engines/files/remove-tree';
import type { Access } from '#engines/postgres/access';
import type { Address } from '#engines/postgres/address';
import type { Fingerprint } from '#engines/postgres/fingerprint';

/** A PostgreSQL server of ours alone: no network, no password, nothing that survives. */
export interface ScratchCluster {
  readonly access: Access;
  readonly folder: string;
  stop(): Promise<void>;
}

const SUPERUSER = 'holdfast';
/** A socket's whole path must fit into 107 bytes. */
const LONGEST_SOCKET_FOLDER = 90;
const READY_WITHIN = 60_000;

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Makes and starts a cluster in the run's scratch directory. Never as root: `initdb` refuses.
 * @param bin directory of `initdb` and `postgres`
 * @throws NotProvableHere no room, or no user to run it as
 */
export async function startScratchCluster(
  bin: string,
  server: Fingerprint['server'],
  run: RunContext,
): Promise<ScratchCluster> {
  const owner = await unprivileged(run);
  const base = await mkdtemp(join(run.scratch, 'pg-'));
  const sockets = base.length <= LONGEST_SOCKET_FOLDER ? base : await mkdtemp(join(tmpdir(), 'hf-'));
  const as = owner ? { as: owner } : {};
  let service: Service | null = null;
  const stop = async (): Promise<void> => {
    if (service) {
      // Immediate: the files go anyway.
      service.kill('SIGQUIT');
      const timer = setTimeout(() => service?.kill('SIGKILL'), 5000);
      await service.ended;
      clearTimeout(timer);
    }
    await removeTree(base);
    if (sockets !== base) await removeTree(sockets);
  };
  try {
    if (owner) {
      await chown(base, owner.uid, owner.gid);
      if (sockets !== base) await chown(sockets, owner.uid, owner.gid);
      await makeReachable(run.scratch);
    }
    const data = join(base, 'data');
    await run.processes.run({
      program: join(bin, 'initdb'),
      args: ['-D', data, '-U', SUPERUSER, '-A', 'trust', '-E', 'UTF8', '--locale=C', '-N', '--no-instructions'],
      cwd: base,
      ...as,
    });
    await appendFile(join(data, 'postgresql.conf'), settings(sockets, server));
    service = run.processes.start({ program: join(bin, 'postgres'), args: ['-D', data], cwd: base, ...as });
    await ready(data, service, run);
    const address: Address = {
      keywords: { host: sockets, port: '5432', user: SUPERUSER, dbname: 'template1' },
      password: null,
    };
    return { access: { address, exec: [], env: {}, secretLine: null }, folder: base, stop };
  } catch (error) {
    await stop();
    throw error instanceof CommandFailed ? lacking(error) : error;
  }
}

/**
 * Fast, since nothing of it is kept; quiet, since a restored database may bring subscriptions, archiving or jobs that
 * must not run twice.
 */
function settings(sockets: string, server: Fingerprint['server']): string {
  const buffers = Math.min(512, Math.max(64, Math.floor(freemem() / 2 ** 20 / 8)));
  const preload = server.preload
    .split(',')
    .map((name) => name.trim())
    .filter((name) => NEEDS_PRELOAD.includes(name));
  const lines: Record<string, string> = {
    listen_addresses: '',
    port: '5432',
    unix_socket_directories: sockets,
    unix_socket_permissions: '0700',
    fsync: 'off',
    synchronous_commit: 'off',
    full_page_writes: 'off',
    wal_level: 'minimal',
    max_wal_senders: '0',
    max_wal_size: '8GB',
    checkpoint_timeout: '1h',
    archive_mode: 'off',
    shared_buffers: `${buffers}MB`,
    maintenance_work_mem: `${buffers}MB`,
    max_connections: '20',
    max_locks_per_transaction: '1024',
    dynamic_shared_memory_type: 'mmap',
    huge_pages: 'off',
    autovacuum: 'off',
    max_logical_replication_workers: '0',
    jit: 'off',
    shared_preload_libraries: preload.join(','),
    logging_collector: 'off',
    log_min_messages: 'warning',
  };
  return Object.entries(lines)
    .map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
    .join('');
}

/** Libraries without which their extension's objects cannot be created. */
const NEEDS_PRELOAD = ['timescaledb', 'citus', 'pg_squeeze', 'age'];

async function ready(data: string, service: Service, run: RunContext): Promise<void> {
  const deadline = run.clock.now().getTime() + READY_WITHIN;
  let over = false;
  void service.ended.then(() => {
    over = true;
  });
  for (;;) {
    if (over || run.clock.now().getTime() > deadline) {
      const said = service.stderr().trim().split('\n').slice(-5).join(' | ');
      throw (
        lackingSpace(said) ??
        new NotProvableHere(`the scratch server did not start: ${said || 'it said nothing'}`, {
          hint: 'prove elsewhere with prove: { with: { url: … } }',
        })
      );
    }
    const [, , , , , , , status = ''] = (await readPidFile(join(data, 'postmaster.pid'))).split('\n');
    if (status.trim() === 'ready') return;
    await run.clock.sleep(25, run.signal);
  }
}

async function readPidFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** Null when this process is not root. */
async function unprivileged(run: RunContext): Promise<Owner | null> {
  if (process.getuid?.() !== 0) return null;
  for (const name of ['postgres', 'nobody']) {
    const owner = await idsOf(name, run);
    if (owner) return owner;
  }
  throw new NotProvableHere('a PostgreSQL server does not run as root, and there is no user postgres or nobody', {
    hint: 'run Holdfast as another user, or add the user postgres',
  });
}

async function idsOf(name: string, run: RunContext): Promise<Owner | null> {
  const [uid, gid] = await Promise.all(
    ['-u', '-g'].map((flag) => run.processes.run({ program: 'id', args: [flag, name], okCodes: [0, 1] })),
  );
  if (uid?.code !== 0 || gid?.code !== 0) return null;
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
}

/** The server's user passes through the directories above its own; it may not list them. */
async function makeReachable(scratch: string): Promise<void> {
  await chmod(scratch, 0o711);
  for (let folder = dirname(scratch); folder !== dirname(folder); folder = dirname(folder)) {
    const { mode } = await stat(folder);
    if ((mode & 0o001) === 0)
      throw new NotProvableHere(`the scratch server's user cannot enter ${folder}, where ${scratch} lies`, {
        hint: `chmod o+x ${folder}, or set TMPDIR to a directory that others may enter`,
      });
  }
}

function lacking(error: CommandFailed): Error {
  return (
    lackingSpace(error.stderr) ??
    new NotProvableHere(`no scratch server could be made: ${error.message}`, {
      cause: error,
      hint: 'prove elsewhere with prove: { with: { url: … } }',
    })
  );
}

export function lackingSpace(said: string): NotProvableHere | null {
  const full = /No space left on device|could not extend file|Disk quota exceeded|could not write .*: No space/.test(
    said,
  );
  if (!full) return null;
  return new NotProvableHere(`no room for the scratch server: ${said.slice(-300)}`, {
    hint: 'make room in the temporary directory, or set TMPDIR to a bigger disk',
  });
}
