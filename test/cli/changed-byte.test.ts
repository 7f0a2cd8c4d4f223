import assert from 'node:assert/strict';
import { mkdirSync, statSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { backupFolder, type Manifest } from '#core/manifest';
import type { Place } from '#test/cli/holdfast';
import { flipByte, good, newest, refused, SCHEDULE, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { type PostgresServer, startPostgres } from '#test/servers/postgres';
import { type RedisServer, startRedis } from '#test/servers/redis';

describe('one byte changed in a stored artifact', () => {
  let small: SmallPlan;
  let place: Place;
  let postgres: PostgresServer;
  let redis: RedisServer;

  before(async () => {
    small = await smallPlan();
    place = small.place;
    mkdirSync(place.path('redis'));
    [postgres, redis] = await Promise.all([startPostgres(place.path('pg')), startRedis(place.path('redis'))]);
    await postgres.sql(
      'postgres',
      'create table events as select n as id, md5(n::text) as body from generate_series(1, 300) n',
    );
    await redis.cli(['SET', 'a', '1']);
    place.environment['DATABASE_URL'] = postgres.url('postgres');
    small.plan({
      sources: [
        `events: { postgres: { url: "\${DATABASE_URL}", globals: true }, ${SCHEDULE} }`,
        `cache: { redis: { url: "redis://127.0.0.1:${redis.port}/0" }, ${SCHEDULE} }`,
        `app: { sqlite: { file: app.db }, ${SCHEDULE} }`,
        `tree: { files: { paths: [tree] }, ${SCHEDULE} }`,
      ],
    });
    await good(place.run('check', '--create'));
    await good(place.run('backup', '--all'));
  });
  after(async () => {
    await postgres.stop();
    await redis.stop();
    place.remove();
  });

  for (const [source, count] of [
    ['events', 2],
    ['cache', 1],
    ['app', 1],
    ['tree', 2],
  ] as const)
    test(`peers 3H: anywhere in any artifact of ${source}, it is caught by prove --stored, by prove and by restore, exit 5`, async () => {
      const manifest = await newest(place, source);
      assert.ok(manifest.artifacts.length >= count, manifest.artifacts.map((one) => one.name).join());
      for (const artifact of manifest.artifacts)
        for (const volume of artifact.volumes) {
          const file = place.path('vault', backupFolder(manifest), volume.name);
          const { size } = statSync(file);
          // What a restore into one place does not read (roles, the index) is for the proof to read.
          const isData = /dump|snapshot|tree\.tar/.test(artifact.name);
          const at = isData ? size >> 1 : size - 1;
          flipByte(file, at);
          const ways: string[][] = [['prove', source, '--id', manifest.id]];
          if (isData) ways.unshift(['restore', source, '--id', manifest.id, '--unproven', '--to', target(source)]);
          for (const way of ways) {
            const ran = await refused(place, way, 5, new RegExp(artifact.name.replaceAll('.', '\\.')));
            assert.equal(ran.json().error?.code, 'disproven');
          }
          const stored = await refused(place, ['prove', source, '--id', manifest.id, '--stored'], 5, /./);
          assert.match(stored.json().error?.message ?? '', new RegExp(artifact.name.replaceAll('.', '\\.')));
          flipByte(file, at);
        }
      await refused(place, ['restore', source, '--to', target(source)], 1, /none of the 1 backups/);
      assert.equal((await place.run('status', source)).code, 3);
    });

  function target(source: string): string {
    place.environment['TARGET'] = postgres.url('restored');
    return source === 'events' ? 'env:TARGET' : source === 'cache' ? './cache-out' : `./${source}-out`;
  }

  test('where all that is left is disproven, restore says so, and its hint is another way than the one that was tried', async () => {
    for (const more of [[], ['--unproven']]) {
      const ran = await refused(
        place,
        ['restore', 'app', ...more, '--to', 'hopeless.db'],
        1,
        /none of the 1 backups.* is proven: each was restored, and was not equal/,
      );
      const { id } = await newest(place, 'app');
      assert.match(ran.json().error?.hint ?? '', new RegExp(`--from VAULT.*--id ${id} --unproven$`));
    }
  });

  test('a disproof is not healed by a later success: bytes do not heal, and status rings until there is a new backup', async () => {
    const manifest: Manifest = await newest(place, 'app');
    const again = await place.run('prove', 'app', '--id', manifest.id, '--json');
    assert.equal(again.code, 0, 'the byte is back');
    assert.equal((await place.run('status', 'app')).code, 3);
    await good(place.run('backup', 'app'));
    assert.equal((await place.run('status', 'app')).code, 0);
  });
});
