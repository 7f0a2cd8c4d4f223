import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LedgerEntry } from '#core/ledger';
import { createProcesses } from '#host/processes';
import { collect, placesOf } from '#jobs/catalog';
import { childrenIn, commandOf, programOf } from '#test/cli/children';
import type { Place, Ran } from '#test/cli/holdfast';
import { filesBelow, good, refused, runsOf, SCHEDULE, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { type PostgresServer, startPostgres } from '#test/servers/postgres';
import { type RedisServer, startRedis } from '#test/servers/redis';
import { until } from '#test/until';
import { DiskVault } from '#vault/disk-vault';
import { readLedger } from '#vault/ledger-store';

/** Unlike any word, so that finding it anywhere means that it leaked. */
const SECRET = 'Zq7-hunter2-wX9';

describe('a source that refuses, lies or dies, by the command line', () => {
  let small: SmallPlan;
  let place: Place;
  let vault: DiskVault;
  let postgres: PostgresServer;
  let redis: RedisServer;
  let locked: { readonly locker: ChildProcess; readonly pid: string; readonly running: Promise<Ran> };

  before(async () => {
    small = await smallPlan();
    place = small.place;
    const processes = createProcesses(process.env, new AbortController().signal, null);
    vault = new DiskVault({ name: 'here', root: place.path('vault'), processes });
    mkdirSync(place.path('redis'));
    [postgres, redis] = await Promise.all([
      startPostgres(place.path('pg')),
      startRedis(place.path('redis'), { config: [`requirepass ${SECRET}`], password: SECRET }),
    ]);
    await makeEvents(
      'create table events as select n as id, repeat(md5(n::text), 20) as body from generate_series(1, 60000) n; create table small as select 1 as n',
    );
    await redis.cli(['SET', 'a', '1']);
    restorePlan();
    use({});
    place.environment['LOCKED_URL'] = postgres.url('postgres');
    await good(place.run('check', '--create'));
    locked = await lockedBackup();
  });
  after(async () => {
    await postgres.stop();
    await redis.stop();
    place.remove();
  });

  async function makeEvents(tables: string): Promise<void> {
    await postgres.sql('postgres', `create role app login password '${SECRET}'`);
    await postgres.sql('postgres', 'create database events owner app');
    await postgres.sql('events', `set role app; ${tables}`);
  }

  /** It gives up after half a minute, so it is begun here and looked at later. */
  async function lockedBackup(): Promise<typeof locked> {
    await postgres.sql('postgres', 'create database locked');
    await postgres.sql('locked', 'create table small as select 1 as n');
    place.environment['LOCKED_URL'] = postgres.url('locked');
    const locker = spawn(`${postgres.bin}/psql`, ['-X', '-q', '-t', postgres.socketUrl('locked')], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    locker.stdin.write('begin; lock table small; select pg_backend_pid();\n');
    const [said] = (await once(locker.stdout, 'data')) as [Buffer];
    return { locker, pid: String(said).trim(), running: place.run('backup', 'locked', '--json') };
  }

  /** Connections of the next commands. */
  function use(changed: { database?: string; cache?: string }): void {
    place.environment['DATABASE_URL'] = changed.database ?? postgres.url('events', 'app', SECRET);
    place.environment['CACHE_URL'] = changed.cache ?? `redis://:${SECRET}@127.0.0.1:${redis.port}/0`;
  }

  const entriesOf = (source: string): Promise<LedgerEntry[]> => collect(readLedger(vault, source));

  async function backupFails(source: string, message: RegExp, exit = 1): Promise<Ran> {
    const before = await placesOf(vault, source);
    const ran = await refused(place, ['backup', source], exit, message);
    assert.equal(runsOf(ran)[0]?.status, 'failed');
    assert.deepEqual(await placesOf(vault, source), before, 'nothing half is listed');
    assert.equal((await entriesOf(source)).at(-1)?.event, 'failed');
    assert.doesNotMatch(ran.stdout + ran.stderr, new RegExp(SECRET));
    return ran;
  }

  for (const [what, database, message] of [
    ['password', () => postgres.url('events', 'app', `${SECRET}-wrong`), /password authentication failed.*"app"/],
    ['host', () => `postgres://app:${SECRET}@127.0.0.1:1/events`, /127\.0\.0\.1.*refused/s],
    ['host name', () => `postgres://app:${SECRET}@no-such-host.invalid/events`, /no-such-host\.invalid/],
    ['database', () => postgres.url('evnets', 'app', SECRET), /"evnets" does not exist/],
    ['user', () => postgres.url('events', 'nobody', SECRET), /"nobody"/],
    ['scheme', () => `mysql://app:${SECRET}@127.0.0.1/events`, /mysql|postgres/],
  ] as const)
    test(`peers 3A (DBackup #154): a wrong ${what} of PostgreSQL never yields a backup, and names itself`, async () => {
      use({ database: database() });
      try {
        await backupFails('events', message, what === 'scheme' ? ((await place.run('backup', 'events')).code ?? 1) : 1);
        const check = await place.run('check', 'events', '--json');
        assert.equal(check.code, 1, check.stdout);
        assert.doesNotMatch(check.stdout + check.stderr, new RegExp(SECRET));
      } finally {
        use({});
      }
    });

  for (const [what, cache, message] of [
    ['password', () => `redis://:${SECRET}-wrong@127.0.0.1:${redis.port}/0`, /password|WRONGPASS/i],
    ['password that is missing', () => `redis://127.0.0.1:${redis.port}/0`, /password|NOAUTH/i],
    ['port', () => `redis://:${SECRET}@127.0.0.1:1/0`, /127\.0\.0\.1:1\b/],
    ['host', () => `redis://:${SECRET}@no-such-host.invalid:6379/0`, /no-such-host\.invalid/],
  ] as const)
    test(`peers 3A (DBackup #154): a wrong ${what} of Redis never yields a backup, and names itself`, async () => {
      use({ cache: cache() });
      try {
        await backupFails('cache', message);
      } finally {
        use({});
      }
    });

  test('peers 3A: a table of the plan that is not in the database is named', async () => {
    small.plan({
      sources: [`events: { postgres: { url: "\${DATABASE_URL}", tables: [events, evnets] }, ${SCHEDULE} }`],
    });
    try {
      await backupFails('events', /evnets/);
    } finally {
      restorePlan();
    }
  });

  test('a database file and a tree that are gone are failures that name them, not empty backups', async () => {
    const bytes = readFileSync(place.path('app.db'));
    rmSync(place.path('app.db'));
    await backupFails('app', /app\.db/);
    writeFileSync(place.path('app.db'), 'this is no database, and long enough to be looked at'.repeat(20));
    await backupFails('app', /app\.db/);
    writeFileSync(place.path('app.db'), bytes);
    small.plan({ sources: [`tree: { files: { paths: [tree, threes] }, ${SCHEDULE} }`] });
    await backupFails('tree', /threes/);
    restorePlan();
  });

  test('an exclusive lock in the way: exit 1 names the pid that holds it', async () => {
    const ran = await locked.running;
    locked.locker.kill();
    assert.equal(ran.code, 1, ran.stdout);
    assert.equal(ran.json().error?.code, 'source-locked');
    assert.match(ran.json().error?.message ?? '', new RegExp(`\\b${locked.pid}\\b`));
    assert.ok(ran.json().error?.hint);
    assert.equal((await entriesOf('locked')).at(-1)?.event, 'failed');
  });

  test('I7: no secret is in argv of any child, in what is printed, in the vault or in the scratch directory', async () => {
    const said: string[] = [];
    const leaks: string[] = [];
    const programs = new Set<string>();
    const wanted = ['pg_dump', 'psql', 'redis-cli'];
    // One that lives for a few milliseconds may be missed.
    for (let runs = 0; runs < 5 && wanted.some((program) => !programs.has(program)); runs++) {
      const child = place.start(['backup', 'events', 'cache', '--debug']);
      for (const stream of [child.stdout, child.stderr])
        stream?.on('data', (chunk: Buffer) => said.push(String(chunk)));
      let over = false;
      const ended = once(child, 'close').then(([code]) => {
        over = true;
        return code as number | null;
      });
      while (!over) {
        for (const pid of childrenIn(place.directory)) {
          if (commandOf(pid).includes(SECRET)) leaks.push(commandOf(pid));
          programs.add(programOf(pid));
        }
        await sleep(2);
      }
      assert.equal(await ended, 0, said.join(''));
    }
    assert.deepEqual(leaks, []);
    for (const program of wanted)
      assert.ok(programs.has(program), `${program} was seen running, so that its argv was looked at`);
    assert.doesNotMatch(said.join(''), new RegExp(SECRET));
    const inVault = filesBelow(place.path('vault')).filter(({ text }) => text.includes(SECRET));
    assert.deepEqual(
      inVault.map(({ file }) => file),
      [],
    );
    const left = readdirSync(place.path('scratch', `holdfast-${process.getuid?.() ?? 0}`));
    assert.deepEqual(left, []);
  });

  test('peers 3A, I2, I13: a Redis that dies in the middle of its dump is a failed run; the ledger says why, the next run works', async () => {
    await redis.cli(['DEBUG', 'POPULATE', '50000', 'key', '100']);
    // A master that sends its snapshot slowly enough to die in the middle of it.
    await redis.cli(['CONFIG', 'SET', 'rdb-key-save-delay', '100']);
    const running = place.run('backup', 'cache', '--json');
    await until(async () => /rdb_bgsave_in_progress:1/.test(await redis.cli(['INFO', 'persistence'])), 'the dump');
    await sleep(150);
    redis.kill('SIGKILL');
    const ran = await running;
    assert.equal(ran.code, 1, ran.stdout);
    assert.equal(runsOf(ran)[0]?.status, 'failed');
    assert.ok(ran.json().error?.hint, ran.stdout);
    assert.equal((await entriesOf('cache')).at(-1)?.event, 'failed');
    await redis.stop();
    redis = await startRedis(place.path('redis'), { config: [`requirepass ${SECRET}`], password: SECRET });
    await redis.cli(['SET', 'a', '1']);
    use({});
    await good(place.run('backup', 'cache'));
  });

  test('peers 3A (autopostgresqlbackup #2), I2, I13: a PostgreSQL killed in the middle of its dump is a failed run; its leftovers are named in the ledger, the next run works', async () => {
    const folder = place.path('vault', 'backups', 'events', 'daily');
    await postgres.sql(
      'events',
      'set role app; create table more as select id, body from events, generate_series(1, 3)',
    );
    const before = readdirSync(folder);
    const running = place.run('backup', 'events', '--json');
    await until(() => childrenIn(place.directory).some((pid) => programOf(pid) === 'pg_dump'), 'the dump');
    await sleep(100);
    await postgres.crash();
    const ran = await running;
    assert.equal(ran.code, 1, ran.stdout);
    const [run] = runsOf(ran);
    assert.equal(run?.status, 'failed');
    assert.doesNotMatch(ran.stdout + ran.stderr, new RegExp(SECRET));
    const entry = (await entriesOf('events')).at(-1);
    assert.equal(entry?.event, 'failed');
    const left = entry?.details['left'] as string | null;
    if (left !== null) assert.ok(existsSync(place.path('vault', left)), `${left} is where the leftovers lie`);
    for (const id of readdirSync(folder).filter((name) => !before.includes(name)))
      assert.ok(!existsSync(`${folder}/${id}/manifest.json`), 'no manifest, no backup (I1)');
    const { message } = runsOf(ran)[0]?.error ?? { message: '' };
    assert.match(message, /server|connection|terminat|closed/i);
    await postgres.stop();
    postgres = await startPostgres(place.path('pg2'));
    await makeEvents('create table events as select 1 as id');
    use({});
    await good(place.run('backup', 'events'));
  });

  function restorePlan(): void {
    small.plan({
      sources: [
        `events: { postgres: { url: "\${DATABASE_URL}" }, prove: never, ${SCHEDULE} }`,
        `cache: { redis: { url: "\${CACHE_URL}" }, ${SCHEDULE} }`,
        `app: { sqlite: { file: app.db }, ${SCHEDULE} }`,
        `tree: { files: { paths: [tree] }, ${SCHEDULE} }`,
        `locked: { postgres: { url: "\${LOCKED_URL}" }, ${SCHEDULE} }`,
      ],
    });
  }
});
