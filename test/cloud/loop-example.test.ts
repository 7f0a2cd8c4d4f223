import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findBackup, outcomesOf } from '#jobs/catalog';
import { type Loop, startLoop } from '#test/cloud/loop';
import { newKey } from '#test/cloud/worker-trial';
import { textOf } from '#test/examples/plans';
import { type PostgresServer, startPostgres } from '#test/servers/postgres';

const AT = '2026-11-22T02:00:00Z';
const key = newKey();

/**
 * `examples/chatcard.yaml` as it stands but for its first recipient, which it asks to replace: deployed, given the values
 * of its secrets, and run from its schedule to a proof.
 */
describe('the loop: the example chatcard, with its own names, bucket and region', () => {
  const dir = mkdtempSync(join(tmpdir(), 'hf-le'));
  chmodSync(dir, 0o711);
  let postgres: PostgresServer;
  let loop: Loop;

  before(async () => {
    postgres = await startPostgres(join(dir, 'p'));
    await postgres.sql('postgres', 'create database chatcard');
    await postgres.sql('postgres', 'create role web login');
    await postgres.sql('chatcard', WEB_APPLICATION);
    const text = textOf('chatcard');
    const [first = ''] = /age1[0-9a-z]{20,}/.exec(text) ?? [];
    loop = await startLoop({
      plan: text.replace(first, key.recipient),
      values: { DATABASE_URL: postgres.url('chatcard'), HOLDFAST_IDENTITY: key.identity },
    });
    await loop.deploy('2026-11-22T01:59:00Z');
    loop.setClock('2026-11-22T02:00:20Z');
    await loop.schedule('database', AT);
    await loop.settled();
  });
  after(async () => {
    await loop?.close();
    await postgres?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test('I4, I9: its database is backed up by one task and proven by another, which alone has the key', async () => {
    const entries = (await loop.ledgerOf('database')).filter(({ event }) => !event.startsWith('alert-'));
    assert.deepEqual(
      entries.map(({ event }) => event),
      ['backup', 'proof'],
      loop.said.join('\n'),
    );
    const id = entries[0]?.id as string;
    assert.match(id, /^20261122T020000Z-/);
    const outcomes = (await outcomesOf(loop.vault(), 'database')).get(id) ?? [];
    assert.deepEqual(
      outcomes.map(({ outcome }) => outcome),
      ['proven'],
    );
    const { tier, artifacts, probes, encryption } = await findBackup(loop.vault(), 'database', id);
    assert.equal(tier, 'daily');
    assert.deepEqual(
      artifacts.map(({ name }) => name),
      ['globals.sql', 'database.dump'],
    );
    assert.deepEqual(
      probes.map(({ name, answer }) => [name, answer]),
      [
        ['users', [['40']]],
        ['proofs', [['120']]],
        ['anchors', [['12']]],
      ],
    );
    assert.equal(encryption.recipients.length, 2);
    const given = (job: string): readonly string[] => [
      ...(loop.deployment.tasks.get(`chatcard-database-${job}`)?.secrets.keys() ?? []),
    ];
    assert.deepEqual(given('backup'), ['DATABASE_URL']);
    assert.deepEqual(given('prove').toSorted(), ['DATABASE_URL', 'HOLDFAST_IDENTITY']);
  });

  test('what runs on the machine beside Redis has no task and no schedule, and start-job says where it runs', async () => {
    assert.deepEqual(
      [...loop.deployment.tasks.keys()].filter((family) => family.includes('cache')),
      [],
    );
    assert.throws(() => loop.scheduleOf('cache'), /no schedule of cache/);
    const answer = (await loop.invoke('start-job', { action: 'backup', source: 'cache' })) as {
      readonly error: { readonly message: string; readonly hint: string };
    };
    assert.match(answer.error.message, /cache does not run in the cloud: runs: here/);
    assert.match(answer.error.hint, /holdfast backup cache/);
  });

  test('the page in its bucket leads to the role, the region and the secret of this very deployment', async () => {
    const page = Buffer.from(await loop.vault().get('RUNBOOK.md')).toString('utf8');
    const role = loop.permissions().roleOf('restorer');
    assert.match(page, new RegExp(`:role/${role.split('/').at(-1)}" `));
    assert.match(role, /:role\/chatcard-restorer$/);
    assert.match(page, /^export AWS_REGION=eu-west-1$/m);
    assert.match(page, /^export BUCKET=chatcard-backups$/m);
    const [, secret = ''] = /the secret `([^`]+)` in `eu-west-1`/.exec(page) ?? [];
    assert.ok(loop.deployment.secrets.has(secret), `no secret ${secret} was deployed`);
  });

  test('I7: nothing was refused to a role that it asked for, no event was lost, and no secret was said', () => {
    assert.deepEqual(
      loop.rights.denied.filter(({ action }) => action !== 's3:ListBucketMultipartUploads'),
      [],
    );
    assert.deepEqual(loop.lambda.dead, []);
    const said = `${loop.said.join('\n')}${JSON.stringify(loop.ecs.asked)}`;
    const identity = key.identity.split('\n').find((line) => line.startsWith('AGE-SECRET-KEY')) as string;
    for (const secret of [postgres.password, encodeURIComponent(postgres.password), identity])
      assert.ok(!said.includes(secret));
  });
});

const WEB_APPLICATION = `
  create table "User" (id int primary key, email text unique);
  create table "Proof" (id int primary key, "userId" int references "User", body jsonb);
  create table "Anchor" (id int primary key, "proofId" int references "Proof", root bytea);
  alter table "User" owner to web;
  insert into "User" select n, n || '@example.com' from generate_series(1, 40) n;
  insert into "Proof" select n, 1 + n % 40, jsonb_build_object('n', n) from generate_series(1, 120) n;
  insert into "Anchor" select n, n * 10, sha256(n::text::bytea) from generate_series(1, 12) n;
`;
