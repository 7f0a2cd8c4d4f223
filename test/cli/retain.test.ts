import assert from 'node:assert/strict';
import { existsSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { RetainDecision, Stopped } from '#jobs/retain-result';
import { type AgedPlace, agedPlace } from '#test/cli/aged-place';
import type { Ran } from '#test/cli/holdfast';
import { good, ledgerOf, refused, SCHEDULE } from '#test/cli/small-plan';

const SOURCES = [`app: { sqlite: { file: app.db }, ${SCHEDULE} }`];

interface Result {
  readonly decisions: readonly RetainDecision[];
  readonly stopped: readonly Stopped[];
  readonly simulated: string | null;
}

function resultOf(ran: Ran): Result {
  return ran.json().result as Result;
}

describe('holdfast retain', () => {
  let aged: AgedPlace;
  let ids: string[];
  before(async () => {
    aged = await agedPlace(SOURCES);
    ids = [await aged.add(50), await aged.add(40, { proof: 'disproven' }), await aged.add(5), await aged.add(0.1)];
  });
  after(() => aged.place.remove());

  test('wrong input is refused with what is allowed, exit 2', async () => {
    const { place } = aged;
    await refused(place, ['retain', 'nobody'], 2, /no source "nobody" in the plan or its vaults, want one of app/);
    await refused(place, ['retain', '--vault', 'moon'], 2, /no vault "moon" in the plan, want one of here/);
    await refused(place, ['retain', '--at', '2033-01-01'], 2, /--at needs --dry-run/);
    await refused(place, ['retain', '--dry-run', '--at', '2019-01-01'], 2, /has passed/);
    await refused(place, ['retain', '--dry-run', '--at', '2033-02-31'], 2, /want a day such as 2033-01-01/);
    await refused(place, ['retain', '--dry-run', '--at', 'tomorrow'], 2, /want a time with its offset/);
  });

  test('a dry run shows what would go and why, in a table and in JSON, and changes nothing', async () => {
    const { place } = aged;
    const text = (await good(place.run('retain', '--dry-run'))).stdout;
    assert.match(text, new RegExp(`app +here +${ids[0]} +daily +[\\d.]+ KB +remove +daily, kept 30d until .*: over`));
    assert.match(text, /app in here: 2 kept, 2 would go \(\d\.\d KB\)/);
    const { decisions, stopped, simulated } = resultOf(await good(place.run('retain', 'app', '--dry-run', '--json')));
    assert.deepEqual(
      decisions.map(({ source, id, action, vault, tier, done }) => [source, id, action, vault, tier, done]),
      ids.map((id, index) => ['app', id, index < 2 ? 'remove' : 'keep', 'here', 'daily', null]),
    );
    assert.ok(decisions.every(({ reasons, bytes }) => reasons.length > 0 && Number.isInteger(bytes)));
    assert.deepEqual([stopped, simulated], [[], null]);
  });

  test('a day in the future is looked at as if the newest stayed fresh, and says so', async () => {
    const ran = await good(aged.place.run('retain', '--dry-run', '--at', '2033-01-01'));
    assert.match(
      ran.stdout,
      /^as it would be at 2033-01-01T00:00:00\.000Z, of the backups there are now: nothing new is assumed,/,
    );
    assert.match(ran.stdout, /app in here: 1 kept, 3 would go/);
    const json = resultOf(
      await good(aged.place.run('retain', '--dry-run', '--at', '2033-01-01T02:00:00+02:00', '--json')),
    );
    assert.equal(json.simulated, '2033-01-01T00:00:00.000Z');
  });

  test('I5: it removes what is over; list, the ledger and verify tell the same afterwards', async () => {
    const { place } = aged;
    const ran = await good(place.run('retain'));
    assert.match(ran.stdout, new RegExp(`${ids[1]} +daily .* removed +daily, kept 30d`));
    assert.match(ran.stdout, /app in here: 2 kept, 2 removed/);
    const listed = (await good(place.run('list', '--json'))).json().result as { backups: { id: string }[] };
    assert.deepEqual(
      listed.backups.map(({ id }) => id),
      ids.slice(2),
    );
    assert.deepEqual(
      (await ledgerOf(place, 'app')).flatMap(({ event, id }) => (event === 'retained' ? [id] : [])),
      [ids[1], ids[0]],
    );
    await good(place.run('ledger', 'verify'));
    assert.ok(!existsSync(place.path('vault', 'backups', 'app', 'daily', ids[0] as string)));
    assert.match((await good(place.run('retain'))).stdout, /^app in here: 2 kept, 0 removed$/m);
  });

  test('hold, release and ack: reasons are asked for, ids are looked up, and retain says what is held', async () => {
    const { place } = aged;
    const id = ids[2] as string;
    await refused(place, ['hold', 'app', '--id', id], 2, /hold wants --reason/);
    await refused(place, ['hold', 'app', '--id', 'x', '--reason', 'y'], 2, /"x" is no backup id/);
    await refused(place, ['hold', 'app', '--id', ids[0] as string, '--reason', 'y'], 1, /no backup/);
    await refused(place, ['ack', 'app', '--reason', 'seen'], 2, /--id ID, or --alert KEY/);
    await refused(place, ['ack', 'app', '--alert', 'age', '--reason', 'seen'], 2, /no alert "age" of app is open/);
    await refused(place, ['ack', 'app', '--id', id], 2, /ack wants --reason/);
    const held = await good(place.run('hold', 'app', '--id', id, '--reason', 'audit 2026', '--json'));
    assert.deepEqual(held.json().result as unknown, {
      source: 'app',
      id,
      held: true,
      reason: 'audit 2026',
      vaults: ['here'],
      missed: [],
    });
    const dry = await good(place.run('retain', '--dry-run', '--at', '2040-01-01'));
    assert.match(dry.stdout, new RegExp(`${id} .* hold +held: audit 2026; daily, kept 30d`));
    assert.match(dry.stdout, /1 kept, 1 held, 0 would go/);
    await good(place.run('ack', 'app', '--id', id, '--reason', 'looked at it'));
    await good(place.run('release', 'app', '--id', id, '--reason', 'audit is over'));
    assert.match((await good(place.run('retain', '--dry-run', '--at', '2040-01-01'))).stdout, /1 kept, 1 would go/);
    assert.deepEqual(
      (await ledgerOf(place, 'app'))
        .slice(-3)
        .map(({ event, id: about, details }) => [event, about, details['reason']]),
      [
        ['hold', id, 'audit 2026'],
        ['ack', id, 'looked at it'],
        ['release', id, 'audit is over'],
      ],
    );
    await good(place.run('ledger', 'verify'));
  });
});

describe('I5, I14: holdfast retain on a bad day', () => {
  let aged: AgedPlace;
  let ids: string[];
  before(async () => {
    aged = await agedPlace(SOURCES);
    ids = [await aged.add(50), await aged.add(40), await aged.add(0.1)];
  });
  after(() => aged.place.remove());

  async function stops(reason: RegExp): Promise<void> {
    const ran = await refused(aged.place, ['retain'], 3, reason);
    const [first] = resultOf(ran).stopped;
    assert.match(first?.reason ?? '', reason);
    assert.equal((await aged.place.run('retain')).code, 3);
    assert.equal((await aged.place.run('retain', '--dry-run')).code, 3);
  }

  async function allThere(): Promise<void> {
    const { decisions } = resultOf(await good(aged.place.run('retain', '--dry-run', '--json')));
    assert.deepEqual(
      decisions.map(({ id }) => id),
      ids,
    );
  }

  test('an unmounted vault: nothing is removed, exit 3', async () => {
    const { place } = aged;
    renameSync(place.path('vault', 'vault.json'), place.path('vault.json'));
    await stops(/not mounted, or not a vault/);
    renameSync(place.path('vault.json'), place.path('vault', 'vault.json'));
    await allThere();
  });

  test('a listing that fails: nothing is removed, exit 3', async () => {
    const folder = aged.place.path('vault', 'backups', 'app', 'daily');
    renameSync(folder, aged.place.path('aside'));
    // Leads to itself: the file system answers ELOOP, also to root.
    symlinkSync('daily', folder);
    try {
      await stops(/cannot list backups/);
    } finally {
      unlinkSync(folder);
      renameSync(aged.place.path('aside'), folder);
    }
    await allThere();
  });

  test('I5: a stale source: nothing is removed, exit 3, and the hint leads to status', async () => {
    const newest = ids.at(-1) as string;
    const folder = aged.place.path('vault', 'backups', 'app', 'daily', newest);
    renameSync(folder, aged.place.path('newest'));
    await stops(/newest proven backup is 40d.* old, older than its RPO 2d 1h; 1 backup that is over stay/);
    renameSync(aged.place.path('newest'), folder);
    await allThere();
  });
});
