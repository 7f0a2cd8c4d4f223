import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import { loadPlan } from '#core/plan-load';
import { Place } from '#test/cli/holdfast';
import { filesBelow, good, newest, type RunJson, runsOf } from '#test/cli/small-plan';
import { textOf } from '#test/examples/plans';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { type HttpSink, startHttpSink } from '#test/servers/http-sink';
import { type PostgresServer, startPostgres } from '#test/servers/postgres';
import { type RedisServer, startRedis } from '#test/servers/redis';
import { type SmtpSink, startSmtp } from '#test/servers/smtp';
import { type SnsServer, startSns } from '#test/servers/sns';

/**
 * Each example plan by the command line, on real servers: check, backup, proof, restore, equal, told. The plan's text is the
 * one in examples/ but for the replacements that stand with each system below: keys, and places of this machine.
 */
describe('the example plans on real servers', () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-examples-'));
  chmodSync(folder, 0o711);
  let postgres: PostgresServer;
  let container: PostgresServer;
  let redis: RedisServer;
  let s3: S3ForTests;
  let smtp: SmtpSink;
  let sink: HttpSink;
  let sns: SnsServer;

  before(async () => {
    for (const name of ['redis', 'bin']) mkdirSync(join(folder, name));
    [postgres, container, redis, s3, smtp, sink, sns] = await Promise.all([
      startPostgres(join(folder, 'a')),
      startPostgres(join(folder, 'b')),
      startRedis(join(folder, 'redis')),
      s3ForTests(),
      startSmtp(),
      startHttpSink(),
      startSns(),
    ]);
    await redis.cli([], 'SET halt no\nHSET session:1 user ann seen 3\nRPUSH queue a b c\nSELECT 3\nSET other 1\n');
  });
  after(async () => {
    await Promise.all([postgres, container, redis, smtp, sink, sns].map((server) => server?.stop()));
    await s3?.close();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  /** What every system's environment has beside its own. */
  function environment(own: Record<string, string>): Record<string, string> {
    return {
      PATH: `${join(folder, 'bin')}:${process.env['PATH']}`,
      REDIS_URL: `redis://127.0.0.1:${redis.port}`,
      SMTP_URL: `smtp://127.0.0.1:${smtp.port}`,
      HEARTBEAT_URL: `${sink.url}/heartbeat`,
      SLACK_WEBHOOK: `${sink.url}/slack`,
      HOLDFAST_TOKEN: 'a-token',
      AWS_ENDPOINT_URL_SNS: sns.endpoint,
      AWS_REGION: 'eu-north-1',
      AWS_ACCESS_KEY_ID: s3.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
      ...own,
    };
  }

  /** A stand-in for a program that only the system itself has: writes down how it was called, then does `more`. */
  function program(name: string, more = ''): void {
    const text = `#!/bin/sh\necho "${name} $*" >> "$HOME/calls"\n${more}\n`;
    writeFileSync(join(folder, 'bin', name), text, { mode: 0o755 });
  }

  async function stored(place: Place): Promise<readonly RunJson[]> {
    const checked = await place.run('check', '--create', '--json');
    const { checks } = checked.json().result as { checks: { ok: boolean | null; message: string }[] };
    assert.deepEqual(
      checks.filter(({ ok, message }) => ok !== true && !message.includes('not there yet')),
      [],
    );
    const runs = runsOf(await good(place.run('backup', '--all', '--json')));
    const { plan } = loadPlan(readFileSync(place.path('holdfast.yaml'), 'utf8'), 'holdfast.yaml');
    assert.deepEqual(
      runs.map(({ source, status, proof, vaults }) => ({ source, status, proof, vaults })),
      Object.entries(plan.sources).map(([source, { schedule }]) => ({
        source,
        status: 'ok',
        proof: 'proven',
        vaults: [...(schedule[0]?.to ?? [])],
      })),
    );
    const status = (await place.run('status', '--json')).json();
    assert.equal(status.exit, 0, JSON.stringify(status.result, null, 1));
    return runs;
  }

  async function restored(place: Place, source: string, to: string, ...more: string[]): Promise<string> {
    const ran = await good(place.run('restore', source, '--to', to, ...more, '--json'));
    const { target, verified } = ran.json().result as { target: string; verified: boolean };
    assert.equal(verified, true);
    return target;
  }

  /** Sends one of each severity; who heard of it, by severity. */
  async function told(place: Place): Promise<Record<string, string[]>> {
    const before = { mails: smtp.mails.length, hooks: sink.received.length, texts: sns.published.length };
    const ran = await good(place.run('alerts', 'test', '--json'));
    const { deliveries } = ran.json().result as { deliveries: { severity: string | null; ok: boolean }[] };
    const heard: Record<string, string[]> = {};
    const hear = (text: string, whom: string): void => {
      const severity = /critical|high|medium/.exec(text)?.[0] ?? 'heartbeat';
      heard[severity] = [...(heard[severity] ?? []), whom];
    };
    for (const { subject, to } of smtp.mails.slice(before.mails)) hear(subject, to.join());
    for (const { path, body } of sink.received.slice(before.hooks)) hear(body, path);
    for (const { phone, message } of sns.published.slice(before.texts)) hear(message, String(phone));
    assert.equal(Object.values(heard).flat().length, deliveries.length);
    return heard;
  }

  async function sameKeys(directory: string): Promise<void> {
    const server = await startRedis(directory);
    try {
      assert.equal(await server.cli(['DEBUG', 'DIGEST']), await redis.cli(['DEBUG', 'DIGEST']));
    } finally {
      await server.stop();
    }
  }

  test('archon72: an event store with its hash chain, Redis, configuration; a directory and a bucket', async () => {
    const database = 'conclave';
    await postgres.sql('postgres', `create database ${database}`);
    await postgres.sql(database, EVENT_STORE);
    const place = await placeOf('archon72', environment({ DATABASE_URL: postgres.url(database) }), [
      ['/var/backups/archon72', './local'],
      ['s3: archon72-backups,', `s3: ${await s3.another()}, endpoint: "${s3.endpoint}",`],
      // The test's gateway honours create-only puts only in buckets without Object Lock.
      [', lock: governance', ''],
    ]);
    try {
      const configs = {
        'app.yaml': 'halt: false\n',
        'k8s/deployment.yaml': 'kind: Deployment\n',
        'lb/nginx.conf': '#\n',
      };
      write(place, 'configs', configs);
      write(place, 'configs', { 'app.env': 'TOKEN=x', 'k8s/secrets.yaml': 'a: b' });
      await stored(place);

      const { probes } = await newest(place, 'events');
      assert.deepEqual(
        probes.map(({ name, answer }) => [name, answer]),
        [
          ['sequence', [['500']]],
          ['chain_head', [[await postgres.sql(database, 'select hash from events where sequence_number = 500')]]],
          ['halt_state', [['1', 'running']]],
          ['count', [['500']]],
        ],
      );

      await restored(place, 'events', postgres.url('conclave_back'), '--from', 'cloud');
      for (const table of ['events', 'witnesses', 'halt_state', 'key_registry']) {
        const all = `select string_agg(t::text, '|' order by t::text) from ${table} t`;
        assert.equal(await postgres.sql('conclave_back', all), await postgres.sql(database, all));
      }
      assert.equal(await postgres.sql('conclave_back', BROKEN_LINKS), '0', 'the chain is whole');
      assert.equal(await postgres.sql('conclave_back', 'select count(*) from scratchpad'), '0', 'schema only');
      await sameKeys(await restored(place, 'cache', './cache-back', '--from', 'cloud'));
      assert.deepEqual(treeOf(await restored(place, 'config', './config-back'), 'configs'), configs);
      const retained = await good(place.run('retain', '--dry-run', '--at', '2099-01-01T00:00:00Z', '--json'));
      const { decisions } = retained.json().result as { decisions: { source: string; action: string }[] };
      assert.deepEqual(
        decisions.filter(({ source }) => source === 'events').map(({ action }) => action),
        ['hold', 'hold'],
      );
      assert.deepEqual(await told(place), {
        critical: ['architect@example.com'],
        high: ['operations@example.com'],
        medium: ['infrastructure@example.com'],
        heartbeat: ['/heartbeat'],
      });
    } finally {
      place.remove();
    }
  });

  test('chatcard: a database with its roles and its schema, Redis; one bucket', async () => {
    const database = 'chatcard';
    await postgres.sql('postgres', `create database ${database}`);
    await postgres.sql(database, WEB_APPLICATION);
    const place = await placeOf('chatcard', environment({ DATABASE_URL: postgres.url(database) }), [
      ['s3: chatcard-backups,', `s3: ${await s3.another()}, endpoint: "${s3.endpoint}",`],
      // The server of this machine.
      [
        'version: 16,',
        `version: ${await postgres.sql('postgres', "select current_setting('server_version_num')::int / 10000")},`,
      ],
    ]);
    place.environment['HOLDFAST_IDENTITY'] = readFileSync(place.path('holdfast.key'), 'utf8');
    try {
      await stored(place);
      const { probes } = await newest(place, 'database');
      assert.deepEqual(
        probes.map(({ name, answer }) => [name, answer]),
        [
          ['users', [['40']]],
          ['proofs', [['120']]],
          ['anchors', [['12']]],
        ],
      );
      await restored(place, 'database', postgres.url('chatcard_back'));
      assert.equal(await postgres.dump('chatcard_back'), await postgres.dump(database));
      await restored(place, 'schema', postgres.url('chatcard_schema'));
      assert.equal(
        await postgres.dump('chatcard_schema', '--schema-only'),
        await postgres.dump(database, '--schema-only'),
      );
      assert.equal(await postgres.sql('chatcard_schema', 'select count(*) from "User"'), '0');
      await sameKeys(await restored(place, 'cache', './cache-back'));
      assert.deepEqual(await told(place), {
        critical: ['ops@example.com'],
        high: ['ops@example.com'],
        medium: ['ops@example.com'],
      });
    } finally {
      place.remove();
    }
  });

  test('elspeth: an audit database under a writer, payloads, volumes of a stopped container; one directory', async () => {
    program('docker');
    program('elspeth');
    const place = await placeOf('elspeth', environment({}), [['/backups/elspeth', './backups']]);
    place.environment['HOME'] = place.directory;
    // Holdfast's own notes are not to lie in one of the volumes.
    place.environment['HOLDFAST_STATE'] = place.path('.holdfast');
    const calls = (): string[] => readFileSync(place.path('calls'), 'utf8').trimEnd().split('\n');
    const audit = audits(place);
    try {
      const payloads = { 'ab/1.json': '{"a":1}', 'cd/2.json': '{}' };
      const volumes = { 'config/settings.yaml': 'a: 1\n', 'state/state.json': '{}', 'output/report.csv': 'a\n1\n' };
      write(place, '.elspeth/payloads', { ...payloads, 'cd/3.tmp': 'half' });
      write(place, '.', { 'pipeline.yaml': 'steps: []\n', ...volumes });
      await stored(place);
      assert.deepEqual(calls(), ['docker compose stop elspeth', 'docker compose start elspeth']);

      const { probes } = await newest(place, 'audit');
      assert.deepEqual(
        probes.map(({ name, answer }) => [name, answer]),
        [
          ['runs', [['30']]],
          ['tokens', [['90']]],
          ['states', [['60']]],
          ['recent', [['7']]],
          ['running', [['run-029'], ['run-030']]],
        ],
      );

      rmSync(place.path('calls'));
      const target = await restored(place, 'audit', './audit-back');
      assert.deepEqual(calls(), ['elspeth health --verbose', 'elspeth validate --settings pipeline.yaml']);
      const back = new DatabaseSync(target, { readOnly: true });
      for (const table of ['runs', 'tokens', 'node_states'])
        assert.deepEqual(back.prepare(`select * from ${table}`).all(), audit.prepare(`select * from ${table}`).all());
      back.close();

      assert.deepEqual(treeOf(await restored(place, 'payloads', './payloads-back'), 'payloads'), payloads);
      assert.deepEqual(treeOf(await restored(place, 'config', './config-back')), { 'pipeline.yaml': 'steps: []\n' });
      assert.deepEqual(treeOf(await restored(place, 'volumes', './volumes-back')), volumes);
      assert.equal(calls().at(-1), 'docker compose run --rm elspeth health --verbose');
      assert.deepEqual(await told(place), {
        critical: ['ops@example.com'],
        high: ['ops@example.com'],
        medium: ['ops@example.com'],
      });
    } finally {
      audit.close();
      place.remove();
    }
  });

  test('genesis: one SQLite database into a bucket, with a second bucket for its copies', async () => {
    const [singapore, newYork] = [await s3.another(), await s3.another()];
    const keys = { DO_SPACES_KEY: s3.accessKeyId, DO_SPACES_SECRET: s3.secretAccessKey };
    const place = await placeOf('genesis', environment(keys), [
      ['genesis-backups-sgp1', singapore],
      ['genesis-backups-nyc3', newYork],
      ['https://sgp1.digitaloceanspaces.com', s3.endpoint],
      ['https://nyc3.digitaloceanspaces.com', s3.endpoint],
      // The test's gateway has no encryption of its own.
      ['    sse: AES256\n', ''],
    ]);
    const file = place.path('.genesis', 'data', 'genesis.db');
    mkdirSync(dirname(file), { recursive: true });
    const live = new DatabaseSync(file);
    live.exec('pragma journal_mode = wal; create table trades (id integer primary key, pair text, amount real)');
    for (let trade = 1; trade <= 200; trade++)
      live.prepare('insert into trades (pair, amount) values (?, ?)').run('BTC/USDT', trade / 7);
    try {
      const [run] = await stored(place);
      await good(place.run('replicate', '--json'));
      const listed = (await good(place.run('list', 'database', '--from', 'new-york', '--json'))).json();
      const { backups } = listed.result as { backups: { id: string; vault: string; proof: string }[] };
      assert.deepEqual(
        backups.map(({ id, vault, proof }) => [id, vault, proof]),
        [[run?.id, 'new-york', 'proven']],
      );
      const target = await restored(place, 'database', './back', '--from', 'new-york');
      const back = new DatabaseSync(target, { readOnly: true });
      assert.deepEqual(back.prepare('select * from trades').all(), live.prepare('select * from trades').all());
      back.close();
      assert.deepEqual(await told(place), {
        critical: ['ops@example.com'],
        high: ['ops@example.com'],
        medium: ['ops@example.com'],
        heartbeat: ['/heartbeat'],
      });
    } finally {
      live.close();
      place.remove();
    }
  });

  test('sin-solver: all databases through docker exec, Redis, .env, data and models; two disks and a bucket', async () => {
    await container.sql('postgres', 'create role ceo_admin superuser login');
    await container.sql('postgres', 'create database sin_solver owner ceo_admin');
    await container.sql('sin_solver', 'create table captchas (id int primary key, answer text)');
    await container.sql('sin_solver', "insert into captchas select n, 'answer ' || n from generate_series(1, 300) n");
    // In the container the server is the local one, and asks for no password; the proof runs out here.
    const { host, port } = socketOf(container);
    program(
      'docker',
      `[ "$1 $2 $3" = "exec -i room-03-postgres-master" ] || exit 64
shift 3
PGHOST='${host}' PGPORT=${port} exec "$@"`,
    );
    const keys = { S3_KEY: s3.accessKeyId, S3_SECRET: s3.secretAccessKey };
    const place = await placeOf('sin-solver', environment(keys), [
      ['/Volumes/Backup/sin-solver', './hdd'],
      // This disk is smaller.
      ['capacity: 500GB', 'capacity: 1GB'],
      ['capacity: 2TB', 'capacity: 1GB'],
      ['s3: sin-solver,', `s3: ${await s3.another()},`],
      ['https://s3.example.com', s3.endpoint],
      // The test's gateway has no encryption of its own.
      [', sse: AES256', ''],
    ]);
    place.environment['HOME'] = place.directory;
    try {
      const data = { 'day1.csv': 'a,b\n1,2\n', 'deep/day2.csv': 'a,b\n' };
      write(place, '.', { 'docker-compose.yml': 'services: {}\n', '.env': 'REDIS_PASSWORD=x\n' });
      write(place, 'training-data', { ...data, 'deep/half.tmp': 'x' });
      write(place, 'checkpoints', { 'epoch1.bin': 'one' });
      write(place, 'models/final', { 'model.bin': 'weights' });
      await stored(place);
      assert.ok(existsSync(place.path('calls')), 'the container was asked');

      const daily = runsOf(
        await good(place.run('backup', 'postgres', 'redis', 'training-data', '--tier', 'daily', '--json')),
      );
      assert.deepEqual(
        daily.map(({ source, vaults, proof }) => [source, proof, ...vaults]),
        [
          ['postgres', 'proven', 'hdd'],
          ['redis', 'proven', 'hdd'],
          ['training-data', 'proven', 'hdd'],
        ],
      );
      const weekly = runsOf(await good(place.run('backup', 'postgres', '--tier', 'weekly', '--json')));
      assert.deepEqual(weekly[0]?.vaults, ['cloud']);

      // Another server, which `docker exec` does not lead to.
      await restored(place, 'postgres', postgres.url('postgres'), '--from', 'cloud');
      assert.equal(await postgres.dump('sin_solver'), await container.dump('sin_solver'));
      await sameKeys(await restored(place, 'redis', './redis-back'));
      assert.deepEqual(treeOf(await restored(place, 'training-data', './data-back'), 'training-data'), data);
      assert.deepEqual(treeOf(await restored(place, 'config', './config-back', '--from', 'cloud')), {
        '.env': 'REDIS_PASSWORD=x\n',
        'docker-compose.yml': 'services: {}\n',
      });
      assert.deepEqual(treeOf(await restored(place, 'models', './models-back'), 'final'), { 'model.bin': 'weights' });

      // On change: nothing new is stored until a file is another one.
      const again = async (): Promise<string | undefined> =>
        runsOf(await good(place.run('backup', 'checkpoints', '--json')))[0]?.status;
      assert.equal(await again(), 'unchanged');
      write(place, 'checkpoints', { 'epoch2.bin': 'two' });
      assert.equal(await again(), 'ok');
      assert.deepEqual(await told(place), {
        critical: ['ops@example.com', '/slack', '+46701234567'],
        high: ['ops@example.com', '/slack'],
        medium: ['/slack'],
      });
    } finally {
      place.remove();
    }
  });
});

/** A place with the example's plan, a key of its own, and nothing else changed than `replacements` say. */
async function placeOf(
  name: string,
  environment: Record<string, string>,
  replacements: readonly (readonly [from: string, to: string])[],
): Promise<Place> {
  const place = new Place(environment);
  const made = await good(place.run('keygen', '--out', 'holdfast.key', '--json'));
  const { publicKey } = made.json().result as { publicKey: string };
  // The second recipient stays: a key that is kept elsewhere.
  const all = [['age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p', publicKey] as const, ...replacements];
  const text = all.reduce((plan, [from, to]) => {
    assert.ok(plan.includes(from), `${name}.yaml no longer holds ${from}`);
    return plan.replaceAll(from, to);
  }, textOf(name));
  place.write('holdfast.yaml', text);
  return place;
}

function write(place: Place, below: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    const path = place.path(below, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

/** Names and contents below the directory called `under`, or below the target itself. */
function treeOf(target: string, under?: string): Record<string, string> {
  const files = filesBelow(target).map(({ file, text }) => [relative(target, file), text] as const);
  const cut = (name: string): string => (under === undefined ? name : name.replace(new RegExp(`^(.*/)?${under}/`), ''));
  return Object.fromEntries(files.map(([name, text]) => [cut(name), text] as const).sort());
}

function socketOf(server: PostgresServer): { readonly host: string; readonly port: string } {
  const { searchParams } = new URL(server.socketUrl('postgres').replace('@/', '@socket/'));
  return { host: searchParams.get('host') ?? '', port: searchParams.get('port') ?? '' };
}

/** elspeth's audit database, open, with a run a day until today. */
function audits(place: Place): DatabaseSync {
  mkdirSync(place.path('runs'));
  const db = new DatabaseSync(place.path('runs', 'audit.db'));
  db.exec(`pragma journal_mode = wal;
    create table runs (run_id text primary key, status text, started_at text);
    create table tokens (id integer primary key, run_id text references runs, hash text);
    create table node_states (id integer primary key, run_id text references runs, state text);
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 30)
      insert into runs select printf('run-%03d', i), iif(i > 28, 'running', 'completed'),
        datetime('now', printf('-%d days', 30 - i), '-1 hour') from n;
    insert into tokens (run_id, hash) select run_id, hex(run_id || n) from runs, (select 1 n union select 2 union select 3);
    insert into node_states (run_id, state) select run_id, n from runs, (select 'in' n union select 'out');`);
  return db;
}

/** Each event holds the hash of the one before, and of itself. */
const EVENT_STORE = `
  create table events (sequence_number bigint primary key, payload jsonb, previous text, hash text not null,
    created_at timestamptz not null default now());
  create table witnesses (id int primary key, sequence_number bigint references events, signature bytea);
  create table halt_state (id int primary key, state text);
  create table key_registry (key_id uuid primary key, public_key bytea);
  create table scratchpad (note text);
  insert into scratchpad values ('not in the backup');
  insert into halt_state values (1, 'running');
  insert into key_registry select gen_random_uuid(), sha256(n::text::bytea) from generate_series(1, 5) n;
  do $$ declare last text := ''; text jsonb; begin
    for n in 1..500 loop
      text := jsonb_build_object('n', n);
      insert into events values (n, text, last, encode(sha256(convert_to(last || n || text, 'UTF8')), 'hex'));
      last := encode(sha256(convert_to(last || n || text, 'UTF8')), 'hex');
    end loop;
  end $$;
  insert into witnesses select n, n * 5, sha256(n::text::bytea) from generate_series(1, 100) n;
`;
const BROKEN_LINKS = `select count(*) from events e left join events p on p.sequence_number = e.sequence_number - 1
  where e.previous <> coalesce(p.hash, '')
    or e.hash <> encode(sha256(convert_to(e.previous || e.sequence_number || e.payload, 'UTF8')), 'hex')`;

const WEB_APPLICATION = `
  create table "User" (id serial primary key, email text unique not null, "createdAt" timestamptz default now());
  create table "Proof" (id serial primary key, "userId" int references "User", body jsonb not null);
  create table "Anchor" (id serial primary key, "proofId" int references "Proof", root bytea);
  insert into "User" (email) select 'u' || n || '@example.com' from generate_series(1, 40) n;
  insert into "Proof" ("userId", body) select 1 + n % 40, jsonb_build_object('n', n) from generate_series(1, 120) n;
  insert into "Anchor" ("proofId", root) select n * 10, sha256(n::text::bytea) from generate_series(1, 12) n;
`;
