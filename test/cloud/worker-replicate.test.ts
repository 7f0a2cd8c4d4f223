import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import { writeWorkerContext } from '#cloud/worker-bundle';
import { EXIT } from '#core/errors';
import { hostOfRun, type JobDocument } from '#core/job';
import type { LedgerEntry } from '#core/ledger';
import { outcomesOf, placesOf } from '#jobs/catalog';
import { verifyLedger } from '#jobs/ledger-verify';
import { makeDatabase } from '#test/cli/small-plan';
import { type EndedTask, leftIn, runTask } from '#test/cloud/worker-process';
import { newKey, startTrial, type Trial } from '#test/cloud/worker-trial';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { acquireLease, openLease } from '#vault/lease';
import { readLedger } from '#vault/ledger-store';
import type { S3Vault } from '#vault/s3-vault';

const BIG_BYTES = 120 * 2 ** 20;
const STOP_SECONDS = 100;
/** I8, for the one process that there is. */
const MOST_MEMORY = 256 * 2 ** 20;

const dir = mkdtempSync(join(tmpdir(), 'hf-wr'));
chmodSync(dir, 0o711);
const scratch = join(dir, 's');
mkdirSync(scratch);
const key = newKey();
let s3: S3ForTests;
let trial: Trial;
let far: S3Vault;

before(async () => {
  writeWorkerContext(join(dir, 'image'));
  makeDatabase(join(dir, 'app.db'), ['one', 'two']);
  mkdirSync(join(dir, 'big'));
  writeFileSync(join(dir, 'big/noise'), randomFillSync(Buffer.alloc(BIG_BYTES)));
  s3 = await s3ForTests();
  const nightly = 'schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]';
  const sources = [
    `app: { sqlite: { file: ${join(dir, 'app.db')} }, ${nightly} }`,
    `big: { files: { paths: [${join(dir, 'big')}] }, ${nightly} }`,
  ];
  trial = await startTrial(s3, key, sources, {}, { replica: true });
  assert.ok(trial.replica);
  far = trial.replica;
});

after(async () => {
  await trial?.close();
  await s3?.close();
  rmSync(dir, { recursive: true, force: true });
});

function task(document: JobDocument, stopWhen?: (said: string) => boolean): Promise<EndedTask> {
  return runTask({ image: join(dir, 'image'), scratch }, trial.environmentOf(document), stopWhen);
}

async function contentOf(vault: S3Vault, prefix: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { key: name } of vault.list(prefix))
    found[name] = Buffer.from(await vault.get(name)).toString('base64');
  return found;
}

const ledgerOf = (source: string): Promise<LedgerEntry[]> => Array.fromAsync(readLedger(far, source));

async function uploads(): Promise<number> {
  const { endpoint, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const client = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true });
  try {
    const Bucket = new URL(far.url).host;
    return (await client.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads?.length ?? 0;
  } finally {
    client.destroy();
  }
}

describe('the worker, told to replicate', () => {
  test('I3, I7, I9, I15: a real backup with its proof goes byte for byte into the second bucket, without the key', async () => {
    assert.equal((await task(trial.document('backup', 'app'))).code, EXIT.done);
    assert.equal((await task(trial.document('prove', 'app'))).code, EXIT.done);
    const document = trial.document('replicate', 'app');
    const environment = trial.environmentOf(document);
    assert.ok(!('HOLDFAST_IDENTITY' in environment));
    const { code, said } = await task(document);
    assert.equal(code, EXIT.done, said);

    for (const folder of ['backups/app/', 'proofs/app/'])
      assert.deepEqual(await contentOf(far, folder), await contentOf(trial.vault, folder));
    const [place] = await placesOf(far, 'app');
    const outcomes = (await outcomesOf(far, 'app')).get(place?.id ?? '') ?? [];
    assert.deepEqual(
      outcomes.map(({ outcome }) => outcome),
      ['proven'],
    );
    const entries = await ledgerOf('app');
    assert.deepEqual(
      entries.map(({ event, host }) => [event, host]),
      [
        ['copied-from', hostOfRun(document)],
        ['copied-from', hostOfRun(document)],
      ],
    );
    assert.deepEqual((await verifyLedger(far, 'app')).findings, []);
    assert.equal(await openLease(far, { source: 'app', job: 'replicate' }, () => false), null);
    for (const secret of [s3.secretAccessKey, 'AGE-SECRET-KEY']) assert.ok(!said.includes(secret), said);
    assert.deepEqual(leftIn(scratch), []);

    const again = await task(trial.document('replicate', 'app'));
    assert.equal(again.code, EXIT.done, again.said);
    assert.match(again.said, /app: 0 of 0 copied/);
    assert.equal((await ledgerOf('app')).length, 2);
  });

  test('I1, I12, I13: told to stop while it copies: nothing half is visible, no upload and no lease stays; the next one copies all', async () => {
    assert.equal((await task(trial.document('backup', 'big'))).code, EXIT.done);
    let uploading = false;
    let over = false;
    const looking = (async () => {
      while (!uploading && !over) uploading = (await uploads()) > 0;
    })();
    const stopped = await task(trial.document('replicate', 'big'), () => uploading);
    over = true;
    await looking;
    assert.ok(uploading, 'it was stopped before it began');
    assert.equal(stopped.code, EXIT.failed, stopped.said);
    assert.ok(stopped.seconds > 0 && stopped.seconds < STOP_SECONDS, `it took ${stopped.seconds} s to stop`);
    assert.match(stopped.said, /stopped while copying|told to stop/);
    assert.deepEqual(await placesOf(far, 'big'), []);
    assert.equal(await uploads(), 0);
    assert.equal(await openLease(far, { source: 'big', job: 'replicate' }, () => false), null);
    assert.deepEqual(leftIn(scratch), []);

    const whole = await task(trial.document('replicate', 'big'));
    assert.equal(whole.code, EXIT.done, whole.said);
    assert.equal((await placesOf(far, 'big')).length, 1);
    assert.deepEqual((await verifyLedger(far, 'big')).findings, []);
    assert.ok(whole.peak > 0 && whole.peak < MOST_MEMORY, `I8: ${whole.peak} bytes of memory`);
  });

  test('I12: another task that lives: busy, and nothing is touched', async () => {
    assert.equal((await task(trial.document('backup', 'app'))).code, EXIT.done);
    const holder = { host: 'fargate:other', pid: 1, start: null, boot: null, namespace: null };
    const clock = { now: () => new Date(), sleep: async () => undefined };
    const lease = await acquireLease(far, { source: 'app', job: 'replicate', holder }, clock, () => false);
    const { code, said } = await task(trial.document('replicate', 'app'));
    assert.equal(code, EXIT.busy, said);
    assert.equal((await placesOf(far, 'app')).length, 1);
    await lease.release();
    assert.equal((await task(trial.document('replicate', 'app'))).code, EXIT.done);
    assert.equal((await placesOf(far, 'app')).length, 2);
  });
});
