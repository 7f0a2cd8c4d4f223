import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { writeWorkerContext } from '#cloud/worker-bundle';
import { EXIT } from '#core/errors';
import type { JobDocument } from '#core/job';
import { outcomesOf } from '#jobs/catalog';
import { childrenIn, commandOf, programOf } from '#test/cli/children';
import { newKey, startTrial, type Trial } from '#test/cloud/worker-trial';
import { s3ForTests } from '#test/servers/ceph';

/**
 * The worker's image for real: built from its Dockerfile, and run as Fargate runs it: as its own user, with a root file
 * system that cannot be written to and a volume for the scratch. Too heavy for `npm test`: `npm run image-trial`, as
 * root, takes some minutes and 5 GB. Debian: `apt-get install -y podman runc debootstrap`.
 *
 * Without `--registry` the two base images are stand-ins of Debian's own packages, for a machine that reaches no
 * registry of images. With `--registry docker.io/library` they are the official ones. `--dir DIRECTORY` keeps the
 * images there, for the next time.
 */

const MAJOR = '17';
const USER = 10001;
const SCRATCH = `/scratch/holdfast-${USER}`;
/** ECS waits so long after its SIGTERM; the worker wants less. */
const ECS_SECONDS = 120;
const WORKER_SECONDS = 100;
const ROWS = { events: 200_000, big: 3_000_000 } as const;
const DEBIAN = 'http://deb.debian.org/debian';

const run = promisify(execFile);
const options = parseArgs({ options: { registry: { type: 'string' }, dir: { type: 'string' } } }).values;
const registry = options.registry ?? 'localhost';
const work = options.dir === undefined ? mkdtempSync('/var/tmp/holdfast-image-') : resolve(options.dir);
const IMAGE = `localhost/holdfast-worker:${MAJOR}`;
const closing: (() => Promise<unknown>)[] = [];

interface Ended {
  readonly code: number | null;
  readonly said: string;
  /** From the request to stop to its end; 0 when there was none. */
  readonly seconds: number;
}

async function podman(...args: string[]): Promise<string> {
  const { stdout } = await run('podman', [...storage(), ...args], { maxBuffer: 64 * 1024 * 1024 });
  return stdout.trim();
}

/** Images and containers of this trial alone; gone with its directory. */
function storage(): string[] {
  const own = ['--root', join(work, 'store'), '--runroot', join(work, 'run'), '--tmpdir', join(work, 'tmp')];
  return [...own, '--storage-driver', 'overlay', '--runtime', 'runc', '--cgroup-manager', 'cgroupfs'];
}

async function makeStandIns(): Promise<void> {
  if ((await podman('images', '--quiet', `${registry}/postgres:${MAJOR}-trixie`)) !== '') return;
  const tree = join(work, 'trixie');
  await run('debootstrap', ['--variant=minbase', '--include=ca-certificates', 'trixie', tree, DEBIAN]);
  // As in the official images: no service is started by its package.
  writeFileSync(join(tree, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  // This machine's own way to Debian's packages: a proxy, a mirror that is behind.
  const { stdout } = await run('apt-config', ['dump', 'Acquire']);
  appendFileSync(join(tree, 'etc/apt/apt.conf.d/99machine'), stdout);
  await importImage(tree, `${registry}/trixie:base`);
  const containers = {
    [`node:24-trixie-slim`]: `COPY node /usr/local/bin/node`,
    [`postgres:${MAJOR}-trixie`]: [
      'RUN mkdir -p /etc/postgresql-common && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf',
      `RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql-${MAJOR} locales && apt-get clean && rm -rf /var/lib/apt/lists/*`,
      'RUN localedef -i en_US -c -f UTF-8 -A /usr/share/locale/locale.alias en_US.UTF-8',
      `ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/${MAJOR}/bin PG_MAJOR=${MAJOR} PGDATA=/var/lib/postgresql/data LANG=en_US.utf8`,
      'VOLUME /var/lib/postgresql/data',
      'STOPSIGNAL SIGINT',
      'ENTRYPOINT ["docker-entrypoint.sh"]',
      'CMD ["postgres"]',
    ].join('\n'),
  };
  for (const [name, lines] of Object.entries(containers)) {
    const context = mkdtempSync(join(work, 'context-'));
    if (lines.startsWith('COPY')) cpSync(process.execPath, join(context, 'node'));
    writeFileSync(join(context, 'Dockerfile'), `FROM ${registry}/trixie:base\n${lines}\n`);
    await podman('build', '--isolation', 'chroot', '--tag', `${registry}/${name}`, context);
  }
}

async function importImage(tree: string, name: string): Promise<void> {
  const tar = `${tree}.tar`;
  await run('tar', ['-C', tree, '--numeric-owner', '-cf', tar, '.']);
  await podman('import', tar, name);
  for (const path of [tar, tree]) rmSync(path, { recursive: true, force: true });
}

async function buildWorker(): Promise<void> {
  const context = join(work, 'worker-image');
  writeWorkerContext(context);
  const args = [`REGISTRY=${registry}`, `POSTGRES_MAJOR=${MAJOR}`].flatMap((one) => ['--build-arg', one]);
  await podman('build', '--isolation', 'chroot', ...args, '--tag', IMAGE, context);
}

/** What is in it, and what is not. */
async function inspectImage(): Promise<void> {
  const [image] = JSON.parse(await podman('image', 'inspect', IMAGE)) as {
    Size: number;
    Config: { User: string; Volumes: object; Entrypoint: string[]; StopSignal: string };
  }[];
  assert.ok(image);
  assert.equal(image.Config.User, `${USER}:${USER}`);
  assert.ok('/scratch' in image.Config.Volumes);
  assert.equal(image.Config.StopSignal, 'SIGTERM');
  const look = async (script: string): Promise<string[]> =>
    (await podman('run', '--rm', ...LIMITS, '--user', '0', '--entrypoint', 'sh', IMAGE, '-c', script)).split('\n');
  assert.deepEqual(await look('find / -xdev -type f -perm /6000'), [''], 'no program that makes its caller root');
  assert.deepEqual(await look('ls /opt/holdfast'), ['sqlite-worker.mjs', 'worker.mjs']);
  assert.deepEqual(await look('ls -d /usr/local/lib/node_modules /work /app 2>/dev/null || true'), ['']);
  const tools = 'node redis-server valkey-server redis-cli zstd age tar git gpg pg_dump';
  tell(`versions: ${(await look(`for tool in ${tools}; do $tool --version | head -n 1; done`)).join(' · ')}`);
  const megabytes = async (name: string): Promise<number> =>
    Math.round(Number(await podman('image', 'inspect', '--format', '{{.Size}}', name)) / 1e6);
  const base = await megabytes(`${registry}/postgres:${MAJOR}-trixie`);
  tell(`size, unpacked: ${await megabytes(IMAGE)} MB, of them ${base} MB the PostgreSQL base image`);
}

/** A container may set itself no higher limits than this machine has. */
const LIMITS = ['--ulimit', 'nofile=4096:4096', '--ulimit', 'nproc=4096:4096', '--network', 'host'];

/** A PostgreSQL and a Redis of the image's own versions, as the sources. */
async function startSources(): Promise<{ url(database: string): string; redisUrl: string }> {
  const [port, redisPort] = [await freePort(), await freePort()];
  const server = [
    'initdb -D /scratch/data -U postgres -A trust --no-sync > /dev/null',
    `exec postgres -D /scratch/data -c port=${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=/scratch -c fsync=off`,
  ];
  const start = (name: string, script: string): Promise<string> =>
    podman('run', '-d', '--name', name, ...LIMITS, '--entrypoint', 'sh', IMAGE, '-euc', script);
  closing.push(() => podman('rm', '--force', '--volumes', '--time', '5', 'database', 'cache'));
  await start('database', server.join('\n'));
  await start('cache', `exec redis-server --port ${redisPort} --bind 127.0.0.1 --dir /scratch`);
  const sql = (database: string, text: string): Promise<string> =>
    podman(
      'exec',
      'database',
      'psql',
      '-XAtqh',
      '/scratch',
      '-p',
      `${port}`,
      '-U',
      'postgres',
      '-d',
      database,
      '-c',
      text,
    );
  await until(() => sql('postgres', 'select 1').then(() => true));
  for (const [database, rows] of Object.entries(ROWS)) {
    await sql('postgres', `create database ${database}`);
    await sql(database, `create table chain as select n, md5(n::text) as hash from generate_series(1, ${rows}) n`);
  }
  for (const key of ['ann', 'bob']) await podman('exec', 'cache', 'redis-cli', '-p', `${redisPort}`, 'SET', key, key);
  return {
    url: (database) => `postgresql://postgres@127.0.0.1:${port}/${database}`,
    redisUrl: `redis://127.0.0.1:${redisPort}`,
  };
}

/** @param stopWhen asks it to stop as soon as it holds, as ECS does; asked with what the task has said */
async function task(trial: Trial, document: JobDocument, stopWhen?: (said: string) => boolean): Promise<Ended> {
  const environment = trial.environmentOf(document);
  const name = `task-${document.run}`;
  const child = spawn(
    'podman',
    [
      ...storage(),
      ...['run', '--name', name, '--read-only', '--read-only-tmpfs=false', '--volume', `${name}:/scratch`, ...LIMITS],
      ...['--memory', '2g', '--security-opt', 'no-new-privileges', '--cap-drop', 'all'],
      // By name alone: values come from the environment, as one of them is a key.
      ...Object.keys(environment).flatMap((variable) => ['--env', variable]),
      IMAGE,
    ],
    { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let said = '';
  for (const output of [child.stdout, child.stderr])
    output.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  let toldAt = 0;
  const timer = setInterval(() => {
    if (toldAt > 0 || !stopWhen?.(said)) return;
    toldAt = performance.now();
    void podman('stop', '--time', `${ECS_SECONDS}`, name);
  }, 50);
  const code = await new Promise<number | null>((done) => child.once('close', done));
  clearInterval(timer);
  const seconds = toldAt === 0 ? 0 : (performance.now() - toldAt) / 1000;
  const left = readdirSync(await podman('volume', 'inspect', '--format', '{{.Mountpoint}}', name), { recursive: true });
  await podman('rm', '--volumes', name);
  await podman('volume', 'rm', '--force', name);
  for (const line of said.trimEnd().split('\n')) console.log(`      ${line}`);
  assert.deepEqual(left, [`holdfast-${USER}`], 'the scratch is as empty as before');
  assert.deepEqual(childrenIn(SCRATCH).map(commandOf), [], 'no process is left');
  return { code, said, seconds };
}

async function trySource(trial: Trial, source: string): Promise<void> {
  const backup = await task(trial, trial.document('backup', source));
  assert.equal(backup.code, EXIT.done);
  const entry = (await trial.ledgerOf(source)).findLast(({ event }) => event === 'backup');
  assert.ok(entry?.id);
  const proof = await task(trial, trial.document('prove', source, { id: entry.id }));
  assert.equal(proof.code, EXIT.done);
  const outcomes = (await outcomesOf(trial.vault, source)).get(entry.id) ?? [];
  assert.deepEqual(
    outcomes.map(({ outcome }) => outcome),
    ['proven'],
  );
  tell(`${source}: backed up by one task, proven by another`);
}

async function tryStops(trial: Trial): Promise<void> {
  const storing = await task(trial, trial.document('backup', 'big'), (said) => /storing .+ in cloud/.test(said));
  assert.equal(storing.code, EXIT.failed);
  const failed = (await trial.ledgerOf('big')).find(({ event }) => event === 'failed');
  assert.match(String(failed?.details['message']), /told to stop/);
  assert.ok(storing.seconds > 0 && storing.seconds < WORKER_SECONDS);
  tell(`stopped while it stored: failed in ${storing.seconds.toFixed(1)} s, and the ledger says so`);
  assert.equal((await task(trial, trial.document('backup', 'big'))).code, EXIT.done);
  const loading = (): boolean => childrenIn(SCRATCH).some((pid) => programOf(pid) === 'pg_restore');
  const proving = await task(trial, trial.document('prove', 'big'), loading);
  assert.equal(proving.code, EXIT.failed);
  assert.ok(proving.seconds > 0 && proving.seconds < WORKER_SECONDS);
  tell(`stopped while it proved: ended in ${proving.seconds.toFixed(1)} s, nothing left in the scratch`);
}

/** Not `podman system reset`, which takes away what is not this trial's. */
async function removeStorage(): Promise<void> {
  await podman('rm', '--all', '--force', '--volumes');
  await podman('rmi', '--all', '--force');
  const mounted = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  for (const place of mounted.filter((one) => one.startsWith(`${work}/`)).reverse()) await run('umount', [place]);
  rmSync(work, { recursive: true, force: true });
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; ; tries++) {
    const error = await holds().then(
      () => null,
      (cause: unknown) => cause,
    );
    if (error === null) return;
    if (tries === 120) throw error;
    await sleep(500);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

function tell(text: string): void {
  console.log(`ok    ${text}`);
}

try {
  mkdirSync(join(work, 'tmp'), { recursive: true });
  if (options.registry === undefined) {
    await makeStandIns();
    tell('the base images are stand-ins of Debian’s packages');
  }
  await buildWorker();
  tell('built the image of the worker');
  await inspectImage();
  const s3 = await s3ForTests();
  closing.push(() => s3.close());
  const { url, redisUrl } = await startSources();
  const schedule = 'schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]';
  const trial = await startTrial(
    s3,
    newKey(),
    [
      `events: { postgres: { url: "\${DATABASE_URL}", version: ${MAJOR} }, probes: { newest: select max(n) from chain }, ${schedule} }`,
      `big: { postgres: { url: "\${BIG_URL}", version: ${MAJOR} }, ${schedule} }`,
      `cache: { redis: { url: "\${REDIS_URL}" }, ${schedule} }`,
    ],
    { DATABASE_URL: url('events'), BIG_URL: url('big'), REDIS_URL: redisUrl },
  );
  closing.push(() => trial.close());
  await trySource(trial, 'events');
  await trySource(trial, 'cache');
  await tryStops(trial);
  console.log('all is well');
} finally {
  for (const close of closing.reverse()) await close();
  if (options.dir === undefined) await removeStorage();
}
