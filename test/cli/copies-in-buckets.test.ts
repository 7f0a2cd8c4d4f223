import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { CreateBucketCommand, DeleteObjectCommand, HeadObjectCommand, S3Client } from '@aws-sdk/client-s3';
import type { Manifest } from '#core/manifest';
import type { Ran } from '#test/cli/holdfast';
import { good, newest, notesIn, refused, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';

const run = promisify(execFile);

interface Checks {
  readonly checks: readonly {
    readonly name: string;
    readonly ok: boolean | null;
    readonly message: string;
    readonly hint: string | null;
  }[];
}

describe('copies in buckets', () => {
  let small: SmallPlan;
  let s3: S3ForTests;
  let client: S3Client;
  const locked = `lock-${randomBytes(6).toString('hex')}`;
  before(async () => {
    s3 = await s3ForTests();
    small = await smallPlan({ SPACES_KEY: s3.accessKeyId, SPACES_SECRET: s3.secretAccessKey });
    client = new S3Client({ endpoint: s3.endpoint, forcePathStyle: true, region: 'us-east-1', credentials: s3 });
    await client.send(new CreateBucketCommand({ Bucket: locked, ObjectLockEnabledForBucket: true }));
    small.plan({
      vaults: `
  ssd: { disk: ./vault, replica: { vault: space } }
  space: { s3: ${locked}, prefix: prod, lock: governance, replica: { vault: nyc, lag: 5m }, ${keys()} }
  nyc: { s3: ${s3.bucket}, ${keys()} }
`,
      tiers: '{ daily: { keep: 90d, class: infrequent }, yearly: { keep: forever } }',
      sources: [
        'app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tiers: [daily, yearly], to: [ssd] }] }',
      ],
    });
  });
  after(async () => {
    small?.place.remove();
    client?.destroy();
    await s3?.close();
  });

  const keys = (): string =>
    `endpoint: "${s3.endpoint}", accessKeyId: "\${SPACES_KEY}", secretAccessKey: "\${SPACES_SECRET}"`;
  const checksOf = (ran: Ran): Checks['checks'] => (ran.json().result as Checks).checks;

  test('check counts copies, media and sites, and says what a store does not do, storing nothing for it', async () => {
    const ran = await small.place.run('check', '--create', '--json');
    const checks = checksOf(ran);
    // This store has Object Lock only with versioning, and with versioning it ignores If-None-Match: other stores do both.
    assert.equal(ran.code, 1);
    const wrong = checks.filter(({ ok }) => ok === false);
    assert.deepEqual(
      wrong.map(({ name }) => name),
      ['vault space'],
    );
    assert.match(wrong[0]?.message ?? '', /ignores If-None-Match/);
    assert.match(wrong[0]?.hint ?? '', /only in buckets without versioning and Object Lock/);
    const copies = checks.find(({ name }) => name === 'app: copies');
    assert.equal(copies?.ok, true);
    assert.equal(
      copies?.message,
      '4 copies with the source itself, on 3 media, at 1 site; 3-2-1 lacks a copy at another site',
      'a store on this machine is no other site',
    );
    assert.match(copies?.hint ?? '', /replica: \{ vault: NAME \}/);
    const said = checks.filter(({ message }) => /default class/.test(message)).map(({ name, ok }) => [name, ok]);
    assert.deepEqual(said, [
      ['vault space', true],
      ['vault nyc', true],
    ]);
    assert.match(
      checks.find(({ message }) => /STANDARD_IA/.test(message))?.message ?? '',
      /knows no class STANDARD_IA/,
    );
  });

  test('a lock on a bucket that has none is wrong, and the copy is made and says so all the same', async () => {
    const plain = await s3.another();
    const text = readFileSync(small.place.path('holdfast.yaml'), 'utf8');
    small.place.write('unlocked.yaml', text.replace(locked, plain));
    const ran = await small.place.run('check', '--create', '--plan', 'unlocked.yaml', '--json');
    assert.equal(ran.code, 1);
    const wrong = checksOf(ran).filter(({ ok }) => ok === false);
    assert.equal(wrong.length, 1);
    assert.match(wrong[0]?.message ?? '', /has no Object Lock: stored without the plan's lock: governance/);
    await good(small.place.run('backup', 'app', '--tier', 'daily'));
    const copied = await good(small.place.run('replicate', '--plan', 'unlocked.yaml', '--to', 'space', '--json'));
    assert.ok(copied.json().warnings.some((warning) => /no Object Lock/.test(warning)));
  });

  test('from disk to bucket to bucket: locked until a day before it expires, for ever for a year', async () => {
    await good(small.place.run('backup', 'app', '--tier', 'yearly'));
    const first = await good(small.place.run('replicate', '--json'));
    // The second bucket gets what the first one gets in the same run: it belongs there as soon as it is anywhere.
    const { copies, lag } = first.json().result as {
      copies: { status: string; to: string }[];
      lag: { from: string; to: string; missing: number; limitSeconds: number | null }[];
    };
    assert.ok(copies.every(({ status }) => status === 'copied'));
    assert.deepEqual(copies.map(({ to }) => to).sort(), ['nyc', 'nyc', 'space', 'space']);
    assert.deepEqual(
      lag.map(({ from, to, missing, limitSeconds }) => [from, to, missing, limitSeconds]),
      [
        ['ssd', 'space', 0, null],
        ['space', 'nyc', 0, 300],
      ],
    );
    for (const id of readdirSync(small.place.path('vault/backups/app/daily'))) await lockedFor(id, 'daily', 89);
    for (const id of readdirSync(small.place.path('vault/backups/app/yearly'))) await lockedFor(id, 'yearly', 365);
    for (const name of ['space', 'nyc']) await good(small.place.run('prove', 'app', '--from', name));
    await good(small.place.run('ledger', 'verify', '--from', 'nyc'));
  });

  async function lockedFor(id: string, tier: string, days: number): Promise<void> {
    const manifest = (await good(small.place.run('show', 'app', id, '--from', 'space', '--json'))).json()
      .result as Manifest;
    const names = [...manifest.artifacts.flatMap(({ volumes }) => volumes.map(({ name }) => name)), 'manifest.json'];
    for (const name of names) {
      const place = { Bucket: locked, Key: `prod/backups/app/${tier}/${id}/${name}` };
      const head = await client.send(new HeadObjectCommand(place));
      assert.equal(head.ObjectLockMode, 'GOVERNANCE', name);
      const left = ((head.ObjectLockRetainUntilDate?.getTime() ?? 0) - Date.now()) / 86_400_000;
      assert.ok(left > days - 0.1 && left <= days, `${name}: ${left} days`);
      await assert.rejects(client.send(new DeleteObjectCommand({ ...place, VersionId: head.VersionId })), /lock/i);
    }
  }

  test('show --url signs links that open the backup without any key of the store, and a restore needs no more', async () => {
    const manifest = await newest(small.place, 'app');
    const { stdout, stderr } = await good(small.place.run('show', 'app', '--from', 'space', '--url', '15m'));
    assert.match(stdout, /X-Amz-Expires=900/);
    assert.ok(stdout.includes(s3.accessKeyId), 'the link is whole');
    assert.ok(!stdout.includes(s3.secretAccessKey));
    assert.doesNotMatch(stderr, /X-Amz/, 'on stdout alone');
    mkdirSync(small.place.path('elsewhere'));
    small.place.write('elsewhere/fetch.sh', stdout);
    const cwd = small.place.path('elsewhere');
    await run('sh', ['fetch.sh'], { cwd });
    const env = { ...process.env, KEY: small.place.path('holdfast.key'), VAULT: '.', TARGET: './app.db' };
    await run('sh', ['-eu', 'restore.sh'], { cwd, env });
    assert.deepEqual(notesIn(small.place.path('elsewhere/app.db')), ['one', 'two']);

    const json = (await good(small.place.run('show', 'app', '--from', 'space', '--url', '15m', '--json'))).json();
    const { links, id } = json.result as { links: { key: string; url: string }[]; id: string };
    assert.equal(id, manifest.id);
    assert.equal(links.length, manifest.artifacts.length + 1);
    for (const { url } of links) assert.equal((await fetch(url)).status, 200, url);
  });

  test('links of a directory, for longer than a signature lasts, or for no time at all are refused', async () => {
    await refused(small.place, ['show', 'app', '--url', '15m'], 2, /vault ssd at .* signs no links: it is a directory/);
    await refused(small.place, ['show', 'app', '--from', 'space', '--url', '8d'], 2, /at most 7d/);
    await refused(small.place, ['show', 'app', '--from', 'space', '--url', 'soon'], 2, /got "soon", want a duration/);
  });
});
