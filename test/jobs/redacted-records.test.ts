import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { NotProvableHere } from '#core/errors';
import type { StreamingEngine } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';
import { OpenedBackup } from '#jobs/open-backup';
import { proveBackup } from '#jobs/prove';
import { filesBelow, good, newest, smallPlan } from '#test/cli/small-plan';
import { addAged, agedManifest } from '#test/jobs/aged-vault';
import { AgedWorld, keepOf } from '#test/jobs/aged-world';

/** What the world of these tests takes for revealed. */
const SECRET = 's3cr3t';

for (const [how, load] of [
  [
    'differences',
    async () => ({
      where: '',
      compare: async () => [`table ${SECRET}: 2 rows, restored 1`],
      close: async () => undefined,
    }),
  ],
  [
    'its reason',
    async () => {
      throw new NotProvableHere(`the prover at ${SECRET} does not answer`);
    },
  ],
] as const)
  test(`I7: a proof is written into the vault and its ledger without a secret in ${how}`, async () => {
    const world = await new AgedWorld().open();
    const aged = { at: '2026-11-20T02:00:00Z', tier: 'daily', keep: keepOf('30d'), proof: null };
    await addAged(world.vault(), 'app', aged);
    const engine = { name: 'sqlite', load } as unknown as StreamingEngine;
    const environment: JobEnvironment = { ...world.environment, engine: () => engine };
    const backup = new OpenedBackup(agedManifest('app', aged), world.vault(), environment);
    const proof = await proveBackup(
      backup,
      { name: 'app', settings: { sqlite: { file: '/srv/app.db' }, schedule: [] } },
      [world.vault()],
      environment,
    );
    assert.match(proof.reason ?? '', /s3cr3t/);
    const written = world.keys('').filter((key) => /^(proofs|ledger)\//.test(key));
    const texts = written.map((key) => Buffer.from(world.vault().objects.get(key)?.bytes ?? []).toString());
    assert.ok(
      texts.some((text) => /\*\*\*/.test(text)),
      texts.join('\n'),
    );
    for (const text of texts) assert.doesNotMatch(text, /s3cr3t/);
  });

test('I7: a warning is written into the manifest without the password in it', async () => {
  const { place } = await smallPlan();
  const socket = createServer().listen(place.path('tree', 'a?password=hunter2'));
  try {
    await good(place.run('check', '--create', '--json'));
    await good(place.run('backup', 'tree', '--json'));
    assert.match((await newest(place, 'tree')).warnings.join('\n'), /sockets.*a\?password=\*\*\*/);
    for (const { file, text } of filesBelow(place.path('vault'))) assert.doesNotMatch(text, /hunter2/, file);
  } finally {
    socket.close();
    place.remove();
  }
});
