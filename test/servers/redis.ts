import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { makeCertificates } from '#test/servers/certificates';

export interface RedisOptions {
  /** Directives, a line each: `requirepass x`. Later ones win over the defaults. */
  readonly config?: readonly string[];
  /** Lines of an ACL file: `user few on >x -@all +ping`. */
  readonly acl?: readonly string[];
  /** Serves TLS only, by a certificate `openssl` makes in `dir`; see `tls` of the server. */
  readonly tls?: boolean;
  /** `redis-server` unless told. */
  readonly program?: string;
  readonly sentinel?: boolean;
  /** Sent along by `cli`. */
  readonly password?: string;
}

/** A real server on a free port of 127.0.0.1 and a unix socket in its directory. */
export interface RedisServer {
  readonly dir: string;
  readonly port: number;
  readonly socket: string;
  readonly pid: number;
  /** Of its own CA, server and client certificates; null without TLS. */
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string } | null;
  /** Runs redis-cli over the unix socket; throws when the server answers with an error. */
  cli(args: readonly string[], input?: string | Buffer): Promise<string>;
  kill(signal: NodeJS.Signals): void;
  /** At once, saving nothing. Harmless when done twice. */
  stop(): Promise<void>;
}

/** @param dir must exist; becomes its working directory, where it looks for dump.rdb and appendonlydir */
export async function startRedis(dir: string, options: RedisOptions = {}): Promise<RedisServer> {
  const program = options.program ?? 'redis-server';
  const port = await freePort();
  const tls = options.tls ? await makeCertificates(join(dir, 'tls')) : null;
  const lines = [
    ...(tls
      ? [
          'port 0',
          `tls-port ${port}`,
          `tls-ca-cert-file ${tls.ca}`,
          `tls-cert-file ${tls.cert}`,
          `tls-key-file ${tls.key}`,
        ]
      : [`port ${port}`]),
    'bind 127.0.0.1',
    'unixsocket r.sock',
    'dir .',
    'logfile server.log',
    // A server is no child of the test: whoever counts children must not see it.
    'daemonize yes',
    `pidfile ${join(dir, 'server.pid')}`,
    ...(options.sentinel
      ? []
      : [
          'save ""',
          'appendonly no',
          'repl-diskless-sync yes',
          'repl-diskless-sync-delay 0',
          'enable-debug-command local',
        ]),
    ...(options.acl ? ['aclfile users.acl'] : []),
    ...(options.config ?? []),
  ];
  if (options.acl) await writeFile(join(dir, 'users.acl'), `${options.acl.join('\n')}\n`);
  await writeFile(join(dir, 'test.conf'), `${lines.join('\n')}\n`);
  const child = spawn(program, ['test.conf', ...(options.sentinel ? ['--sentinel'] : [])], {
    cwd: dir,
    stdio: 'ignore',
  });
  await once(child, 'exit');
  const pid = await ready(dir);
  return {
    dir,
    port,
    socket: join(dir, 'r.sock'),
    pid,
    tls,
    cli: (args, input) => cli(dir, args, input, options.password),
    kill: (signal) => {
      process.kill(pid, signal);
    },
    async stop() {
      if (await alive(pid)) process.kill(pid, 'SIGKILL');
      while (await alive(pid)) await wait(5);
    },
  };
}

async function ready(dir: string): Promise<number> {
  for (let tries = 0; tries < 400; tries++) {
    // Any answer will do; an ACL may deny PING.
    const answer = await cli(dir, ['PING'], undefined, undefined, true).catch(() => '');
    if (/PONG|NOAUTH|NOPERM|LOADING/.test(answer)) return Number(await readFile(join(dir, 'server.pid'), 'utf8'));
    const log = await readFile(join(dir, 'server.log'), 'utf8').catch(() => '');
    if (/Exiting|FATAL|Aborting/.test(log)) break;
    await wait(10);
  }
  throw new Error(
    `redis-server did not start: ${await readFile(join(dir, 'server.log'), 'utf8').catch(() => 'no log')}`,
  );
}

/** A zombie nobody reaps is dead. */
async function alive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return stat !== null && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

async function cli(
  dir: string,
  args: readonly string[],
  input: string | Buffer | undefined,
  password: string | undefined,
  anyAnswer = false,
): Promise<string> {
  // By its directory: a socket's path may only have about a hundred bytes.
  const child = spawn('redis-cli', ['-s', 'r.sock', ...(anyAnswer ? [] : ['-e']), ...args], {
    cwd: dir,
    env: { PATH: process.env['PATH'], ...(password === undefined ? {} : { REDISCLI_AUTH: password }) },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  const said = Buffer.concat(chunks).toString('utf8');
  if (code !== 0) throw new Error(`redis-cli ${args.join(' ').slice(0, 100)}: ${said}`);
  return said;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
