import { chownSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { ToolMissing } from '#core/errors';
import type { Clock, Command, Processes, Service } from '#core/ports';

/** Servers of the demo's own, in a directory of its own, on free ports: nothing of the machine's is touched. */
export interface DemoServers {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  /** Runs SQL in a database of the demo's server, and gives what psql prints. */
  sql(database: string, text: string): Promise<string>;
  redis(...words: string[]): Promise<string>;
  /** The worst day: the process is killed and its data directory is gone. */
  redisDirectory: string;
  stopRedis(): Promise<void>;
  startRedis(directory: string): Promise<void>;
  stop(): Promise<void>;
}

interface Surroundings {
  readonly processes: Processes;
  readonly clock: Clock;
  /** Absolute; others may traverse it. */
  readonly directory: string;
  /** For both servers. */
  readonly password: string;
}

export async function startServers(around: Surroundings): Promise<DemoServers> {
  const { processes, clock, directory, password } = around;
  const as = await serverUser(processes);
  const postgresPort = await freePort();
  const redisPort = await freePort();
  const bin = postgresBin();

  const data = join(directory, 'postgres');
  mkdirSync(data, { mode: 0o700 });
  const passwordFile = join(directory, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (as) for (const path of [data, passwordFile]) chownSync(path, as.uid, as.gid);
  const run = (command: Command): Command => (as ? { ...command, as } : command);
  await processes.run(
    run({
      program: join(bin, 'initdb'),
      args: [
        '-D',
        data,
        '-U',
        'app',
        '-E',
        'UTF8',
        '--locale=C.UTF-8',
        '--auth=scram-sha-256',
        `--pwfile=${passwordFile}`,
        '-N',
      ],
      cwd: directory,
    }),
  );
  const postgres = processes.start(
    run({
      program: join(bin, 'postgres'),
      args: [
        '-D',
        data,
        '-p',
        String(postgresPort),
        '-k',
        '',
        '-c',
        'listen_addresses=127.0.0.1',
        '-c',
        'fsync=off',
        '-c',
        'synchronous_commit=off',
      ],
      cwd: directory,
    }),
  );
  const environment = { PGPASSWORD: password, PGHOST: '127.0.0.1', PGPORT: String(postgresPort), PGUSER: 'app' };
  const sql = async (database: string, text: string): Promise<string> => {
    const { stdout } = await processes.run(
      {
        program: join(bin, 'psql'),
        args: ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', database],
        env: environment,
      },
      { input: text },
    );
    return stdout.trim();
  };
  await answers(clock, 'PostgreSQL', postgres, () => sql('postgres', 'select 1'));

  const redisDirectory = join(directory, 'redis');
  let redis: Service | null = null;
  const redisConf = join(directory, 'redis.conf');
  const ask = async (...words: string[]): Promise<string> => {
    const { stdout } = await processes.run({
      program: 'redis-cli',
      args: ['-p', String(redisPort), ...words],
      env: { REDISCLI_AUTH: password },
    });
    return stdout.trim();
  };
  const startRedis = async (folder: string): Promise<void> => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(
      redisConf,
      `bind 127.0.0.1\nport ${redisPort}\nrequirepass ${password}\ndir ${folder}\nappendonly yes\nsave ""\nenable-debug-command local\nrepl-diskless-sync-delay 0\n`,
      { mode: 0o600 },
    );
    redis = processes.start({ program: 'redis-server', args: [redisConf] });
    redis.stdout.resume();
    await answers(clock, 'Redis', redis, async () => {
      if ((await ask('ping')) !== 'PONG') throw new Error('loading');
    });
  };
  const stopRedis = async (): Promise<void> => {
    redis?.kill('SIGKILL');
    await redis?.ended;
    redis = null;
  };
  await startRedis(redisDirectory);
  return {
    databaseUrl: `postgres://app:${password}@127.0.0.1:${postgresPort}`,
    redisUrl: `redis://:${password}@127.0.0.1:${redisPort}`,
    sql,
    redis: ask,
    redisDirectory,
    stopRedis,
    startRedis,
    stop: async () => {
      await stopRedis();
      postgres.kill('SIGQUIT');
      await postgres.ended;
    },
  };
}

/** PostgreSQL refuses to run as root. */
async function serverUser(processes: Processes): Promise<{ uid: number; gid: number } | null> {
  if (process.getuid?.() !== 0) return null;
  const id = async (flag: string): Promise<number> =>
    Number((await processes.run({ program: 'id', args: [flag, 'postgres'] })).stdout.trim());
  return { uid: await id('-u'), gid: await id('-g') };
}

/** The newest server that is installed. */
function postgresBin(): string {
  const root = '/usr/lib/postgresql';
  let majors: number[] = [];
  try {
    majors = readdirSync(root)
      .map(Number)
      .filter((major) => Number.isInteger(major))
      .sort((a, b) => b - a);
  } catch (cause) {
    throw new ToolMissing(`no PostgreSQL server below ${root}`, { cause, hint: 'bin/setup installs it' });
  }
  return join(root, String(majors[0]), 'bin');
}

function freePort(): Promise<number> {
  return new Promise((found, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (address && typeof address === 'object' ? found(address.port) : failed(new Error('no port'))));
    });
  });
}

async function answers(clock: Clock, name: string, server: Service, ask: () => Promise<unknown>): Promise<void> {
  let over = false;
  void server.ended.then(() => {
    over = true;
  });
  for (let tries = 0; ; tries++) {
    try {
      await ask();
      return;
    } catch (cause) {
      if (over || tries > 200)
        throw new ToolMissing(`the demo's ${name} does not start: ${server.stderr().slice(-500)}`, { cause });
      await clock.sleep(50);
    }
  }
}
