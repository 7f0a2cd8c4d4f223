import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { CreateBucketCommand, GetObjectRetentionCommand, S3Client } from '@aws-sdk/client-s3';
import { loadPlan } from '#core/plan-load';
import { verifyLedger } from '#jobs/ledger-verify';
import { retainTrouble } from '#jobs/retain';
import type { Retained } from '#jobs/retain-result';
import { AgedWorld, keepOf } from '#test/jobs/aged-world';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { errorXml, type FaultyS3, type Seen, startFaultyS3 } from '#test/servers/faulty-s3';
import type { MemoryVault } from '#test/vault/memory-vault';
import { createVaultIdentity } from '#vault/identity';
import { PACE } from '#vault/s3-client';
import { S3Vault } from '#vault/s3-vault';

const DAY = 86_400_000;

describe('retain renews locks', () => {
  let s3: S3ForTests;
  let faulty: FaultyS3;
  let client: S3Client;
  before(async () => {
    s3 = await s3ForTests();
    faulty = await startFaultyS3(s3.endpoint);
    client = new S3Client({ endpoint: s3.endpoint, forcePathStyle: true, region: 'us-east-1', credentials: s3 });
  });
  after(async () => {
    client?.destroy();
    await faulty?.stop();
    await s3?.close();
  });

  async function lockedWorld(lock = 'lock: governance', ObjectLockEnabledForBucket = true) {
    faulty.onRequest(() => null);
    const bucket = `locks-${randomBytes(6).toString('hex')}`;
    await client.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket }));
    const vault = new S3Vault({
      name: 'here',
      settings: { bucket, prefix: 'prod', region: null, endpoint: faulty.endpoint, credentials: s3, sse: null },
      pace: { ...PACE, attempts: 2, firstMs: 1, longestMs: 2 },
    });
    await createVaultIdentity(vault, { plan: 'aged', id: 'here', created: new Date('2020-01-01') });
    const world = new AgedWorld({ now: new Date().toISOString() });
    world.plan = loadPlan(
      `version: 1
name: aged
encryption: none
vaults: { here: { s3: ${bucket}, prefix: prod, endpoint: "${faulty.endpoint}", ${lock} } }
tiers: { daily: { keep: 30d }, yearly: { keep: forever } }
sources: { app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tiers: [daily, yearly], to: [here] }] } }
`,
      'holdfast.yaml',
    );
    world.vaults.set('here', vault as unknown as MemoryVault);
    const lockOf = async (tier: string, id: string, name: string) => {
      const Key = `prod/backups/app/${tier}/${id}/${name}`;
      try {
        const { Retention } = await client.send(new GetObjectRetentionCommand({ Bucket: bucket, Key }));
        return { mode: Retention?.Mode, days: days(Retention?.RetainUntilDate) };
      } catch {
        return null;
      }
    };
    return { world, vault, lockOf };
  }
  const days = (until: Date | undefined): number => Math.round(((until?.getTime() ?? 0) - Date.now()) / DAY);
  const forever = { tier: 'yearly', keep: null } as const;
  const isLock = ({ query }: Seen): boolean => query.has('retention');
  const asked = (method: string): number => faulty.seen.filter((seen) => isLock(seen) && seen.method === method).length;
  const renewedIn = ({ renewed }: Retained): [string, number][] =>
    renewed.map(({ id, until }) => [id, days(new Date(until))]);

  test('what is kept for ever is locked anew for lockFor, artifacts and manifest, and then left alone', async () => {
    const { world, vault, lockOf } = await lockedWorld();
    const [old, fresh] = [await world.add(210, forever), await world.add(1, forever)];
    const [manifest, artifact] = ['manifest.json', 'snapshot.db.zst'].map(
      (name) => `backups/app/yearly/${old}/${name}`,
    );
    // As it was put on 210 days ago, for a year.
    await vault.keeping.extendLock([manifest, artifact] as string[], {
      mode: 'governance',
      until: new Date(Date.now() + 155 * DAY),
    });
    const dry = await world.retain({ dryRun: true });
    assert.deepEqual(renewedIn(dry), [[old, 365]]);
    assert.equal(dry.renewed[0]?.done, false);
    assert.deepEqual(await lockOf('yearly', old, 'manifest.json'), { mode: 'GOVERNANCE', days: 155 });
    const ran = await world.retain();
    assert.deepEqual(renewedIn(ran), [[old, 365]]);
    assert.equal(retainTrouble(ran), null);
    for (const name of ['manifest.json', 'snapshot.db.zst'])
      assert.deepEqual(await lockOf('yearly', old, name), { mode: 'GOVERNANCE', days: 365 });
    assert.equal(await lockOf('yearly', fresh, 'manifest.json'), null, 'today is not its day');
    faulty.seen.length = 0;
    assert.deepEqual(renewedIn(await world.retain()), []);
    assert.deepEqual([asked('GET'), asked('PUT')], [1, 0], 'one look, at the manifest');
    assert.deepEqual((await verifyLedger(vault, 'app')).findings, [], 'a renewal is no word of the ledger');
  });

  test('what is held, or kept beyond its promise, is locked a month at a time; what ends with its promise is not', async () => {
    const { world, lockOf } = await lockedWorld('lock: governance, lockFor: 2y');
    const [held, plain] = [await world.add(12), await world.add(6)];
    await world.add(1);
    const hold = { format: 1, source: 'app', id: held, reason: 'audit', at: new Date().toISOString(), host: 'h' };
    await world.vault().putOnce(`holds/app/${held}.json`, Buffer.from(JSON.stringify(hold)));
    const ran = await world.retain();
    assert.deepEqual(ran.stopped, []);
    assert.deepEqual(renewedIn(ran), [[held, 30]]);
    assert.equal(ran.renewed[0]?.why, 'held');
    assert.deepEqual(await lockOf('daily', held, 'snapshot.db.zst'), { mode: 'GOVERNANCE', days: 30 });
    assert.equal(await lockOf('daily', plain, 'manifest.json'), null);

    const alone = await lockedWorld();
    const newestProven = await alone.world.add(33);
    const stale = await alone.world.retain();
    assert.deepEqual(
      stale.renewed.map(({ id, why }) => [id, why]),
      [[newestProven, 'kept beyond its promise']],
    );
    assert.equal((await alone.lockOf('daily', newestProven, 'manifest.json'))?.days, 30);
  });

  test('I5: a renewal that is refused is told (exit 3), names the right, and keeps nothing from being removed', async () => {
    const { world } = await lockedWorld();
    const [over, kept] = [await world.add(49), await world.add(14, forever)];
    await world.add(1);
    faulty.onRequest((seen) =>
      isLock(seen) && seen.method === 'PUT' ? { answer: { status: 403, body: errorXml('AccessDenied') } } : null,
    );
    const ran = await world.retain();
    assert.equal(ran.decisions.find(({ id }) => id === over)?.done, 'removed');
    assert.deepEqual(ran.stopped, []);
    assert.deepEqual(ran.renewed, []);
    const trouble = retainTrouble(ran);
    assert.equal(trouble?.exit, 3);
    assert.match(
      trouble?.message ?? '',
      /^app in here: locks that run out could not be renewed: PutObjectRetention of .*/,
    );
    assert.match(trouble?.message ?? '', new RegExp(kept));
    assert.match(trouble?.hint ?? '', /allow s3:PutObjectRetention/);
    faulty.onRequest((seen) => (isLock(seen) ? { answer: { status: 403, body: errorXml('AccessDenied') } } : null));
    const dry = await world.retain({ dryRun: true });
    assert.equal(retainTrouble(dry), null, 'who may only look is told, and that is all');
    assert.match(dry.warnings.join(), /whether locks of app in here run out is not known/);
  });

  test('peers 3D: one that is killed between two objects is gone on with by the next run, as the manifest’s lock is the last', async () => {
    const { world, lockOf } = await lockedWorld();
    const id = await world.add(21, forever);
    await world.add(1);
    faulty.onRequest((seen) =>
      isLock(seen) && seen.method === 'PUT' && seen.path.endsWith('manifest.json') ? { cut: 'before' } : null,
    );
    const broken = await world.retain();
    assert.match(broken.notRenewed[0]?.code ?? '', /^vault-/);
    assert.equal((await lockOf('yearly', id, 'snapshot.db.zst'))?.days, 365);
    assert.equal(await lockOf('yearly', id, 'manifest.json'), null);
    faulty.onRequest(() => null);
    assert.deepEqual(renewedIn(await world.retain()), [[id, 365]]);
    assert.equal((await lockOf('yearly', id, 'manifest.json'))?.days, 365);
  });

  test('compliance stays compliance, though the plan says governance by now', async () => {
    const { world, vault, lockOf } = await lockedWorld();
    const id = await world.add(14, forever);
    await world.add(1);
    const folder = `backups/app/yearly/${id}`;
    const lock = { mode: 'compliance', until: new Date(Date.now() + 3 * DAY) } as const;
    await vault.keeping.extendLock([`${folder}/snapshot.db.zst`, `${folder}/manifest.json`], lock);
    await world.retain();
    assert.deepEqual(await lockOf('yearly', id, 'manifest.json'), { mode: 'COMPLIANCE', days: 365 });
  });

  test('a bucket without Object Lock is told, once a source; a thousand backups cost a seventh of that many looks', async () => {
    const { world } = await lockedWorld('lock: governance', false);
    const ids: string[] = [];
    for (let age = 1; age <= 21; age++)
      ids.push(await world.add(age, { ...forever, keep: age === 1 ? keepOf('30d') : null }));
    faulty.seen.length = 0;
    const ran = await world.retain();
    assert.equal(ran.notRenewed.length, 1);
    assert.equal(retainTrouble(ran)?.exit, 3);
    assert.ok(asked('GET') <= 3, `${asked('GET')} looks`);
    assert.equal(ran.decisions.length, ids.length);
  });
});
