import { strict as assert } from 'node:assert';
import { after, before, describe, test } from 'node:test';
import type { PostgresSettings } from '#core/plan';
import type { RestoreOutcome, RunContext, SourceRef } from '#core/ports';
import { postgres } from '#engines/postgres/engine';
import type { StoredBackup } from '#test/contracts/stored-backup';
import {
  assertSameLines,
  differences,
  differencesAfter,
  runScript,
  sqlAt,
  withBackup,
} from '#test/engines/postgres/backups';
import { newServer, sourceOf } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';

describe('postgres: what loads otherwise than it was, and is right', () => {
  let server: PostgresServer;
  /** Without the roles of the other, and with room for few locks. */
  let other: PostgresServer;
  before(async () => {
    [server, other] = await Promise.all([
      newServer('wal_level = logical'),
      newServer('max_locks_per_transaction = 10\nmax_connections = 20'),
    ]);
  });
  after(async () => {
    await Promise.all([server.stop(), other.stop()]);
  });

  async function database(sql: string): Promise<{ readonly name: string; readonly source: SourceRef }> {
    const name = await freshDatabase(server);
    await server.sql(name, sql);
    return { name, source: at(name) };
  }

  const at = (name: string, more: Partial<PostgresSettings> = {}, user = 'postgres'): SourceRef =>
    sourceOf(
      { url: server.socketUrl(name, user), ...more },
      // Quicker than a scratch cluster each time.
      { prove: { with: { url: other.socketUrl('postgres') } } },
    );

  const restore = (stored: StoredBackup, run: RunContext, target: string): Promise<RestoreOutcome> =>
    postgres.restore(stored.backup(run, { through: 'child' }), { target, only: [], overwrite: false }, null, run);

  test('partitions by the hash of an enum: rows come back in other partitions, none is lost, a change is seen', async () => {
    const { source } = await database(`
      create type colour as enum ('red', 'green', 'blue', 'cyan', 'pink', 'grey', 'gold', 'teal');
      create table painted (colour colour, part int, note text) partition by list (part);
      create table plain partition of painted for values in (2);
      create table hashed partition of painted for values in (1) partition by hash (colour);
      create table hashed_0 partition of hashed for values with (modulus 3, remainder 0);
      create table hashed_1 (note text, part int, colour colour);
      alter table hashed attach partition hashed_1 for values with (modulus 3, remainder 1);
      create table hashed_2 partition of hashed for values with (modulus 3, remainder 2);
      insert into painted select (enum_range(null::colour))[1 + i % 8], 1 + i % 2, 'note ' || i from generate_series(1, 200) i`);
    await withBackup(source, async (stored, run) => {
      const change = (sql: string) => differencesAfter(stored, source, run, (copy) => sqlAt(copy.where, sql));
      assert.deepEqual(await change(`update hashed set note = 'other' where note = 'note 8'`), [
        'table public.hashed: same 100 rows, other content',
      ]);
      assert.deepEqual(await change(`delete from plain where note = 'note 9'`), [
        'table public.plain: 100 rows, restored 99',
      ]);
      await restore(stored, run, other.socketUrl('painted'));
      assert.equal(await other.sql('painted', 'select count(*) from painted'), '200');
    });
  });

  test('an extension of an older version than is installed, as pg_upgrade leaves it, is no difference; a lost type is', async () => {
    const { source } = await database(`create extension pg_stat_statements version '1.8'; create type own as (a int)`);
    await withBackup(source, async (stored, run) => {
      assert.deepEqual(
        await differencesAfter(stored, source, run, (copy) =>
          sqlAt(
            copy.where,
            `
        alter extension pg_stat_statements drop view pg_stat_statements_info; drop view pg_stat_statements_info; drop type own`,
          ),
        ),
        ['types: 2, restored 1'],
      );
    });
  });

  test('a materialized view over one that is not populated comes back unpopulated, as pg_dump leaves it', async () => {
    const { source } = await database(`
      create table t as select 1 as n; create materialized view base as select * from t;
      create view between_them as select n from base; create materialized view top as select * from between_them;
      create materialized view apart as select * from t; refresh materialized view base with no data`);
    await withBackup(source, async (stored, run) => {
      assert.deepEqual(
        await differencesAfter(stored, source, run, (copy) =>
          sqlAt(copy.where, 'refresh materialized view apart with no data'),
        ),
        ['materialized view public.apart: populated in the source, not populated in the restored copy'],
      );
    });
  });

  test('a subscription is proven and restored, whoever owns it; a login that may not dump it says so', async () => {
    const { name, source } = await database(
      `
      create role subscriber superuser; create role reader login; grant pg_read_all_data to reader; create table t (i int);
      set role subscriber; create subscription news connection 'host=nowhere' publication p with (connect = false, slot_name = none)`.replace(
        'subscription news',
        `subscription news_${process.pid}`,
      ),
    );
    await withBackup(source, async (stored, run) => {
      assert.deepEqual(stored.result.warnings, []);
      assert.deepEqual(await differences(stored, source, run), []);
      assert.equal(await other.sql('postgres', `select count(*) from pg_database where datname ~ 'holdfast'`), '0');
      const inScratch = sourceOf({ url: server.socketUrl(name) });
      assert.deepEqual(await differences(stored, inScratch, run), []);
      await runScript(stored, other.socketUrl(await freshDatabase(other)));
    });
    for (const more of [{}, { jobs: 2 }])
      await withBackup(at(name, more, 'reader'), async (stored) => {
        assert.match(stored.result.warnings.join(), /^pg_dump: subscriptions not dumped/);
      });
  });

  test('peers 3H: a security label whose provider is not here makes a proof inconclusive', async () => {
    const { source } = await database(`create table t (i int);
      insert into pg_seclabel values ('t'::regclass, 'pg_class'::regclass, 0, 'anon', 'MASKED')`);
    await withBackup(source, async (stored, run) => {
      await assert.rejects(differences(stored, source, run), { name: 'NotProvableHere', message: /provider "anon"/ });
    });
  });

  test('more things than a server has locks for are loaded one by one', async () => {
    const { source } = await database('select count(lo_create(i)) from generate_series(1, 7000) i');
    await withBackup(source, async (stored, run) => {
      await restore(stored, run, other.socketUrl('many_objects'));
      assert.equal(await other.sql('many_objects', 'select count(*) from pg_largeobject_metadata'), '7000');
    });
  });

  test('settings of a database come back into an empty one too, by Holdfast and by restore.script', async () => {
    const { name, source } = await database('create schema app; create table app.t (i int)');
    await server.sql(
      'postgres',
      `alter database ${name} set search_path = app, "odd ' schema"; alter database ${name} set backslash_quote = off;
       alter database ${name} set "my.own" = E'it''s \\\\ here'; alter database ${name} set default_transaction_read_only = on`,
    );
    const settings = (on: PostgresServer, of: string): Promise<string> =>
      on.sql(
        'postgres',
        `select unnest(setconfig) from pg_db_role_setting join pg_database d on d.oid = setdatabase where datname = '${of}' order by 1`,
      );
    await withBackup(source, async (stored, run) => {
      const [byScript, empty] = [await freshDatabase(other), await freshDatabase(other)];
      await other.sql('postgres', `alter database ${empty} set work_mem = '5MB'`);
      await runScript(stored, other.socketUrl(byScript));
      const { warnings } = await restore(stored, run, other.socketUrl(empty));
      assert.deepEqual(warnings, []);
      assertSameLines(await settings(other, byScript), await settings(server, name));
      assert.equal(await settings(other, empty), `${await settings(server, name)}\nwork_mem=5MB`);
    });
  });

  test('a setting that the login may not make is told, and does not undo the restore', async () => {
    const { name, source } = await database('create table t (i int)');
    await server.sql('postgres', `alter database ${name} set session_preload_libraries = 'pg_trgm'`);
    await other.sql('postgres', 'create role maker login createdb');
    await withBackup(source, async (stored, run) => {
      const { warnings } = await restore(stored, run, other.socketUrl('by_maker', 'maker'));
      assert.match(warnings.join(), /a setting of the database is not restored: set session_preload_libraries/);
      assert.equal(await other.sql('by_maker', 'select count(*) from t'), '0');
    });
  });

  test('a cast to text of the user’s own neither blinds the digest nor breaks it', async () => {
    const { source } = await database(`
      create type pair as (a int, b int); create schema app;
      create function app.unsaid(int) returns text language sql immutable as $$ select 'x' $$;
      create function app.told(pair) returns text language plpgsql immutable as $$ begin return unsaid($1.a); end $$;
      create cast (pair as text) with function app.told(pair); create domain pair_domain as pair;
      create table t (p pair, d pair_domain); insert into t values (row(1, 2), row(3, 4)), (null, row(null, null))`);
    await withBackup(source, async (stored, run) => {
      for (const change of ['p = row(1, 3) where (p).a = 1', 'd = null where p is null'])
        assert.deepEqual(
          await differencesAfter(stored, source, run, (copy) => sqlAt(copy.where, `update t set ${change}`)),
          ['table public.t: same 2 rows, other content'],
        );
    });
  });

  test('xml with a declaration, which a dump drops, is equal; another document is not', async () => {
    const { source } = await database(`
      create domain page as xml; create domain front_page as page;
      create table t (x xml, p page, f front_page, xs xml[], pair page[]);
      insert into t select d, d, d, array[d], array[d::page] from (values
        ('<?xml version="1.0" encoding="UTF-8"?><a>é</a>'::xml), ('<?xml version="1.0" standalone="yes"?><b/>'), ('<c/>'), (null)) v(d)`);
    await withBackup(source, async (stored, run) => {
      const changed = await differencesAfter(stored, source, run, async (copy) => {
        await sqlAt(copy.where, `update t set f = '<d/>' where f::text = '<c/>'`);
      });
      assert.deepEqual(changed, ['table public.t: same 4 rows, other content']);
    });
  });

  test('a function that misses its schema does not load, and the hint says what to do', async () => {
    const { source } = await database(`
      create table limits (most int); insert into limits values (10);
      create function fits(int) returns bool language plpgsql immutable as $$ begin return $1 < (select most from limits); end $$;
      create table t (i int check (fits(i))); insert into t values (5)`);
    await withBackup(source, async (stored, run) => {
      await assert.rejects(differences(stored, source, run), {
        name: 'Disproven',
        hint: /ALTER FUNCTION … SET search_path/,
      });
    });
  });

  test('databases: all says which it leaves out', async () => {
    const fresh = await newServer();
    try {
      await fresh.sql('postgres', 'create database closed allow_connections false');
      await fresh.sql('postgres', 'create database half_dropped');
      await fresh.sql('postgres', `update pg_database set datconnlimit = -2 where datname = 'half_dropped'`);
      await withBackup(sourceOf({ url: fresh.socketUrl('postgres'), databases: 'all' }), async (stored) => {
        assert.deepEqual(stored.result.warnings, [
          'database closed allows no connections (ALLOW_CONNECTIONS false), and is not in the backup',
          'database half_dropped is what a DROP DATABASE that was cut off has left, and is not in the backup',
        ]);
      });
    } finally {
      await fresh.stop();
    }
  });
});
