import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { Manifest } from '#core/manifest';
import { runbook } from '#core/runbook';
import { sqliteGuide } from '#engines/sqlite/runbook';
import type { Ran } from '#test/cli/holdfast';
import { good, ledgerOf, newest, notesIn, refused, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { blocksOf } from '#test/jobs/follow-page';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { type Glacier, startGlacier } from '#test/servers/glacier';

interface ThawJson {
  readonly vault: string;
  readonly class: string;
  readonly state: string;
  readonly files: number;
  readonly bytes: number;
  readonly speed: string | null;
  readonly askedAt: string | null;
  readonly readyAt: string | null;
  readonly days: number;
}

describe('a backup in an archive class', () => {
  let small: SmallPlan;
  let s3: S3ForTests;
  let glacier: Glacier;
  let manifest: Manifest;
  before(async () => {
    s3 = await s3ForTests();
    glacier = await startGlacier(s3.endpoint);
    small = await smallPlan({ SPACES_KEY: s3.accessKeyId, SPACES_SECRET: s3.secretAccessKey });
    plan('to: [cold]');
    await good(small.place.run('check', '--create'));
    await good(small.place.run('backup', 'app'));
    manifest = await newest(small.place, 'app');
    glacier.freeze((path) => path.includes('/prod/backups/app/'), 'DEEP_ARCHIVE');
  });
  after(async () => {
    small?.place.remove();
    await glacier?.stop();
    await s3?.close();
  });

  function plan(to: string, more = ''): void {
    const keys = `endpoint: "${glacier.endpoint}", accessKeyId: "\${SPACES_KEY}", secretAccessKey: "\${SPACES_SECRET}"`;
    small.plan({
      vaults: `{ cold: { s3: ${s3.bucket}, prefix: prod, ${keys} }, warm: { disk: ./warm } }`,
      sources: [`app: { sqlite: { file: app.db }${more}, schedule: [{ cron: "0 2 * * *", tier: daily, ${to} }] }`],
    });
  }
  const restore = (...args: string[]): Promise<Ran> => small.place.run('restore', 'app', '--to', './back.db', ...args);
  const thawOf = (ran: Ran): ThawJson => (ran.json().result as { thaw: ThawJson }).thaw;

  test('--dry-run says that it needs a thaw, and asks for none', async () => {
    const ran = await good(restore('--dry-run', '--json'));
    const thaw = thawOf(ran);
    assert.equal(thaw.state, 'needed');
    assert.equal(thaw.class, 'deep-archive');
    assert.equal(thaw.readyAt, null);
    assert.match(
      (ran.json().result as { steps: string[] }).steps[0] ?? '',
      /ask for the thaw of 1 file in DEEP_ARCHIVE.*12h/,
    );
    assert.deepEqual(glacier.asked, []);
    const shown = await good(small.place.run('show', 'app', '--json'));
    assert.match(shown.json().warnings.join(), /its files lie in DEEP_ARCHIVE in cold.*nobody has asked/);
  });

  test('a proof of it asks for no thaw, disproves nothing, and alarms nobody', async () => {
    const ran = await refused(small.place, ['prove', 'app'], 6, /DEEP_ARCHIVE.*cannot be read now.*up to 12h/);
    assert.equal((ran.json().result as { proofs: { result: string }[] }).proofs[0]?.result, 'inconclusive');
    assert.match(ran.json().error?.hint ?? '', /holdfast restore app --id \S+ --from cold/);
    assert.deepEqual(glacier.asked, []);
    const listed = (await good(small.place.run('list', 'app', '--json'))).json().result as {
      backups: { proof: string }[];
    };
    assert.equal(listed.backups[0]?.proof, 'proven', 'what it was before');
    assert.equal((await ledgerOf(small.place, 'app')).at(-1)?.details['archived'], true);
    await good(small.place.run('ledger', 'verify', 'app'));
    await refused(small.place, ['prove', 'app', '--stored'], 6, /DEEP_ARCHIVE/);
    const status = await good(small.place.run('status', '--json'));
    assert.equal((status.json().result as { healthy: boolean }).healthy, true);
  });

  test('a proof that is due by its cron is passed over: exit 0, and not due again before its next time', async () => {
    plan('to: [cold]', ', prove: { cron: "*/10 * * * *" }');
    const { environment } = small.place;
    const clock = resolve(import.meta.dirname, '../cloud/shifted-clock.ts');
    // Half a minute after the next time of the cron.
    environment['HOLDFAST_TEST_CLOCK_SHIFT'] = String(600_000 - (Date.now() % 600_000) + 30_000);
    environment['NODE_OPTIONS'] = `--import ${clock}`;
    const ran = await good(small.place.run('prove', '--due', '--json'));
    assert.match(ran.json().warnings.join(), /^app: .*DEEP_ARCHIVE/);
    assert.match((await good(small.place.run('prove', '--due'))).stdout, /no proof is due/);
    assert.deepEqual(glacier.asked, []);
    delete environment['NODE_OPTIONS'];
    delete environment['HOLDFAST_TEST_CLOCK_SHIFT'];
    plan('to: [cold]');
  });

  test('a role that may not ask is told which right it lacks, and who has it', async () => {
    glacier.refuse('AccessDenied');
    const ran = await refused(small.place, ['restore', 'app', '--to', './back.db'], 1, /RestoreObject.*AccessDenied/);
    assert.match(ran.json().error?.hint ?? '', /s3:RestoreObject.*small-restorer/);
    glacier.refuse('GlacierExpeditedRetrievalNotAvailable');
    await refused(
      small.place,
      ['restore', 'app', '--to', './back.db', '--thaw', 'bulk'],
      1,
      /no room for an expedited thaw/,
    );
    glacier.refuse(null);
    await refused(
      small.place,
      ['restore', 'app', '--to', './b', '--thaw', 'expedited'],
      2,
      /deep-archive has no such thaw/,
    );
    await refused(small.place, ['restore', 'app', '--to', './b', '--thaw', 'soon'], 2, /--thaw: got "soon"/);
    assert.deepEqual(glacier.asked, []);
  });

  test('restore asks for the thaw, says when it is ready and what to type then, and exits 3', async () => {
    const began = Date.now();
    const ran = await refused(
      small.place,
      ['restore', 'app', '--to', './back.db'],
      3,
      /DEEP_ARCHIVE \(deep-archive\) in cold/,
    );
    const { error, result } = ran.json();
    assert.equal(error?.code, 'thaw-needed');
    const thaw = thawOf(ran);
    assert.equal(thaw.state, 'asked');
    assert.equal(thaw.files, 1);
    assert.ok(thaw.bytes > 0);
    const ready = Date.parse(thaw.readyAt ?? '');
    assert.ok(ready >= began + 12 * 3_600_000 - 1000 && ready <= Date.now() + 12 * 3_600_000, thaw.readyAt ?? '');
    assert.deepEqual(
      glacier.asked.map(({ days, tier }) => [days, tier]),
      [[7, 'Standard']],
    );
    assert.equal(
      error?.hint,
      `from ${thaw.readyAt} on, within 7 days: holdfast restore app --id ${manifest.id} --from cold --to ./back.db`,
    );
    assert.deepEqual((result as { seconds: number; verified: boolean }).verified, false);
    assert.ok(!existsSync(small.place.path('back.db')), 'nothing was touched at the target');
    const entry = (await ledgerOf(small.place, 'app')).at(-1);
    assert.equal(entry?.event, 'restore');
    assert.equal(entry?.details['thaw'], 'standard');
    assert.equal(entry?.details['restored'], false);
  });

  test('called again while it is under way it says so with the time, and asks nobody twice', async () => {
    const again = await refused(small.place, ['restore', 'app', '--to', './back.db'], 3, /under way since .* ready by/);
    assert.equal(thawOf(again).state, 'under-way');
    assert.equal(thawOf(again).speed, 'standard');
    assert.equal(glacier.asked.length, 1);
    const { HOLDFAST_STATE } = small.place.environment;
    // Another machine knows that somebody asked, and not when.
    small.place.environment['HOLDFAST_STATE'] = small.place.path('elsewhere');
    const other = await refused(
      small.place,
      ['restore', 'app', '--to', './back.db'],
      3,
      /asked for elsewhere: ready 12h after that/,
    );
    assert.equal(thawOf(other).readyAt, null);
    small.place.environment['HOLDFAST_STATE'] = HOLDFAST_STATE as string;
    await refused(small.place, ['prove', 'app'], 6, /under way since/);
    assert.equal(glacier.asked.length, 1);
  });

  test('on the worst day, without a plan, too', async () => {
    const env = {
      AWS_ENDPOINT_URL: glacier.endpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: s3.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    };
    Object.assign(small.place.environment, env);
    const url = `s3://${s3.bucket}/prod`;
    const ran = await refused(
      small.place,
      ['restore', 'app', '--vault', url, '--identity', 'holdfast.key', '--to', './bare.db'],
      3,
      /under way since/,
    );
    assert.match(
      ran.json().error?.hint ?? '',
      new RegExp(`holdfast restore app --id ${manifest.id} --vault ${url} --identity holdfast.key --to ./bare.db$`),
    );
    const keyless = await small.place.run('restore', 'app', '--vault', url, '--to', './bare.db', '--json');
    assert.equal(keyless.code, 3, keyless.stderr);
    assert.match(keyless.json().warnings.join(), /no identity is named that could open it: have one by then/);
    for (const name of Object.keys(env)) delete small.place.environment[name];
    assert.equal(glacier.asked.length, 1);
  });

  test('once it is thawed it restores, says until when it can be done again, and proves', async () => {
    glacier.thaw();
    const ran = await good(restore('--json'));
    assert.equal((ran.json().result as { verified: boolean }).verified, true);
    assert.equal(thawOf(ran), null);
    assert.deepEqual(notesIn(small.place.path('back.db')), ['one', 'two']);
    const said = await good(restore('--overwrite'));
    assert.match(said.stdout, /its thawed files in cold can be read until \d{4}-/);
    await good(small.place.run('prove', 'app'));
    assert.equal(glacier.asked.length, 1);
  });

  test('a copy in another vault that needs no thaw is taken; --from means the vault that it names', async () => {
    glacier.end();
    rmSync(small.place.path('back.db'), { force: true });
    plan('to: [cold, warm]');
    await good(small.place.run('check', '--create'));
    const stuck = await small.place.run('replicate', 'app', '--json');
    assert.equal(stuck.code, 3, `${stuck.stdout}${stuck.stderr}`);
    assert.equal(stuck.json().error?.code, 'thaw-needed');
    const later = await refused(
      small.place,
      ['restore', 'app', '--to', './back.db', '--thaw', 'bulk'],
      3,
      /its thaw \(bulk\)/,
    );
    assert.equal(glacier.asked.at(-1)?.tier, 'Bulk');
    assert.ok(Date.parse(thawOf(later).readyAt ?? '') > Date.now() + 47 * 3_600_000);
    glacier.thaw();
    await good(small.place.run('replicate', 'app'));
    glacier.end();
    const ran = await good(restore('--json'));
    assert.match(ran.json().warnings.join(), /is taken from warm: in cold it lies in deep-archive/);
    await good(small.place.run('prove', 'app', '--id', manifest.id));
    const stored = ['prove', 'app', '--id', manifest.id, '--stored'];
    await refused(small.place, stored, 6, /in cold and cannot be read now/);
    await good(small.place.run(...stored, '--from', 'warm'));
    assert.equal(glacier.asked.length, 2);
    await refused(
      small.place,
      ['restore', 'app', '--to', './b.db', '--from', 'cold', '--dry-run', '--id', 'x'],
      2,
      /no backup id/,
    );
    const cold = await refused(small.place, ['restore', 'app', '--to', './b.db', '--from', 'cold'], 3, /DEEP_ARCHIVE/);
    assert.equal(thawOf(cold).state, 'asked');
    assert.equal(glacier.asked.length, 3);
  });

  test('I6: with stock tools, by the lines of the runbook', async () => {
    glacier.end();
    const [artifact] = manifest.artifacts;
    assert.ok(artifact);
    const large = {
      ...manifest,
      artifacts: [{ ...artifact, volumes: artifact.volumes.map((one) => ({ ...one, bytes: 1e6 })) }],
    };
    const page = runbook({
      plan: 'small',
      writtenAt: new Date(),
      inVault: 'cold',
      key: { saidToBe: null, recipients: [], secret: null },
      vaults: [
        {
          name: 'cold',
          url: `s3://${s3.bucket}/prod`,
          bucket: { name: s3.bucket, prefix: 'prod', region: 'us-east-1', endpoint: null, deployed: null },
          problem: null,
        },
      ],
      sources: [
        {
          source: 'app',
          address: null,
          backup: {
            manifest: large,
            vault: 'cold',
            proven: true,
            seconds: 1,
            guide: sqliteGuide(manifest),
            archived: { class: 'deep-archive', from: new Date(0), seconds: 43_200 },
          },
          newer: [],
          copies: [],
          afterRestore: [],
          problems: [],
        },
      ],
      notes: [],
    });
    const [ask, look] = blocksOf(page).filter(({ info }) => info === 'sh thaw');
    const shell = async (text: string): Promise<string> => {
      const aws = `aws() { ${process.execPath} ${resolve(import.meta.dirname, '../servers/aws-s3api.ts')} "$@"; }`;
      const env = {
        ...process.env,
        AWS_ENDPOINT_URL_S3: glacier.endpoint,
        AWS_ACCESS_KEY_ID: s3.accessKeyId,
        AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
        AWS_REGION: 'us-east-1',
        BUCKET: s3.bucket,
      };
      return (await promisify(execFile)('sh', ['-euc', `${aws}\n${ask?.text.split('\n')[0]}\n${text}`], { env }))
        .stdout;
    };
    const before = glacier.asked.length;
    await shell(ask?.text ?? '');
    assert.deepEqual(
      glacier.asked.slice(before).map(({ days, tier }) => [days, tier]),
      [[7, 'Standard']],
    );
    assert.match(await shell(look?.text ?? ''), /^ongoing-request="true"$/m);
    await assert.rejects(shell(ask?.text ?? ''), /RestoreAlreadyInProgress/);
    glacier.thaw();
    assert.match(await shell(look?.text ?? ''), /^ongoing-request="false", expiry-date="/m);
    await good(restore('--from', 'cold', '--overwrite'));
  });
});
