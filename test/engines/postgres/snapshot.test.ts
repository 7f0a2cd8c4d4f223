import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { RunContext } from '#core/ports';
import { accessTo } from '#engines/postgres/access';
import { parseAddress } from '#engines/postgres/address';
import type { TableFacts } from '#engines/postgres/catalog';
import { digestTables } from '#engines/postgres/digest';
import { openSnapshot, type Snapshot } from '#engines/postgres/snapshot';
import { inRun } from '#test/engines/postgres/backups';
import { newServer } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';

describe('postgres: the snapshot', () => {
  let server: PostgresServer;
  before(async () => {
    server = await newServer();
  });
  after(() => server.stop());

  async function inSnapshot<T>(
    database: string,
    run: RunContext,
    work: (snapshot: Snapshot) => Promise<T>,
    {
      psql = join(server.bin, 'psql'),
      wanted,
    }: { psql?: string; wanted?: (tables: readonly TableFacts[]) => void } = {},
  ): Promise<T> {
    const access = await accessTo(parseAddress(server.url(database), 'the test'), [], run);
    const snapshot = await openSnapshot(
      access,
      {
        psql,
        lockTimeout: '5s',
        wanted: (tables) => {
          wanted?.(tables);
          return tables;
        },
      },
      run,
    );
    try {
      return await work(snapshot);
    } finally {
      await snapshot.session.close();
    }
  }

  /** psql, with all that it is told kept in a file. */
  async function overheard(run: RunContext): Promise<{ readonly psql: string; lists(): Promise<number> }> {
    const psql = join(run.scratch, 'overheard');
    const heard = join(run.scratch, 'heard');
    await writeFile(psql, `#!/bin/sh\ntee -a '${heard}' | '${join(server.bin, 'psql')}' "$@"\n`);
    await chmod(psql, 0o755);
    return { psql, lists: async () => (await readFile(heard, 'utf8')).split('c.relpages').length - 1 };
  }

  const ODD = `create table "Zürich ""x""" (id int); create table a (id int) partition by range (id);
    create table a_1 partition of a for values from (1) to (9); create schema later; create table later.a (id int)`;

  test('I8: tables are listed once when none came meanwhile: of twenty thousand, a second list takes 8 MiB', async () => {
    const database = await freshDatabase(server);
    for (const tables of ['', ODD]) {
      await server.sql(database, tables);
      await inRun(async (run) => {
        const { psql, lists } = await overheard(run);
        const names = await inSnapshot(database, run, async (one) => one.tables.map(({ name }) => name), { psql });
        assert.deepEqual(names.toSorted(), tables === '' ? [] : ['Zürich "x"', 'a', 'a', 'a_1']);
        assert.equal(await lists(), 1);
      });
    }
  });

  test('a table that came after the list, and one that took the place of another, are in the snapshot and locked', async () => {
    const database = await freshDatabase(server);
    await server.sql(database, `${ODD}; create table goes (id int)`);
    await inRun(async (run) => {
      let calls = 0;
      // After the first list; after the second one, of the same attempt, under its locks; after that of the next attempt.
      const meanwhile = ['create table came (id int)', null, 'drop table goes; create table replaces (id int)'];
      const wanted = (): void => {
        const statement = meanwhile[calls++] ?? null;
        if (statement === null) return;
        execFileSync(join(server.bin, 'psql'), ['-X', '-q', '-d', server.socketUrl(database), '-c', statement]);
      };
      await inSnapshot(
        database,
        run,
        async ({ tables, session }) => {
          assert.deepEqual(
            tables.map(({ name }) => name).filter((name) => ['came', 'goes', 'replaces'].includes(name)),
            ['came', 'replaces'],
          );
          const locks = await session.query(
            `select relation from pg_catalog.pg_locks where pid = pg_catalog.pg_backend_pid() and mode = 'AccessShareLock'`,
          );
          const locked = new Set(locks.map(([oid]) => oid));
          for (const table of tables) assert.ok(locked.has(table.oid), `${table.name} is locked`);
        },
        { wanted },
      );
    });
  });

  test('pg1 is the sum, in decimal and far beyond 64 bits, that its definition in the manifests stands for', async () => {
    const database = await freshDatabase(server);
    await server.sql(
      database,
      `create table t (id int, at timestamptz, "Text" text, doc jsonb, amount numeric, gone int, raw bytea);
       alter table t drop column gone;
       insert into t select i, timestamptz '2026-01-01Z' + i * interval '1 s', nullif('n' || i % 7, 'n3'),
         jsonb_build_object('i', i), i * 1.50, sha256(i::text::bytea) from generate_series(1, 5000) i`,
    );
    const definition = await server.sql(
      database,
      `set timezone = 'UTC'; select count(*), sum(hashtextextended(hash_record_extended(row("Text" collate "C",
         amount::text collate "C", at, doc::text collate "C", id, raw), 0)::text collate "C", 1)::numeric) from only t`,
    );
    await inRun((run) =>
      inSnapshot(database, run, async ({ session, tables }) => {
        const [print] = await digestTables(session, tables, { digest: 'pg1' });
        assert.equal(`${print?.rows}|${print?.digest}`, definition);
        assert.ok(BigInt(print?.digest as string) ** 2n > 2n ** 126n, 'a sum that a bigint could not hold');
      }),
    );
  });
});
