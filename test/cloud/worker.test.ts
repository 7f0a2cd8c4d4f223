import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { writeWorkerContext } from '#cloud/worker-bundle';
import { EXIT } from '#core/errors';
import type { JobDocument } from '#core/job';
import { outcomesOf } from '#jobs/catalog';
import { childrenIn, programOf } from '#test/cli/children';
import { makeDatabase } from '#test/cli/small-plan';
import { type EndedTask, leftIn, runTask } from '#test/cloud/worker-process';
import { newKey, startTrial, type Trial } from '#test/cloud/worker-trial';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { type PostgresServer, startPostgres } from '#test/servers/postgres';
import { type RedisServer, startRedis } from '#test/servers/redis';

/** As a task is stopped: ECS asks, waits 120 s, and kills. */
const STOP_SECONDS = 100;
const BIG_ROWS = 800_000;

/** Short: PostgreSQL's socket below it may have 107 letters in all. */
const dir = mkdtempSync(join(tmpdir(), 'hf-w'));
chmodSync(dir, 0o711);
const scratch = join(dir, 's');
mkdirSync(scratch);
const key = newKey();
let s3: S3ForTests;
let postgres: PostgresServer;
let redis: RedisServer;
let trial: Trial;

before(async () => {
  // The very files of the image, in a directory where there is nothing else to import.
  writeWorkerContext(join(dir, 'image'));
  mkdirSync(join(dir, 'redis'));
  [s3, postgres, redis] = await Promise.all([
    s3ForTests(),
    startPostgres(join(dir, 'p')),
    startRedis(join(dir, 'redis'), { config: ['requirepass cache-pass-92'] }),
  ]);
  makeDatabase(join(dir, 'app.db'), ['one', 'two']);
  await postgres.sql('postgres', 'create database shop');
  await postgres.sql('postgres', 'create database big');
  await postgres.sql('shop', 'create table events as select n, md5(n::text) as hash from generate_series(1, 5000) n');
  await postgres.sql('big', `create table noise as select n, md5(n::text) from generate_series(1, ${BIG_ROWS}) n`);
  await redis.cli(['-a', 'cache-pass-92', 'SET', 'session:1', 'ann']);
  trial = await startTrial(
    s3,
    key,
    [
      'events:',
      '  postgres: { url: "${DATABASE_URL}" }',
      '  probes: { newest: select max(n) from events }',
      '  schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]',
      'big: { postgres: { url: "${BIG_URL}" }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }] }',
      'cache: { redis: { url: "${REDIS_URL}" }, schedule: [{ every: 4h, tier: daily, to: [cloud] }] }',
      `app: { sqlite: { file: ${join(dir, 'app.db')} }, schedule: [{ every: 4h, tier: daily, to: [cloud] }] }`,
    ],
    {
      DATABASE_URL: postgres.url('shop'),
      BIG_URL: postgres.url('big'),
      REDIS_URL: `redis://:cache-pass-92@127.0.0.1:${redis.port}`,
    },
  );
});

after(async () => {
  await trial?.close();
  await redis?.stop();
  await postgres?.stop();
  await s3?.close();
  rmSync(dir, { recursive: true, force: true });
});

function task(document: JobDocument, stopWhen?: (said: string) => boolean): Promise<EndedTask> {
  return runTask({ image: join(dir, 'image'), scratch }, trial.environmentOf(document), stopWhen);
}

/** Nothing of a run is left on its disk, and none of its children. */
function assertClean(): void {
  assert.deepEqual(leftIn(scratch), []);
}

function assertSaysNoSecret(said: string): void {
  const secrets = [postgres.password, encodeURIComponent(postgres.password), 'cache-pass-92', s3.secretAccessKey];
  const keyLine = key.identity.split('\n').find((line) => line.startsWith('AGE-SECRET-KEY')) as string;
  for (const secret of [...secrets, keyLine]) assert.ok(!said.includes(secret), `a secret was said: ${said}`);
}

async function outcomes(source: string, id: string): Promise<readonly string[]> {
  return ((await outcomesOf(trial.vault, source)).get(id) ?? []).map(({ outcome }) => outcome);
}

describe('the worker, with nothing but the files of its image', () => {
  for (const source of ['events', 'cache', 'app'])
    test(`I7, I9: backs up ${source} without the key, proves it with the key, says no secret, leaves nothing`, async () => {
      const backup = await task(trial.document('backup', source));
      assert.equal(backup.code, EXIT.done, backup.said);
      const [entry] = (await trial.ledgerOf(source)).filter(({ event }) => event === 'backup');
      assert.ok(entry?.id, 'the ledger has the backup');
      assert.match(entry.host, /^fargate:[0-9a-f]{32}$/);
      assert.deepEqual(await outcomes(source, entry.id), [], 'the writer proves nothing');

      const proof = await task(trial.document('prove', source, { id: entry.id }));
      assert.equal(proof.code, EXIT.done, proof.said);
      assert.deepEqual(await outcomes(source, entry.id), ['proven']);
      assertSaysNoSecret(backup.said + proof.said);
      assertClean();
    });

  test('a line of its log is JSON, and names the run', async () => {
    const document = trial.document('backup', 'events');
    const { said } = await task(document);
    for (const line of said.trimEnd().split('\n'))
      assert.equal((JSON.parse(line) as { run: string }).run, document.run, line);
  });

  test('I2, I13: told to stop while it stores, it ends as failed in time, says so in the ledger, and leaves nothing', async () => {
    const document = trial.document('backup', 'big');
    const { code, said, seconds } = await task(document, (heard) => /storing .+ in cloud/.test(heard));
    assert.equal(code, EXIT.failed, said);
    assert.ok(seconds > 0 && seconds < STOP_SECONDS, `it took ${seconds} s to stop`);
    const [failed, ...more] = (await trial.ledgerOf('big')).filter(({ event }) => event === 'failed');
    assert.deepEqual(more, []);
    assert.match(String(failed?.details['message']), /told to stop/);
    assert.equal(failed?.host, `fargate:${document.run}`);
    assert.deepEqual(
      (await Array.fromAsync(trial.vault.list('backups/big/'))).filter((one) => one.key.endsWith('manifest.json')),
      [],
    );
    assertClean();
  });

  test('told to stop while it proves, it ends in time, and leaves no server and no plaintext; the next one proves', async () => {
    assert.equal((await task(trial.document('backup', 'big'))).code, EXIT.done);
    const serves = (): boolean => childrenIn(scratch).some((pid) => programOf(pid) === 'pg_restore');
    const { code, said, seconds } = await task(trial.document('prove', 'big'), serves);
    assert.equal(code, EXIT.failed, said);
    assert.ok(seconds > 0 && seconds < STOP_SECONDS, `it took ${seconds} s to stop`);
    assertClean();
    const again = await task(trial.document('prove', 'big'));
    assert.equal(again.code, EXIT.done, again.said);
    assertClean();
  });
});
