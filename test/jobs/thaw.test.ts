import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { statusLines } from '#cli/status';
import { loadPlan } from '#core/plan-load';
import type { Archived, Notes } from '#core/ports';
import { type Status, status } from '#jobs/status';
import { askForThaw, type Frozen, stateWords, thawOf } from '#jobs/thaw';
import { addAged, agedManifest } from '#test/jobs/aged-vault';
import { AgedWorld } from '#test/jobs/aged-world';
import { MemoryVault } from '#test/vault/memory-vault';

const NOW = '2026-11-21T12:00:00Z';

/** Monthly backups of 1 MB, moved to DEEP_ARCHIVE when ten days old; the newest proven one as old as is said. */
async function statusWith(to: string[], takenAt: string, bytes = 1_000_000): Promise<Status> {
  const world = await new AgedWorld({ vaults: ['cloud', 'second', 'ssd'], now: NOW }).open();
  world.plan = loadPlan(
    `version: 1
name: aged
encryption: none
vaults: { cloud: { s3: one-bucket, region: eu-north-1 }, second: { s3: two-bucket, region: eu-west-1 }, ssd: { disk: ./ssd } }
tiers: { monthly: { keep: 12mo, class: deep-archive, after: 10d } }
sources:
  app:
    sqlite: { file: app.db }
    schedule: [{ cron: "0 2 1 * *", tier: monthly, to: [${to.join(', ')}] }]
    objectives: { rto: 4h }
kpi: { recovery: 4h }
`,
    'holdfast.yaml',
  );
  for (const name of to) await addAged(world.vault(name), 'app', { at: takenAt, tier: 'monthly', keep: null, bytes });
  return status(['app'], world.environment);
}

/** The world has missed all its runs, which is not what this is about. */
const ofRecovery = ({ sources }: Status): string[] =>
  (sources[0]?.problems ?? []).filter((problem) => problem.includes('RTO'));

describe('a thaw counts in the RTO', () => {
  test('where the newest proven backup lies in an archive class in every vault', async () => {
    const found = await statusWith(['cloud', 'second'], '2026-11-01T02:00:00Z');
    const [app] = found.sources;
    assert.equal(app?.thawSeconds, 12 * 3600);
    assert.equal(app?.restoreSeconds, 1);
    assert.deepEqual(ofRecovery(found), [
      'the newest proven backup needs a thaw of up to 12h, and the last restore took 1.0s: together, longer than its RTO 4h',
    ]);
    assert.match(statusLines(found)[1] ?? '', /1\.0s \+ thaw 12h/);
    assert.deepEqual(
      found.kpis.map(({ met, measured }) => [met, measured]),
      [[false, 12 * 3600 + 1]],
    );
  });

  test('not while it is young, is small, or has a copy that can be read at once', async () => {
    for (const found of [
      await statusWith(['cloud'], '2026-11-12T02:00:00Z'),
      await statusWith(['cloud'], '2026-11-01T02:00:00Z', 1000),
      await statusWith(['cloud', 'ssd'], '2026-11-01T02:00:00Z'),
    ]) {
      assert.equal(found.sources[0]?.thawSeconds, 0);
      assert.deepEqual(ofRecovery(found), []);
      assert.equal(found.kpis[0]?.met, true);
    }
  });
});

describe('what this machine remembers of a thaw', () => {
  const frozen = (state: 'frozen' | 'thawing'): Frozen => {
    const file: Archived = { key: 'backups/app/monthly/x/a', bytes: 1, class: 'archive', state, until: null };
    const vault = Object.assign(new MemoryVault({ name: 'cloud' }), {
      archive: { archived: async () => [file], thaw: async () => undefined },
    });
    const manifest = agedManifest('app', { at: '2026-01-01T02:00:00Z', tier: 'monthly', keep: null });
    const of = (wanted: Archived['state']): Archived[] => (state === wanted ? [file] : []);
    return { vault, manifest, class: 'archive', frozen: of('frozen'), thawing: of('thawing') };
  };

  test('it tells when the thaw it asked for is ready, and not of a later one, which another machine has asked for', async () => {
    let noted: unknown = null;
    const notes: Notes = {
      read: async () => noted,
      write: async (_name, value) => {
        noted = structuredClone(value);
      },
    };
    const asked = new Date(NOW);
    const clock = { now: () => asked, sleep: async () => undefined };
    const after = (days: number): Date => new Date(asked.getTime() + days * 86_400_000);
    const first = await askForThaw(frozen('frozen'), 'standard', { clock, notes, warn: assert.fail });
    assert.equal(first.readyAt, '2026-11-21T17:00:00.000Z');
    const own = await thawOf(frozen('thawing'), notes, after(0.1));
    assert.deepEqual([own.state, own.readyAt], ['under-way', first.readyAt]);
    // The first one's copies were there for seven days, and are gone.
    const theirs = await thawOf(frozen('thawing'), notes, after(8));
    assert.deepEqual([theirs.state, theirs.askedAt, theirs.readyAt], ['under-way', null, null]);
    assert.match(stateWords(theirs), /asked for elsewhere/);
  });
});
