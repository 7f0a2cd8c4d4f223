import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { after, afterEach, before, describe, test } from 'node:test';
import {
  filesBelow,
  flipByte,
  good,
  newest,
  notesIn,
  refused,
  runsOf,
  SCHEDULE,
  type SmallPlan,
  smallPlan,
} from '#test/cli/small-plan';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { errorXml, type Fault, type FaultyS3, type Seen, startFaultyS3 } from '#test/servers/faulty-s3';

interface StatusJson {
  readonly sources: readonly { newestProven: { id: string; vault: string } | null; problems: string[] }[];
  readonly vaults: readonly { name: string; reachable: boolean; problem: string | null }[];
}

describe('a directory and a bucket as two vaults of one plan, by the command line', () => {
  let small: SmallPlan;
  let server: S3ForTests;
  let faulty: FaultyS3;

  before(async () => {
    small = await smallPlan();
    server = await s3ForTests();
    faulty = await startFaultyS3(server.endpoint);
    small.place.environment['SPACES_KEY'] = server.accessKeyId;
    small.place.environment['SPACES_SECRET'] = server.secretAccessKey;
    small.plan({
      vaults: `{ ssd: { disk: ./vault }, space: { s3: ${server.bucket}, prefix: team/prod, endpoint: "${faulty.endpoint}", accessKeyId: "\${SPACES_KEY}", secretAccessKey: "\${SPACES_SECRET}" } }`,
      sources: [
        `app: { sqlite: { file: app.db }, ${SCHEDULE.replace('[here]', '[ssd, space]')} }`,
        `away: { sqlite: { file: app.db }, ${SCHEDULE.replace('[here]', '[space]')} }`,
      ],
    });
    await good(small.place.run('check', '--create'));
    await good(small.place.run('backup', '--all'));
  });
  after(async () => {
    await faulty.stop();
    await server.close();
    small.place.remove();
  });
  afterEach(() => faulty.onRequest(() => null));

  /** What every request of the bucket meets with from now on. */
  function on(which: (seen: Seen) => boolean, fault: Fault): void {
    faulty.onRequest((seen) => (which(seen) ? fault : null));
  }
  const everything = (): boolean => true;

  test('both hold the same backup, each tells its own story, and the bucket alone gives it back', async () => {
    const { place } = small;
    const list = (await good(place.run('list', 'app', '--json'))).json().result as {
      backups: { id: string; vault: string; proof: string }[];
    };
    assert.deepEqual(list.backups.map((one) => [one.vault, one.proof]).sort(), [
      ['space', 'proven'],
      ['ssd', 'proven'],
    ]);
    assert.equal(list.backups[0]?.id, list.backups[1]?.id);
    const ran = await good(place.run('restore', 'app', '--from', 'space', '--to', './from-space', '--json'));
    assert.deepEqual(notesIn((ran.json().result as { target: string }).target), ['one', 'two']);
    const verified = await good(place.run('ledger', 'verify', '--json'));
    const { reports } = verified.json().result as { reports: { source: string; vault: string }[] };
    assert.deepEqual(
      reports.map((report) => `${report.source} ${report.vault}`),
      ['app ssd', 'app space', 'away space'],
    );
  });

  test('without a plan: s3://bucket/prefix, AWS’s variables and the key are enough', async () => {
    const { place } = small;
    const bare = { ...place.environment };
    Object.assign(place.environment, {
      AWS_ACCESS_KEY_ID: server.accessKeyId,
      AWS_SECRET_ACCESS_KEY: server.secretAccessKey,
      AWS_ENDPOINT_URL: server.endpoint,
      AWS_REGION: 'us-east-1',
    });
    const url = `s3://${server.bucket}/team/prod`;
    const args = ['restore', 'away', '--vault', url, '--identity', 'holdfast.key'];
    const ran = await good(place.run(...args, '--to', './worst-day', '--json'));
    assert.deepEqual(notesIn((ran.json().result as { target: string }).target), ['one', 'two']);
    await refused(
      place,
      [...args, '--to', './x', '--vault', `s3://${server.bucket}/team`],
      1,
      /not mounted, or not a vault/,
    );
    await refused(place, ['restore', 'nope', ...args.slice(2), '--to', './x'], 1, /no backup of nope/);
    for (const name of Object.keys(place.environment)) if (!(name in bare)) delete place.environment[name];
  });

  test('a plan’s name for a vault is no address: the hint has the option that takes one', async () => {
    const { place } = small;
    for (const command of [['restore', 'app', '--to', './x'], ['runbook']]) {
      const ran = await refused(place, [...command, '--vault', 'space'], 2, /no directory space/);
      assert.match(ran.json().error?.hint ?? '', /--from space$/);
    }
  });

  test('the second vault is away: the backup is good in the first, exit 3; status and list say whose copies are missing', async () => {
    const { place } = small;
    on(everything, { answer: { status: 403, body: errorXml('AccessDenied') } });
    const ran = await refused(place, ['backup', 'app'], 3, /AccessDenied|refuse/i);
    assert.deepEqual(
      runsOf(ran).map((run) => [run.status, run.proof, run.vaults]),
      [['ok', 'proven', ['ssd']]],
    );
    const list = await refused(place, ['list', 'app'], 3, /team\/prod/);
    assert.equal((list.json().result as { backups: unknown[] }).backups.length, 2);
    const status = await place.run('status', 'app', '--json');
    assert.equal(status.code, 3);
    const { vaults, sources } = status.json().result as StatusJson;
    assert.deepEqual(
      vaults.map((vault) => [vault.name, vault.reachable]),
      [
        ['ssd', true],
        ['space', false],
      ],
    );
    assert.equal(sources[0]?.newestProven?.vault, 'ssd');
    assert.match(sources[0]?.problems.join() ?? '', /space/);
  });

  test('the first vault is away: still backed up to the second, exit 3; readers say how to take the other copy', async () => {
    const { place } = small;
    renameSync(place.path('vault'), place.path('unmounted'));
    try {
      const ran = await refused(place, ['backup', 'app'], 3, /not mounted/);
      assert.deepEqual(
        runsOf(ran).map((run) => [run.status, run.proof, run.vaults]),
        [['ok', 'proven', ['space']]],
      );
      for (const args of [
        ['show', 'app'],
        ['prove', 'app'],
        ['restore', 'app', '--to', './x'],
      ]) {
        const refusal = await refused(place, args, 1, /not mounted/);
        assert.match(refusal.json().error?.hint ?? '', /--from space/);
      }
      await good(place.run('prove', 'app', '--from', 'space'));
    } finally {
      renameSync(place.path('unmounted'), place.path('vault'));
    }
    assert.equal((await good(place.run('status', 'app', '--json'))).code, 0);
  });

  test('a vault is away: hold, release, pause, resume and ack are told to the other one, and exit 3: done in part', async () => {
    const { place } = small;
    const { id } = await newest(place, 'app');
    on(everything, { answer: { status: 403, body: errorXml('AccessDenied') } });
    for (const args of [
      ['hold', 'app', '--id', id, '--reason', 'audit'],
      ['release', 'app', '--id', id],
      ['pause', 'app', '--reason', 'works'],
      ['resume', 'app'],
      ['ack', 'app', '--id', id, '--reason', 'seen'],
    ]) {
      const ran = await place.run(...args, '--json');
      assert.equal(ran.code, 3, `${args.join(' ')}: ${ran.stdout}${ran.stderr}`);
      assert.match(ran.json().warnings.join(), /not written everywhere/);
    }
  });

  test('a source whose only vault is away does not keep the others from their pause, and what was done is in the result', async () => {
    const { place } = small;
    on(everything, { answer: { status: 403, body: errorXml('AccessDenied') } });
    for (const args of [
      ['pause', 'away', 'app', '--reason', 'works'],
      ['resume', 'away', 'app'],
    ]) {
      const ran = await refused(place, args, 1, /AccessDenied/);
      assert.equal(ran.json().error?.source, 'away');
      const { sources } = ran.json().result as { sources: readonly { source: string; vaults: readonly string[] }[] };
      assert.deepEqual(
        sources.map(({ source, vaults }) => [source, vaults]),
        [['app', ['ssd']]],
      );
    }
  });

  test('I14, peers 3I (DBackup #82): wrong credentials of the only vault: every command fails and names the bucket, none looks empty', async () => {
    const { place } = small;
    place.environment['SPACES_SECRET'] = 'Zq7-wrong-secret-wX9';
    try {
      for (const args of [
        ['backup', 'away'],
        ['list', 'away', '--from', 'space'],
        ['show', 'away'],
        ['prove', 'away'],
        ['restore', 'away', '--to', './x'],
        ['ledger', 'away'],
      ]) {
        const ran = await refused(place, args, 1, /SignatureDoesNotMatch|refuse|denied/i);
        assert.equal(ran.json().error?.code, 'vault-refused', ran.stderr);
        assert.doesNotMatch(ran.stdout + ran.stderr, /Zq7-wrong|no backup/);
      }
      assert.equal((await place.run('status', 'away')).code, 3);
      assert.equal((await place.run('check', 'away')).code, 1);
    } finally {
      place.environment['SPACES_SECRET'] = server.secretAccessKey;
    }
  });

  test('peers 3I: a store that answers 503 to every listing fails list and prove, and makes status unhealthy', async () => {
    const { place } = small;
    on((seen) => seen.query.has('list-type'), { answer: { status: 503, body: errorXml('SlowDown') } });
    const [list, prove, status] = await Promise.all([
      refused(place, ['list', 'away', '--from', 'space'], 1, /503|SlowDown/),
      refused(place, ['prove', 'away'], 1, /503|SlowDown/),
      place.run('status', 'away', '--json'),
    ]);
    for (const ran of [list, prove]) assert.equal(ran.json().error?.code, 'vault-unreachable');
    assert.equal(status.code, 3, status.stdout);
    assert.match(JSON.stringify(status.json().result), /503|SlowDown/);
  });

  test('a store that answers 500 now and then, slowly, and cuts answers short is lived with', async () => {
    const { place } = small;
    let number = 0;
    faulty.onRequest((seen) => {
      number += 1;
      if (number % 5 === 0) return { answer: { status: 500, body: errorXml('InternalError') } };
      if (number % 7 === 0 && seen.method === 'GET') return { cutBody: 10 };
      if (number % 11 === 0) return { cut: 'before' };
      return null;
    });
    await good(place.run('backup', 'away'));
    await good(place.run('prove', 'away'));
    await good(place.run('ledger', 'verify', 'away'));
  });

  test('I1, I2: a store that takes the artifact and refuses the manifest leaves no backup, and the ledger’s word for it', async () => {
    const { place } = small;
    const before = (await newest(place, 'away')).id;
    on((seen) => seen.method === 'PUT' && seen.path.endsWith('/manifest.json'), {
      answer: { status: 403, body: errorXml('AccessDenied') },
    });
    const ran = await refused(place, ['backup', 'away'], 1, /AccessDenied|manifest\.json/);
    assert.equal(runsOf(ran)[0]?.status, 'failed');
    assert.equal((await newest(place, 'away')).id, before);
    const ledger = (await good(place.run('ledger', 'away', '--json'))).json().result as {
      entries: { event: string; details: Record<string, unknown> }[];
    };
    const last = ledger.entries.at(-1);
    assert.equal(last?.event, 'failed');
    assert.match(String(last?.details['left']), /^backups\/away\/daily\//);
  });

  test('I2: one byte changed on its way into the store is caught: no backup of it', async () => {
    const { place } = small;
    const before = (await newest(place, 'away')).id;
    on((seen) => seen.method === 'PUT' && seen.path.includes('snapshot.db'), { flipRequest: true });
    const ran = await place.run('backup', 'away', '--json');
    assert.equal(ran.code, 1, ran.stdout);
    assert.equal((await newest(place, 'away')).id, before);
  });

  test('I7: neither key is in anything that lies in the vaults', () => {
    const texts = filesBelow(small.place.path('vault')).map(({ text }) => text);
    for (const secret of [server.accessKeyId, server.secretAccessKey])
      assert.ok(!texts.some((text) => text.includes(secret)));
  });

  test('I4: bytes that rotted in one vault do not condemn the whole copy in the other', async () => {
    const { place } = small;
    await good(place.run('backup', 'app'));
    const { id, tier } = await newest(place, 'app');
    flipByte(place.path('vault', 'backups', 'app', tier, id, 'snapshot.db.zst.age'), 150);
    assert.equal((await place.run('prove', 'app')).code, 5);
    const list = (await good(place.run('list', 'app', '--json'))).json().result as {
      backups: { id: string; vault: string; proof: string }[];
    };
    assert.deepEqual(
      list.backups.filter((one) => one.id === id).map((one) => [one.vault, one.proof]),
      [
        ['space', 'proven'],
        ['ssd', 'disproven'],
      ],
    );
    const status = await place.run('status', 'app', '--json');
    assert.equal(status.code, 3);
    assert.match(
      (status.json().result as StatusJson).sources[0]?.problems.join() ?? '',
      new RegExp(`${id} is disproven`),
    );
    await good(place.run('restore', 'app', '--from', 'space', '--id', id, '--to', './whole'));
  });
});
