import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { Manifest } from '#core/manifest';
import { Place } from '#test/cli/holdfast';
import {
  good,
  ledgerOf,
  makeDatabase,
  newest,
  notesIn,
  refused,
  SCHEDULE,
  type SmallPlan,
  smallPlan,
} from '#test/cli/small-plan';
import { freshDatabase, type PostgresServer, startPostgres } from '#test/servers/postgres';
import { type RedisServer, startRedis } from '#test/servers/redis';

interface RestoreJson {
  readonly id: string;
  readonly target: string;
  readonly seconds: number;
  readonly verified: boolean;
  readonly steps?: readonly string[];
  readonly bytes?: number;
  readonly expectedSeconds?: number | null;
  readonly refusals?: readonly { readonly code: string; readonly message: string; readonly hint: string | null }[];
}

describe('restore, by the command line', () => {
  let small: SmallPlan;
  let place: Place;
  let postgres: PostgresServer;
  let redis: RedisServer;
  let empty: RedisServer;
  const taken: Manifest[] = [];

  before(async () => {
    small = await smallPlan();
    place = small.place;
    mkdirSync(place.path('r1'));
    mkdirSync(place.path('r2'));
    [postgres, redis, empty] = await Promise.all([
      startPostgres(place.path('pg')),
      startRedis(place.path('r1')),
      startRedis(place.path('r2')),
    ]);
    await postgres.sql('postgres', 'create database events');
    await postgres.sql(
      'events',
      'create table events as select n as id, md5(n::text) as body from generate_series(1, 500) n; create table small as select 1 as n',
    );
    await redis.cli(['SET', 'a', '1']);
    place.environment['DATABASE_URL'] = postgres.url('events');
    place.environment['CACHE_URL'] = `redis://127.0.0.1:${redis.port}/0`;
    plan('');
    await good(place.run('check', '--create'));
    await good(place.run('backup', 'events', 'cache', 'tree'));
    for (const [point, notes] of [
      ['first', ['one']],
      ['second', ['one', 'two']],
    ] as const) {
      makeDatabase(place.path('app.db'), notes);
      await good(place.run('backup', 'app', '--point', point));
      taken.push(await newest(place, 'app'));
    }
    plan('prove: never, ');
    makeDatabase(place.path('app.db'), ['one', 'two', 'three']);
    await good(place.run('backup', 'app'));
    taken.push(await newest(place, 'app'));
    plan('');
  });
  after(async () => {
    await postgres.stop();
    await redis.stop();
    await empty.stop();
    place.remove();
  });

  function plan(forApp: string): void {
    small.plan({
      sources: [
        `events: { postgres: { url: "\${DATABASE_URL}" }, ${SCHEDULE} }`,
        `cache: { redis: { url: "\${CACHE_URL}" }, ${SCHEDULE} }`,
        `app: { sqlite: { file: app.db }, ${forApp}${SCHEDULE} }`,
        `tree: { files: { paths: [tree] }, ${SCHEDULE} }`,
      ],
    });
  }

  async function restored(...args: string[]): Promise<RestoreJson & { readonly warnings: readonly string[] }> {
    const ran = await good(place.run('restore', ...args, '--json'));
    const { warnings } = ran.json();
    return { ...(ran.json().result as RestoreJson), warnings };
  }
  const [first, second, unproven] = [() => taken[0], () => taken[1], () => taken[2]] as const;

  test('the newest proven one is taken, and the newer one that nothing speaks for is named', async () => {
    const result = await restored('app', '--to', './newest');
    assert.equal(result.id, second()?.id);
    assert.ok(result.verified);
    assert.deepEqual(notesIn(result.target), ['one', 'two']);
    assert.match(result.warnings.join(), new RegExp(`newer, but unproven: ${unproven()?.id}.*--unproven`));
  });

  test('--unproven takes it and says that it is not proven; --id without --unproven too, with a warning', async () => {
    const result = await restored('app', '--to', './unproven', '--unproven');
    assert.deepEqual(notesIn(result.target), ['one', 'two', 'three']);
    assert.match(result.warnings.join(), /is unproven/);
  });

  test('--at counts from the snapshot’s time, with any offset; before the first backup it says that there is none', async () => {
    const moment = new Date(Date.parse(second()?.snapshotAt ?? '') - 1);
    const inStockholm = `${new Date(moment.getTime() + 3_600_000).toISOString().slice(0, -1)}+01:00`;
    assert.equal((await restored('app', '--to', './at', '--at', inStockholm)).id, first()?.id);
    assert.equal(
      (await restored('app', '--to', './at2', '--at', second()?.snapshotAt ?? '')).id,
      second()?.id,
      'the very moment is included',
    );
    await refused(
      place,
      ['restore', 'app', '--to', './at3', '--at', '2020-01-01T00:00:00Z'],
      1,
      /none of the 3 backups/,
    );
  });

  test('--point takes the one that was named; an unknown name is exit 1; two choices at once are exit 2', async () => {
    assert.equal((await restored('app', '--to', './point', '--point', 'first')).id, first()?.id);
    await refused(place, ['restore', 'app', '--to', './p', '--point', 'nowhere'], 1, /nowhere/);
    const both = await place.run('restore', 'app', '--to', './p', '--point', 'first', '--id', first()?.id ?? '');
    assert.equal(both.code, 2);
  });

  test('--lsn, --name, --xid and --timeline are known and not there yet: exit 2, with and without a plan', async () => {
    for (const later of ['--lsn', '--name', '--xid', '--timeline'])
      for (const where of [[], ['--vault', 'vault']]) {
        const args = ['restore', 'app', '--to', './later', later, '1', ...where];
        const ran = await refused(place, args, 2, /not there yet/);
        assert.equal(ran.json().error?.code, 'not-there-yet');
      }
  });

  test('--to with nothing in it, an unset variable of a script, is exit 2 and not this directory', async () => {
    await refused(place, ['restore', 'app', '--to', ''], 2, /--to: got nothing/);
  });

  test('--dry-run shows steps, bytes and expected time, and writes nothing', async () => {
    const result = await restored('app', '--to', './dry', '--dry-run');
    assert.ok(result.steps && result.steps.length >= 3);
    assert.ok(Number.isInteger(result.bytes));
    assert.ok((result.expectedSeconds ?? 0) > 0);
    assert.ok(!existsSync(place.path('dry')));
    const text = await good(place.run('restore', 'app', '--to', './dry', '--dry-run'));
    assert.match(text.stdout, /would restore app/);
    assert.match(text.stdout, /about \d+\.\ds, as its last proof took/);
  });

  test('--dry-run says what would be refused as things are: a filled target, one out of reach, a missing key', async () => {
    const filled = await freshDatabase(postgres);
    await postgres.sql(filled, 'create table mine as select 42 as n');
    place.write('in-the-way.db', 'mine');
    mkdirSync(place.path('way'));
    place.write('way/mine', 'mine');
    await empty.cli(['SET', 'mine', '42']);
    const rows: [source: string, target: string, code: string][] = [
      ['events', postgres.url(filled), 'target-not-empty'],
      ['events', 'postgres://u@127.0.0.1:1/x', 'target-unusable'],
      ['cache', `redis://127.0.0.1:${empty.port}`, 'target-not-empty'],
      ['cache', 'redis://127.0.0.1:1', 'target-unusable'],
      ['app', './in-the-way.db', 'target-not-empty'],
      ['tree', './way', 'target-not-empty'],
      ['tree', './in-the-way.db/x', 'target-unusable'],
    ];
    for (const [source, target, code] of rows) {
      place.environment['TARGET'] = target;
      const { refusals } = await restored(source, '--to', 'env:TARGET', '--dry-run');
      assert.deepEqual(
        refusals?.map((one) => one.code),
        [code],
        target,
      );
      assert.ok(refusals?.[0]?.hint, target);
    }
    assert.equal((await empty.cli(['GET', 'mine'])).trim(), '42');
    await empty.cli(['FLUSHALL']);
    const free = [postgres.url('not_yet'), `redis://127.0.0.1:${empty.port}`, './free.db', './free'];
    for (const [index, source] of ['events', 'cache', 'app', 'tree'].entries()) {
      place.environment['TARGET'] = free[index] as string;
      assert.deepEqual((await restored(source, '--to', 'env:TARGET', '--dry-run')).refusals, [], source);
    }
    assert.equal(await postgres.sql('postgres', `select count(*) from pg_database where datname = 'not_yet'`), '0');
    const { refusals } = await restored('app', '--to', './free.db', '--identity', 'nowhere.key', '--dry-run');
    assert.deepEqual(
      refusals?.map(({ code }) => code),
      ['keys-missing'],
    );
    const said = await good(place.run('restore', 'app', '--to', './in-the-way.db', '--dry-run'));
    assert.match(said.stdout, /^as things are it would be refused: .*in-the-way\.db is there already\n {2}hint: /m);
    assert.ok(!existsSync(place.path('free')) && !existsSync(place.path('free.db')));
  });

  test('a target where nothing can be made, as below /proc, is refused at once by every engine', {
    timeout: 60_000,
  }, async () => {
    for (const [source, target] of [
      ['cache', '/proc/holdfast/cache'],
      ['app', '/proc/holdfast/app.db'],
      ['tree', '/proc/holdfast/tree'],
    ] as const)
      await refused(place, ['restore', source, '--to', target], 1, /\/proc\/holdfast.*: ENOENT/);
  });

  test('peers 3B (Barman BAR-787), I11: a target that is not empty is refused by every engine, and stays as it was', async () => {
    const database = await freshDatabase(postgres);
    await postgres.sql(database, 'create table mine as select 42 as n');
    writeFileSync(place.path('there.db'), 'mine');
    mkdirSync(place.path('there'));
    writeFileSync(place.path('there', 'mine'), 'mine');
    await empty.cli(['SET', 'mine', '42']);
    for (const [source, target] of [
      ['events', postgres.url(database)],
      ['cache', `redis://127.0.0.1:${empty.port}/0`],
      ['app', './there.db'],
      ['tree', './there'],
    ] as const) {
      place.environment['TARGET'] = target;
      const ran = await refused(
        place,
        ['restore', source, '--to', target.startsWith('.') ? target : 'env:TARGET'],
        1,
        /./,
      );
      assert.equal(ran.json().error?.code, 'target-not-empty', `${source}: ${ran.stderr}`);
      assert.match(ran.json().error?.hint ?? '', /--overwrite|empty|another/);
    }
    assert.equal(await postgres.sql(database, 'select n from mine'), '42');
    assert.equal((await empty.cli(['GET', 'mine'])).trim(), '42');
    assert.equal(readFileSync(place.path('there.db'), 'utf8'), 'mine');
    assert.deepEqual(readdirSync(place.path('there')), ['mine']);
    await empty.cli(['FLUSHALL']);
  });

  test('peers 3B (PG Back Web #42): PostgreSQL and Redis come back equal, by env:NAME, and no password is printed', async () => {
    place.environment['TARGET'] = postgres.url(await freshDatabase(postgres));
    const result = await restored('events', '--to', 'env:TARGET');
    assert.ok(result.verified);
    const database = decodeURIComponent(new URL(place.environment['TARGET']).pathname.slice(1));
    assert.equal(await postgres.sql(database, 'select count(*) from events'), '500');
    assert.equal(await postgres.dump(database), await postgres.dump('events'));
    const cache = await restored('cache', '--to', `redis://127.0.0.1:${empty.port}/0`);
    assert.ok(cache.verified);
    assert.equal((await empty.cli(['GET', 'a'])).trim(), '1');
    const said = await place.run('restore', 'events', '--to', postgres.url(await freshDatabase(postgres)));
    assert.equal(said.code, 0, said.stderr);
    assert.match(said.stderr, /--to env:NAME hides it/);
    const { password } = postgres;
    for (const form of [password, encodeURIComponent(password)])
      assert.ok(!(said.stdout + said.stderr + JSON.stringify(result)).includes(form), 'the password is not printed');
  });

  test('--only gives back one table, one path; what is not in the backup is named', async () => {
    const database = await freshDatabase(postgres);
    place.environment['TARGET'] = postgres.url(database);
    await restored('events', '--to', 'env:TARGET', '--only', 'small');
    assert.equal(
      await postgres.sql(
        database,
        "select string_agg(relname, ',') from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace",
      ),
      'small',
    );
    const target = place.path('only');
    await restored('tree', '--to', './only', '--only', 'tree/deep/b c.txt');
    const files = readdirSync(target, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    assert.deepEqual(
      files.map((entry) => entry.name),
      ['b c.txt'],
    );
    place.environment['TARGET'] = postgres.url(await freshDatabase(postgres));
    await refused(place, ['restore', 'events', '--to', 'env:TARGET', '--only', 'smal'], 2, /smal/);
    await refused(place, ['restore', 'tree', '--to', './only2', '--only', 'tree/nope'], 2, /nope/);
  });

  test('afterRestore runs in the plan’s directory; when it fails the restore stays good, exit 3, and the ledger says restored', async () => {
    plan('afterRestore: ["pwd > here; echo $HOLDFAST_SOURCE >> here", "echo it broke >&2; exit 9", "touch never"], ');
    const elsewhere = new Place(place.environment);
    try {
      const ran = await elsewhere.run(
        'restore',
        'app',
        '--to',
        './app-back',
        '--plan',
        place.path('holdfast.yaml'),
        '--json',
      );
      assert.equal(ran.code, 3, ran.stderr);
      assert.equal((ran.json().result as RestoreJson).verified, true);
      assert.deepEqual(notesIn((ran.json().result as RestoreJson).target), ['one', 'two']);
      assert.equal(ran.json().error?.code, 'partly-done');
      assert.match(ran.json().error?.message ?? '', /exit 9.*exit code 9: it broke/);
      assert.match(ran.json().error?.hint ?? '', /`touch never`/);
      assert.equal(readFileSync(place.path('here'), 'utf8'), `${place.directory}\napp\n`);
      assert.ok(!existsSync(place.path('never')));
      const entry = (await ledgerOf(place, 'app')).at(-1);
      assert.deepEqual([entry?.event, entry?.details['restored']], ['restore', true]);
    } finally {
      elsewhere.remove();
      plan('');
    }
  });

  test('a failed restore is in the ledger too, without secrets; targets that cannot be reached are told as that', async () => {
    place.environment['TARGET'] = 'postgres://u:Zq7secretZq@127.0.0.1:1/x';
    const ran = await refused(place, ['restore', 'events', '--to', 'env:TARGET'], 1, /127\.0\.0\.1/);
    assert.doesNotMatch(ran.stdout + ran.stderr, /Zq7secretZq/);
    const entry = (await ledgerOf(place, 'events')).at(-1);
    assert.deepEqual([entry?.event, entry?.details['restored']], ['restore', false]);
    assert.doesNotMatch(JSON.stringify(entry), /Zq7secretZq/);
    await refused(place, ['restore', 'events', '--to', 'env:NOT_SET_AT_ALL'], 2, /NOT_SET_AT_ALL/);
    await refused(place, ['restore', 'app', '--to', './x', '--from', 'nowhere'], 2, /"nowhere".*here/);
    await refused(place, ['restore', 'nope', '--to', './x'], 2, /"nope".*app/);
  });

  test('with a plan, --identity takes the place of the plan’s', async () => {
    await good(place.run('keygen', '--out', 'other.key'));
    await refused(place, ['restore', 'app', '--to', './other', '--identity', 'other.key'], 1, /does not open/);
    await refused(place, ['restore', 'app', '--to', './other', '--identity', 'absent.key'], 2, /absent\.key/);
  });
});
