import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { VaultRefused } from '#core/errors';
import { loadPlan } from '#core/plan-load';
import type { JobEnvironment } from '#jobs/environment';
import { newestProven } from '#jobs/newest-proven';
import { runbookAfterProof, withOneRunbook, writeRunbooks } from '#jobs/runbook';
import { backup, clock, NOW, store } from '#test/jobs/stored-backups';
import { MemoryVault } from '#test/vault/memory-vault';
import { createVaultIdentity } from '#vault/identity';

async function manyVault(): Promise<MemoryVault> {
  const vault = new MemoryVault({ now: () => NOW });
  await createVaultIdentity(vault, { plan: 'many', id: 'x', created: NOW });
  return vault;
}

function environmentOf(vault: MemoryVault, sources: readonly string[]): JobEnvironment {
  const schedule = 'schedule: [{ cron: "0 2 * * *", tier: daily, to: [memory] }]';
  const plan = loadPlan(
    `version: 1
name: many
encryption: none
vaults: { memory: { disk: ./x } }
tiers: { daily: { keep: 30d } }
sources:
${sources.map((name) => `  ${name}: { files: { paths: [/srv] }, ${schedule} }`).join('\n')}
`,
    'holdfast.yaml',
  );
  // What the runbook asks of an environment; anything else would fail loudly.
  return { plan, run: { clock }, vault: () => vault, redact: (text: string) => text } as unknown as JobEnvironment;
}

describe('the newest proven backup, for the runbook', () => {
  test('is found by names in a window, and only its own records are read', async () => {
    const vault = await manyVault();
    for (let day = 0; day < 400; day++) await store(vault, backup('logs', day + 0.1), day === 0 ? null : 'proven');
    const asked: string[] = [];
    vault.before = (operation, key) => void asked.push(`${operation} ${key}`);
    const found = await newestProven(vault, 'logs', NOW, 26 * 3600, false);
    assert.equal(found.manifest?.id, backup('logs', 1.1).id);
    assert.equal(found.seconds, 42);
    assert.deepEqual(found.newer, [{ id: backup('logs', 0.1).id, proof: 'unproven' }]);
    assert.equal(asked.filter((one) => one.startsWith('get ')).length, 2, asked.join('\n'));
    assert.equal(asked.length, 5, asked.join('\n'));
  });

  test('I4: a proof of other bytes does not count, and one that is long ago is still found', async () => {
    const vault = await manyVault();
    await store(vault, backup('logs', 900), 'proven');
    await store(vault, backup('logs', 2), 'disproven');
    await store(vault, backup('logs', 1), 'proven', backup('logs', 900));
    const found = await newestProven(vault, 'logs', NOW, 3600, false);
    assert.equal(found.manifest?.id, backup('logs', 900).id);
    assert.deepEqual(
      found.newer.map(({ proof }) => proof),
      ['disproven', 'unproven'],
    );
    assert.match(found.problems.join('\n'), /proofs of another manifest/);
  });

  test('with prove: never the newest that nobody disproved is taken, and nothing is measured', async () => {
    const vault = await manyVault();
    await store(vault, backup('logs', 2), null);
    await store(vault, backup('logs', 1), 'disproven');
    const found = await newestProven(vault, 'logs', NOW, 3600, true);
    assert.deepEqual([found.manifest?.id, found.seconds], [backup('logs', 2).id, null]);
    assert.equal((await newestProven(vault, 'logs', NOW, 3600, false)).manifest, null);
  });
});

describe('writing RUNBOOK.md', () => {
  test('twenty sources with long histories cost some hundred small requests, and one page', async () => {
    const vault = await manyVault();
    const names = Array.from({ length: 20 }, (_, index) => `source-${index}`);
    for (const name of names) for (let day = 1; day < 40; day++) await store(vault, backup(name, day), 'proven');
    const asked: string[] = [];
    vault.before = (operation, key) => void asked.push(`${operation} ${key}`);
    assert.deepEqual(await writeRunbooks(environmentOf(vault, names)), []);
    assert.ok(asked.length <= 20 * 5 + 3, `${asked.length} requests`);
    assert.equal(asked.filter((one) => one === 'putAgain RUNBOOK.md').length, 1);
    const page = Buffer.from(await vault.get('RUNBOOK.md')).toString('utf8');
    for (const name of names) assert.ok(page.includes(`backups/${name}/daily/${backup(name, 1).id}/`));
  });

  test('a command over several sources writes it once, at its end, and only when something was proven', async () => {
    const vault = await manyVault();
    await store(vault, backup('logs', 1), 'proven');
    const environment = environmentOf(vault, ['logs']);
    let written = 0;
    vault.before = (operation) => {
      if (operation === 'putAgain') written += 1;
    };
    const batch = await withOneRunbook(environment, async () => {
      for (let proof = 0; proof < 5; proof++) assert.deepEqual(await runbookAfterProof(environment), []);
      return written;
    });
    assert.deepEqual([batch.result, written], [0, 1]);
    await withOneRunbook(environment, async () => undefined);
    assert.equal(written, 1);
    await runbookAfterProof(environment);
    assert.equal(written, 2, 'outside of a batch at once');
  });

  test('I14: a vault that does not take it, or cannot be listed, is a warning with its name', async () => {
    const vault = await manyVault();
    const environment = environmentOf(vault, ['logs']);
    vault.before = (operation) => {
      if (operation === 'putAgain') throw new VaultRefused('read-only');
    };
    assert.match((await writeRunbooks(environment)).join(), /RUNBOOK\.md in vault memory is not up to date: read-only/);
    vault.before = (operation) => {
      if (operation === 'folders') throw new VaultRefused('no listing');
    };
    assert.match((await writeRunbooks(environment)).join(), /is not up to date: no listing/);
    assert.ok(!vault.objects.has('RUNBOOK.md'), 'no page that looks as if nothing were there');
  });
});
