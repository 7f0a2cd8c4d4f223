import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { availableMemory } from 'node:process';
import { Disproven, NotProvableHere } from '#core/errors';
import type { RunContext, Service } from '#core/ports';
import { stopIfCancelled } from '#engines/redis/cancelled';
import { type ContentDigest, contentDigest } from '#engines/redis/content-digest';
import { type DatabaseCount, databasesOf, modulesOf, numberOf, parseInfo } from '#engines/redis/info';
import { ARTIFACT } from '#engines/redis/layout';
import { connectResp, type RespConnection } from '#engines/redis/resp';
import type { Tool } from '#engines/redis/tools';

const SOCKET = 'scratch.sock';
/** In the directory it was started in. */
export const SCRATCH_LOG = 'scratch-server.log';
const FIRST_LOOK = 20;
const LONGEST_LOOK = 500;

/** A server of ours, loaded, on a unix socket and nothing else. */
export interface ScratchServer {
  readonly socket: string;
  readonly connection: RespConnection;
  /** Keys loaded from the file. */
  readonly loaded: number;
  databases(): Promise<readonly DatabaseCount[]>;
  /** Those it has without being told to load any: Redis 8 brings some along. */
  modules(): Promise<readonly string[]>;
  readonly major: number;
  /** @param soon keys that expire before are left out of its expiries; the same moment for digests that are compared */
  digest(soon: Date): Promise<ContentDigest>;
  /** At once, writing nothing. Harmless when done twice. */
  stop(): Promise<void>;
}

export interface ScratchOptions {
  readonly tool: Tool;
  /** With `dump.rdb`, or with an AOF directory when `appendOnly`. Also its socket, log and configuration lie there. */
  readonly directory: string;
  readonly appendOnly?: boolean;
  /** Highest database number in the file; a server with fewer databases refuses to load. */
  readonly highestDatabase: number;
  /** What it is expected to take; null when unknown. */
  readonly memory: number | null;
}

/**
 * Loads and waits until it is ready. It runs as a *replica of nobody* (port 0 can have no listener): a replica neither
 * drops keys whose time is over when it loads, nor later, so what is loaded is exactly what the file holds, whenever
 * and however often it is looked at. Writable all the same.
 * @throws NotProvableHere memory, RDB version, modules; Disproven when the file does not load although nothing lacks
 */
export async function startScratch(options: ScratchOptions, run: RunContext): Promise<ScratchServer> {
  const { tool, directory, memory } = options;
  if (memory !== null && memory > availableMemory())
    throw new NotProvableHere(
      `a scratch ${tool.flavour}-server needs about ${mebibytes(memory)} of memory, ${mebibytes(availableMemory())} are free here`,
      { hint: 'prove it on a machine with more memory, or free some here' },
    );
  await writeFile(join(directory, 'scratch.conf'), configuration(options), { mode: 0o600 });
  const service = run.processes.start({ program: tool.path, args: ['scratch.conf'], cwd: directory });
  service.stdout.resume();
  let connection: RespConnection | null = null;
  const stop = async (): Promise<void> => {
    connection?.close();
    service.kill('SIGKILL');
    await service.ended;
  };
  const major = Number.parseInt(tool.version, 10);
  try {
    const socket = join(directory, SOCKET);
    connection = await whenLoaded(service, socket, options, run);
    const ready = connection;
    const info = async (section: string) => parseInfo(String(await ready.call('INFO', section)));
    const persistence = await info('persistence');
    return {
      socket,
      connection: ready,
      loaded: options.appendOnly
        ? databasesOf(await info('keyspace')).reduce((sum, { keys }) => sum + keys, 0)
        : // Before Redis 7 the first is not there: nothing has been dropped or written yet, so the keyspace says the same.
          (numberOf(persistence, 'rdb_last_load_keys_loaded') ??
          databasesOf(await info('keyspace')).reduce((sum, { keys }) => sum + keys, 0)),
      databases: async () => databasesOf(await info('keyspace')),
      modules: async () => modulesOf(String(await ready.call('INFO', 'modules'))),
      major,
      digest: async (soon) => contentDigest(ready, databasesOf(await info('keyspace')), soon.getTime(), major, run),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function whenLoaded(
  service: Service,
  socket: string,
  options: ScratchOptions,
  run: RunContext,
): Promise<RespConnection> {
  let over = false;
  service.ended.then(() => {
    over = true;
  });
  let pause = FIRST_LOOK;
  let connection: RespConnection | null = null;
  try {
    for (;;) {
      stopIfCancelled(run);
      if (over) throw await loadFailure(service, options);
      connection ??= await connectResp(socket).catch(() => null); // not listening yet, or ended: the next turn tells
      const info = connection ? await connection.call('INFO', 'persistence').then(String, () => null) : null;
      if (connection && info === null) {
        connection.close();
        connection = null;
      }
      if (connection && info !== null && parseInfo(info).get('loading') === '0') {
        const ready = connection;
        connection = null;
        return ready;
      }
      await run.clock.sleep(pause, run.signal);
      pause = Math.min(pause * 1.5, LONGEST_LOOK);
    }
  } finally {
    connection?.close();
  }
}

/** Why it ended instead of serving. */
async function loadFailure(service: Service, options: ScratchOptions): Promise<Error> {
  const ended = await service.ended;
  const name = `${options.tool.flavour}-server ${options.tool.version}`;
  const log = `${await readFile(join(options.directory, SCRATCH_LOG), 'utf8').catch(() => '')}\n${ended.stderr}`;
  const say = (pattern: RegExp): string | null => pattern.exec(log)?.[0] ?? null;
  const version = say(/Can't handle RDB format version \d+|Wrong signature trying to load DB/);
  if (version)
    return new NotProvableHere(`${name} cannot read this RDB: ${version}`, {
      hint: "apt-get install a redis-server or valkey-server of the source's version, or name its directory: prove: { with: { bin: DIR } }",
    });
  const module = say(/(?:The RDB file contains .*module[^\n]*|no matching module[^\n]*)/);
  if (module)
    return new NotProvableHere(`${name} lacks a module of the source: ${module.slice(0, 200)}`, {
      hint: 'prove it with a server that has the module built in: prove: { with: { bin: DIR } }',
    });
  if (/Out of memory|Cannot allocate memory|OOM|Can't allocate/i.test(log))
    return new NotProvableHere(`${name} ran out of memory while loading`, {
      hint: 'prove it on a machine with more memory, or free some here',
    });
  if (ended.code === null && !/crashed by signal/.test(log))
    return new NotProvableHere(`${name} was killed while loading, most likely for lack of memory`, {
      hint: 'see dmesg; prove it on a machine with more memory',
    });
  if (/FATAL CONFIG FILE ERROR|Failed opening Unix socket|Can't chdir/.test(log))
    return new Error(`${name} did not accept its scratch configuration: ${lastLines(log)}`);
  return new Disproven(`${name} could not load the backup: ${lastLines(log)}`);
}

function configuration(options: ScratchOptions): string {
  const major = Number.parseInt(options.tool.version, 10);
  return [
    'port 0',
    `unixsocket ${SOCKET}`,
    'unixsocketperm 700',
    'dir .',
    `dbfilename ${ARTIFACT}`,
    `logfile ${SCRATCH_LOG}`,
    'daemonize no',
    'save ""',
    `appendonly ${options.appendOnly ? 'yes' : 'no'}`,
    'appendfsync no',
    'no-appendfsync-on-rewrite yes',
    `databases ${Math.max(16, options.highestDatabase + 1)}`,
    'replicaof 127.0.0.1 0',
    'replica-read-only no',
    'replica-announced no',
    'maxmemory 0',
    'stop-writes-on-bgsave-error no',
    'oom-score-adj no',
    ...(major >= 7 ? ['enable-debug-command local', 'enable-module-command no'] : []),
    '',
  ].join('\n');
}

function lastLines(log: string): string {
  return log
    .trim()
    .split('\n')
    .slice(-3)
    .map((line) => line.replace(/^\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ /, ''))
    .join(' | ')
    .slice(0, 600);
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
