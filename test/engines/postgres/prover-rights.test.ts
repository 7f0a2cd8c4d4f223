import { strict as assert } from 'node:assert';
import { after, before, describe, test } from 'node:test';
import { HoldfastError } from '#core/errors';
import type { CheckLine, RunContext, SourceRef } from '#core/ports';
import { postgres } from '#engines/postgres/engine';
import { differences, withBackup } from '#test/engines/postgres/backups';
import { fillEvents, newServer, sourceOf } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';

describe('postgres: a prover of the user’s own whose login is no superuser', () => {
  let server: PostgresServer;
  let prover: PostgresServer;
  before(async () => {
    [server, prover] = await Promise.all([newServer(), newServer()]);
    for (const one of [server, prover])
      await one.sql('postgres', `create role plain login createdb createrole password 'plain'`);
    await server.sql('postgres', 'create role app nologin');
  });
  after(() => Promise.all([server.stop(), prover.stop()]));

  const proverUrl = (): string => `postgresql://plain:plain@127.0.0.1:${prover.port}/postgres`;

  async function owned(owner: string, more = ''): Promise<SourceRef> {
    const database = await freshDatabase(server, `owner ${owner}`);
    await fillEvents(server, database, 20);
    await server.sql(
      database,
      `alter table events owner to ${owner}; alter table accounts owner to ${owner}; alter large object 4242 owner to ${owner}; ${more}`,
    );
    return sourceOf({ url: server.url(database) }, { prove: { with: { url: proverUrl() } } });
  }

  async function proofLine(source: SourceRef, run: RunContext): Promise<CheckLine> {
    for await (const line of postgres.check(source, run)) if (line.name === 'proof') return line;
    return assert.fail('no line about the proof');
  }

  test('check says today that it may not give tables to their owners, as the proof would find', async () => {
    const source = await owned('app');
    await withBackup(source, async (stored, run) => {
      const line = await proofLine(source, run);
      assert.equal(line.ok, null);
      assert.match(line.message, /plain is neither superuser nor a member of app.*inconclusive/);
      const failing = postgres.load(stored.backup(run, { through: 'child' }), source, run);
      await assert.rejects(failing, (error) => error instanceof HoldfastError && error.code === 'not-provable-here');
    });
    assert.equal(await prover.sql('postgres', `select count(*) from pg_roles where rolname = 'app'`), '0');
  });

  test('check names what only a superuser may create', async () => {
    await withBackup(await owned('plain'), async (_stored, run) => {
      const wrapped = await owned('plain', 'create foreign data wrapper elsewhere');
      assert.match(
        (await proofLine(wrapped, run)).message,
        /no superuser, and the source's event triggers, foreign-data wrappers or subscriptions/,
      );
      const extended = await owned('plain', 'create extension pageinspect');
      const line = await proofLine(extended, run);
      assert.equal(line.ok, null);
      assert.match(line.message, /extension pageinspect wants one/);
    });
  });

  test('check lets it pass where it owns all there is, and the proof agrees', async () => {
    const source = await owned('plain');
    await withBackup(source, async (stored, run) => {
      const line = await proofLine(source, run);
      assert.equal(line.ok, true, line.message);
      assert.deepEqual(await differences(stored, source, run), []);
    });
  });
});
