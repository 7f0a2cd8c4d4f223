import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { good, runsOf, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { newServer, ODD_SCHEMA } from '#test/engines/postgres/kit';
import { fillWithEverything } from '#test/engines/redis/data';
import { blocksOf, followPage } from '#test/jobs/follow-page';
import { s3ForTests } from '#test/servers/ceph';
import type { PostgresServer } from '#test/servers/postgres';
import { type RedisServer, startRedis } from '#test/servers/redis';

const DAILY = 'schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }]';

/** What is in a tree, by name: kind, mode, time, and each file's sha256. */
function treeSum(folder: string): string {
  const script =
    "find . -printf '%P %y %m %T@ %l\\n' | LC_ALL=C sort; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum";
  return execFileSync('sh', ['-c', script], { cwd: folder, encoding: 'utf8' });
}

function sqliteDump(file: string): string {
  return execFileSync('sqlite3', ['-readonly', file, '.dump'], { encoding: 'utf8' });
}

/** Roles were made in another order there, and a policy lists its own in that order. */
function rolesSorted(dump: string): string {
  return dump.replace(
    /^(CREATE POLICY .* TO )(.*)( USING .*)$/gm,
    (_line, before: string, roles: string, rest: string) => `${before}${roles.split(', ').sort().join(', ')}${rest}`,
  );
}

describe('RUNBOOK.md, followed word by word without Holdfast', () => {
  let small: SmallPlan;
  let source: PostgresServer;
  let target: PostgresServer;
  let redis: RedisServer;
  let page = '';
  let followed = { code: -1 as number | null, said: '' };
  const home = (): string => small.place.path('home');

  before(async () => {
    small = await smallPlan();
    const { place } = small;
    [source, target] = await Promise.all([newServer(), newServer()]);
    await source.sql('postgres', 'create database odd');
    await source.file('odd', ODD_SCHEMA);
    await source.sql('postgres', "create role anna login password 'annas secret'");
    mkdirSync(place.path('redis'));
    redis = await startRedis(place.path('redis'));
    await fillWithEverything(redis);
    writeFileSync(place.path('tree', 'it\'s "odd" ünï.txt'), 'odd');
    writeFileSync(place.path('tree', 'ends in ```'), '');
    symlinkSync('a.json', place.path('tree', 'link'));
    place.write('.env', `PG_URL=${source.url('odd')}\nREDIS_URL=redis://127.0.0.1:${redis.port}\n`);
    small.plan({
      sources: [
        'events:',
        '  postgres: { url: "${PG_URL}", globals: true }',
        '  probes: { users: \'select count(*), null, now() > to_timestamp(0) from public."User"\' }',
        '  afterRestore: ["echo ```resumed"]',
        `  ${DAILY}`,
        `cache: { redis: { url: "\${REDIS_URL}" }, ${DAILY} }`,
        'app:',
        '  sqlite: { file: app.db }',
        '  probes: { newest: select text from notes order by id desc limit 1 }',
        `  ${DAILY}`,
        `tree: { files: { paths: [tree] }, ${DAILY} }`,
      ],
    });
    await good(place.run('check', '--create'));
    const runs = runsOf(await good(place.run('backup', '--all', '--json')));
    assert.deepEqual(
      runs.map(({ proof }) => proof),
      ['proven', 'proven', 'proven', 'proven'],
    );
    page = readFileSync(place.path('vault', 'RUNBOOK.md'), 'utf8');
    await target.sql('postgres', 'create database back template template0');
    followed = await followPage(page, home(), (name, there) => {
      if (name === 'KEY') return place.path('holdfast.key');
      return name === 'TARGET' && there.includes('postgresql:') ? target.socketUrl('back') : null;
    });
    if (process.env['SHOW']) console.error(page, followed.said);
  });
  after(async () => {
    await Promise.all([source?.stop(), target?.stop(), redis?.stop()]);
    small.place.remove();
  });

  test('I6, done when 5: every block of the page runs, and says that all is equal', () => {
    assert.equal(followed.code, 0, followed.said);
    for (const said of [
      'this key opens the backups',
      'events: loaded',
      'events: every table has its rows',
      'cache: loaded',
      'app: loaded',
      'integrity_check: ok',
      'tree: loaded',
      'tree: every one of these files has its sha256',
    ])
      assert.ok(followed.said.includes(`${said}\n`), `${said}\n\n${followed.said}`);
    assert.doesNotMatch(followed.said, /FAILED|[Ee]rror|No such file|not found/);
  });

  test('what it says to expect of the restored copy is what the copy answers', () => {
    const expected = blocksOf(page).filter(({ info }) => info === 'text');
    const [probes = '', keyspace = '', app = ''] = expected
      .map(({ text }) => text)
      .filter((text) => !text.includes('resumed'));
    assert.ok(probes.startsWith('probe users:\n'));
    assert.ok(followed.said.includes(probes), `${probes}\n\n${followed.said}`);
    for (const line of keyspace.trim().split('\n'))
      assert.ok(followed.said.includes(line.replace(/…$/, '')), `${line}\n\n${followed.said}`);
    assert.ok(app.includes('2|notes\nprobe newest:\ntwo\n'), app);
    assert.ok(followed.said.includes(app), followed.said);
  });

  test('PostgreSQL: pg_dump of what came back is equal, roles with their passwords included', async () => {
    assert.equal(rolesSorted(await target.dump('back')), rolesSorted(await source.dump('odd')));
    const login = "select rolcanlogin, rolpassword is not null from pg_authid where rolname = 'anna'";
    assert.equal(await target.sql('postgres', login), 't|t');
  });

  test('Redis: a server of the directory that came back has the same content', async () => {
    const back = await startRedis(join(home(), 'restored', 'cache'), { config: ['appendonly yes'] });
    try {
      assert.equal(await back.cli(['debug', 'digest']), await redis.cli(['debug', 'digest']));
    } finally {
      await back.stop();
    }
  });

  test('SQLite and files: the dump is equal, and every name, mode, time and sha256', () => {
    const { place } = small;
    assert.equal(sqliteDump(join(home(), 'restored', 'app.db')), sqliteDump(place.path('app.db')));
    assert.equal(treeSum(join(home(), 'restored', 'tree', 'tree')), treeSum(place.path('tree')));
  });

  test('I7: nothing secret is on the page', () => {
    const key = /AGE-SECRET-KEY-1\w+/.exec(readFileSync(small.place.path('holdfast.key'), 'utf8'))?.[0] ?? '';
    assert.ok(key.length > 40);
    for (const secret of [key, source.password, encodeURIComponent(source.password), 'annas secret'])
      assert.ok(!page.includes(secret));
    assert.ok(page.includes('`${PG_URL}`'), 'variables stand as in the plan');
  });

  test('its scripts can be cut out of it by the one line that it gives', () => {
    const [, line = ''] = /at once: `(sed [^`]*)`/.exec(page) ?? [];
    const folder = small.place.path('cut');
    mkdirSync(folder);
    writeFileSync(join(folder, 'RUNBOOK.md'), page);
    execFileSync('sh', ['-c', line], { cwd: folder });
    for (const name of ['events', 'cache', 'app', 'tree']) {
      const cut = readFileSync(join(folder, `restore-${name}.sh`), 'utf8');
      assert.equal(cut, readFileSync(join(home(), 'restored', `restore-${name}.sh`), 'utf8'));
    }
  });

  test('a byte changed in the vault is found by the page before anything is loaded', async () => {
    const { place } = small;
    const copy = place.path('copy');
    execFileSync('cp', ['-r', place.path('vault'), copy]);
    const [line = ''] = /^[0-9a-f]{64} {2}backups\/app\/.*$/m.exec(page) ?? [];
    const volume = join(copy, line.slice(66));
    const bytes = readFileSync(volume);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
    execFileSync('rm', ['-f', volume]);
    writeFileSync(volume, bytes);
    const again = await followPage(page, place.path('home2'), (name, there) => {
      if (name === 'KEY') return place.path('holdfast.key');
      if (name === 'VAULT') return copy;
      return name === 'TARGET' && there.includes('postgresql:') ? target.socketUrl('back') : null;
    });
    assert.match(again.said, /snapshot\.db\.zst\.age: FAILED/);
    assert.doesNotMatch(again.said, /app: loaded/);
    assert.ok(!existsSync(join(place.path('home2'), 'restored', 'app.db')));
    assert.match(again.said, /tree: every one of these files/, 'the others still come back');
    assert.match(again.said, /TARGET holds \d+ objects already/, 'I11: nothing goes over what is there');
  });
});

describe('RUNBOOK.md of a bucket', () => {
  test('fetches each backup with curl alone, and restores from the copy', async () => {
    const s3 = await s3ForTests();
    const small = await smallPlan({ S3_KEY: s3.accessKeyId, S3_SECRET: s3.secretAccessKey });
    try {
      const { place } = small;
      small.plan({
        vaults: `{ here: { s3: ${s3.bucket}, prefix: a/b, endpoint: "${s3.endpoint}", region: us-east-1, accessKeyId: "\${S3_KEY}", secretAccessKey: "\${S3_SECRET}" } }`,
      });
      await good(place.run('check', '--create'));
      await good(place.run('backup', '--all'));
      const printed = await good(place.run('runbook', '--from', 'here', '--json'));
      const { text } = printed.json().result as { text: string };
      const { code, said } = await followPage(text, place.path('home'), (name) => {
        if (name === 'KEY') return place.path('holdfast.key');
        if (name === 'AWS_ACCESS_KEY_ID') return s3.accessKeyId;
        return name === 'AWS_SECRET_ACCESS_KEY' ? s3.secretAccessKey : null;
      });
      assert.equal(code, 0, said);
      assert.match(said, /app: loaded/);
      assert.match(said, /tree: every one of these files has its sha256/);
      assert.equal(sqliteDump(place.path('home/restored/app.db')), sqliteDump(place.path('app.db')));
      assert.equal(treeSum(place.path('home/restored/tree/tree')), treeSum(place.path('tree')));
      assert.ok(!text.includes(s3.secretAccessKey));
      // The page in the vault is the same, but for its time.
      const bare = await place.run('runbook', '--vault', `s3://${s3.bucket}/a/b`, '--json');
      assert.equal(bare.code, 1, 'without credentials the bucket cannot be read');
    } finally {
      small.place.remove();
      await s3.close();
    }
  });
});
