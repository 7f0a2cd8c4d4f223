import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StreamingEngine } from '#core/ports';
import { outcomesOf } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { OpenedBackup } from '#jobs/open-backup';
import { proveBackup } from '#jobs/prove';
import { addAged, agedManifest } from '#test/jobs/aged-vault';
import { AgedWorld, keepOf } from '#test/jobs/aged-world';

test('I3: two copies proven in one second, each under the first lease of its vault, have proofs of their own', async () => {
  const world = await new AgedWorld({ vaults: ['near', 'far'] }).open();
  const copies = ['near', 'far'].map((name) => world.vault(name));
  const aged = { at: '2026-11-20T02:00:00Z', tier: 'daily', keep: keepOf('30d'), proof: null };
  for (const vault of copies) await addAged(vault, 'app', aged);
  const engine = {
    name: 'sqlite',
    load: async () => ({ where: '', compare: async () => [], close: async () => undefined }),
  } as unknown as StreamingEngine;
  const environment: JobEnvironment = { ...world.environment, engine: () => engine };
  const source = { name: 'app', settings: { sqlite: { file: '/srv/app.db' }, schedule: [] } };

  for (const vault of copies) {
    const proof = await proveBackup(
      new OpenedBackup(agedManifest('app', aged), vault, environment),
      source,
      copies,
      environment,
    );
    assert.equal(proof.result, 'proven');
  }

  for (const vault of copies) {
    const proofs = [...(await outcomesOf(vault, 'app')).values()].flat();
    assert.equal(proofs.length, 2, vault.name);
    assert.notEqual(proofs[0]?.key, proofs[1]?.key);
  }
});
