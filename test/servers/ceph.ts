import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  AbortMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';

/**
 * A real S3 server from Debian's packages: one Ceph monitor, one in-memory OSD, one RADOS gateway; up in about two
 * seconds. What it lacks: SSE with AES256, storage classes, and If-None-Match on CompleteMultipartUpload (ignored).
 */

const run = promisify(execFile);

export interface S3Server {
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

interface Daemon {
  readonly program: string;
  readonly child: ChildProcess;
}

export interface Ceph extends S3Server {
  /** The rules of one bucket, all of them, once and to their end, by the gateway's own program. */
  lifecycle(bucket: string): Promise<void>;
  stop(): Promise<void>;
}

export interface CephOptions {
  /** What the gateway's lifecycle takes for a day: whole seconds. */
  readonly daySeconds?: number;
  /** Those it knows beside STANDARD; without them it refuses a rule that moves objects there. */
  readonly storageClasses?: readonly string[];
}

/**
 * Its lifecycle acts only when it is asked (`lifecycle`). Of itself the gateway spends no more than one of its days on a
 * round, and begins anew in the next; each rule costs it a fifth of a second of waiting, so that it never comes to the
 * later ones.
 * @param dir is emptied and used for configuration, keys and logs
 */
export async function startCeph(dir: string, { daySeconds = 1, storageClasses = [] }: CephOptions = {}): Promise<Ceph> {
  const [gateway, monitor] = [await freePort(), await freePort()];
  await rm(dir, { recursive: true, force: true });
  for (const folder of ['mon', 'osd', 'log', 'run', 'rgw']) await mkdir(join(dir, folder), { recursive: true });
  const fsid = randomUUID();
  const path = (name: string): string => join(dir, name);
  await writeFile(path('ceph.conf'), configuration(dir, fsid, [monitor, gateway], daySeconds));
  const ceph = (program: string, ...args: string[]): Promise<{ stdout: string }> =>
    run(program, args, { env: { ...process.env, CEPH_CONF: path('ceph.conf') }, timeout: 60_000 });

  const daemons: Daemon[] = [];
  const daemon = (program: string, ...args: string[]): void => {
    const output = openSync(path(`log/${program}.out`), 'a');
    // In the foreground and as our own child: its pid is known, its end is seen, and it ends with us however we end.
    const started = ['--pdeathsig', 'KILL', program, '-c', path('ceph.conf'), '-f', ...args];
    daemons.push({ program, child: spawn('setpriv', started, { stdio: ['ignore', output, output], detached: true }) });
    closeSync(output);
  };
  const stop = async (): Promise<void> => {
    // The gateway first: without its storage it would wait for it, and linger.
    for (const { child } of daemons.reverse()) await end(child);
    await rm(dir, { recursive: true, force: true });
  };

  try {
    await ceph(
      'ceph-authtool',
      '--create-keyring',
      path('keyring'),
      '--gen-key',
      '-n',
      'mon.',
      '--cap',
      'mon',
      'allow *',
    );
    await ceph(
      'ceph-authtool',
      path('keyring'),
      '--gen-key',
      '-n',
      'client.admin',
      '--cap',
      'mon',
      'allow *',
      '--cap',
      'osd',
      'allow *',
      '--cap',
      'mgr',
      'allow *',
    );
    await ceph(
      'ceph-authtool',
      path('keyring'),
      '--gen-key',
      '-n',
      'client.rgw',
      '--cap',
      'mon',
      'allow *',
      '--cap',
      'osd',
      'allow *',
    );
    await ceph('monmaptool', '--create', '--fsid', fsid, '--addv', 'a', `[v2:127.0.0.1:${monitor}]`, path('monmap'));
    await ceph('ceph-mon', '--mkfs', '-i', 'a', '--monmap', path('monmap'), '-k', path('keyring'));
    daemon('ceph-mon', '-i', 'a');

    const [osd, secret] = [randomUUID(), (await ceph('ceph-authtool', '--gen-print-key')).stdout.trim()];
    await writeFile(path('osd.json'), JSON.stringify({ cephx_secret: secret }), { mode: 0o600 });
    await ceph('ceph', '--connect-timeout', '30', 'osd', 'new', osd, '-i', path('osd.json'));
    await ceph('ceph-authtool', path('keyring'), '-n', 'osd.0', '--add-key', secret);
    await ceph('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', osd);
    daemon('ceph-osd', '-i', '0');
    // The first command of the gateway's makes its zone.
    if (storageClasses.length > 0) await ceph('radosgw-admin', 'user', 'list');
    for (const name of storageClasses) {
      const place = ['placement', 'add', '--placement-id=default-placement', `--storage-class=${name}`];
      await ceph('radosgw-admin', 'zonegroup', ...place, '--rgw-zonegroup=default');
      await ceph('radosgw-admin', 'zone', ...place, '--rgw-zone=default', `--data-pool=default.rgw.${name}.data`);
    }
    daemon('radosgw', '-n', 'client.rgw');

    const endpoint = `http://127.0.0.1:${gateway}`;
    await answering(endpoint, daemons, path('log'));
    const [accessKeyId, secretAccessKey] = [randomBytes(10).toString('hex'), randomBytes(20).toString('hex')];
    await ceph(
      'radosgw-admin',
      'user',
      'create',
      '--uid=test',
      '--display-name=test',
      '--max-buckets=0',
      `--access-key=${accessKeyId}`,
      `--secret-key=${secretAccessKey}`,
    );
    await warmUp({ endpoint, accessKeyId, secretAccessKey });
    const lifecycle = (bucket: string): Promise<void> => runLifecycle(path('ceph.conf'), bucket);
    return { endpoint, accessKeyId, secretAccessKey, lifecycle, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function runLifecycle(conf: string, bucket: string): Promise<void> {
  // Each worker would go through all of it once more.
  const alone = ['--rgw-lc-max-worker=1', '--rgw-lc-max-wp-worker=1'];
  await run('radosgw-admin', ['lc', 'process', `--bucket=${bucket}`, ...alone], {
    env: { ...process.env, CEPH_CONF: conf },
    timeout: 60_000,
  });
}

/** A bucket of the caller's own, on the suite's server where there is one. */
export interface S3ForTests extends S3Server {
  readonly bucket: string;
  /** One more fresh bucket on the same server. */
  another(): Promise<string>;
  /** Ends the server if it was started for this caller. */
  close(): Promise<void>;
}

/**
 * `HOLDFAST_TEST_S3` (JSON: endpoint, accessKeyId, secretAccessKey) names the server of the whole suite; without it one is
 * started for this caller alone.
 */
export async function s3ForTests(): Promise<S3ForTests> {
  const given = process.env['HOLDFAST_TEST_S3'];
  const own = given ? null : await startCeph(await mkdtemp(join(tmpdir(), 'holdfast-ceph-')));
  const server = own ?? (JSON.parse(given as string) as S3Server);
  const client = clientOf(server);
  const another = async (): Promise<string> => {
    const bucket = `test-${randomBytes(6).toString('hex')}`;
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
    return bucket;
  };
  const { endpoint, accessKeyId, secretAccessKey } = server;
  return {
    endpoint,
    accessKeyId,
    secretAccessKey,
    bucket: await another(),
    another,
    async close() {
      client.destroy();
      await own?.stop();
    },
  };
}

/** The first bucket, object, listing and upload each make a pool, which takes seconds: too long for tests of timeouts. */
async function warmUp(server: S3Server): Promise<void> {
  const client = clientOf(server);
  const place = { Bucket: 'warm-up', Key: 'x' };
  await client.send(new CreateBucketCommand(place));
  await client.send(new PutObjectCommand({ ...place, Body: 'x' }));
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(place));
  await client.send(new AbortMultipartUploadCommand({ ...place, UploadId }));
  await client.send(new ListObjectsV2Command(place));
  client.destroy();
}

function clientOf(server: S3Server): S3Client {
  return new S3Client({ endpoint: server.endpoint, forcePathStyle: true, region: 'us-east-1', credentials: server });
}

function configuration(
  dir: string,
  fsid: string,
  [monitor, gateway]: readonly [number, number],
  daySeconds: number,
): string {
  return `[global]
fsid = ${fsid}
mon_host = [v2:127.0.0.1:${monitor}/0]
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
keyring = ${dir}/keyring
mon_data = ${dir}/mon
osd_data = ${dir}/osd
run_dir = ${dir}/run
log_file = ${dir}/log/$name.log
pid_file = ${dir}/run/$name.pid
admin_socket = ${dir}/run/$name.asok
osd_objectstore = memstore
memstore_device_bytes = 8589934592
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
# Of itself it gathers changes for a second, and a dozen new pools one after the other take it that long each.
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
[client]
rgw_lc_debug_interval = ${daySeconds}
[client.rgw]
rgw_data = ${dir}/rgw
rgw_frontends = beast endpoint=127.0.0.1:${gateway} tcp_nodelay=1
rgw_enable_lc_threads = false
`;
}

async function answering(endpoint: string, daemons: readonly Daemon[], logs: string): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const dead = daemons.find(({ child }) => !running(child));
    if (dead) {
      const { program } = dead;
      throw new Error(`${program} ended early: ${(await readFile(join(logs, `${program}.out`), 'utf8')).slice(-2000)}`);
    }
    const reply = await fetch(endpoint, { signal: AbortSignal.timeout(1000) }).catch(() => null);
    await reply?.body?.cancel();
    if (reply?.ok) return;
    await sleep(100);
  }
  throw new Error(`the Ceph gateway did not answer on ${endpoint} within a minute`);
}

function running(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

async function end(child: ChildProcess): Promise<void> {
  if (!running(child)) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 3000);
  await ended;
  clearTimeout(timer);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
