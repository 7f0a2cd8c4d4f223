import { strict as assert } from 'node:assert';
import { after, before, describe, test } from 'node:test';
import type { PostgresSettings } from '#core/plan';
import {
  assertSameLines,
  differences,
  differencesAfter,
  runScript,
  sqlAt,
  withBackup,
} from '#test/engines/postgres/backups';
import { newServer, ODD_SCHEMA, sourceOf } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';

/** Values that differ and that some digest, hash or equality of PostgreSQL's takes for the same. */
const BLIND_SPOTS: Readonly<Record<string, string>> = {
  'numeric 1.0 and 1.00': `num = 1.00 where id = 1`,
  'numeric inside jsonb': `jb = '{"n": 1.00}' where id = 1`,
  'spaces inside json': `j = '{"b":1,"a":1}' where id = 1`,
  'interval 24 hours and 1 day': `iv = '1 day' where id = 1`,
  'citext in another case': `ct = 'MIXEDCASE' where id = 1`,
  'a nondeterministic collation': `ic = 'ärger' where id = 1`,
  'float -0 and 0': `f8 = 0 where id = 2`,
  'lower bounds of an array': `arr = '{1,2,3}' where id = 1`,
  'numeric inside a range': `nr = '[1.00,2.00)' where id = 1`,
  'an enum inside an array': `es = '{halted,running}' where id = 1`,
  'an enum inside a composite': `p = row('running', 1.00, null) where id = 1`,
  'null and an empty text': `t = '' where id = 3`,
};

/** pg_dump names a policy's roles as they lie in pg_authid, where ALTER ROLE moves them. */
function rolesSorted(dump: string): string {
  return dump.replace(
    /^(CREATE POLICY .* TO )(.*)( USING .*)$/gm,
    (_line, before: string, roles: string, after: string) => `${before}${roles.split(', ').sort().join(', ')}${after}`,
  );
}

describe('postgres: a database with every oddity', () => {
  let server: PostgresServer;
  let other: PostgresServer;
  const source = (settings: Partial<PostgresSettings> = {}) => sourceOf({ url: server.socketUrl('odd'), ...settings });

  before(async () => {
    [server, other] = await Promise.all([newServer(), newServer()]);
    await server.sql('postgres', 'create database odd');
    await server.file('odd', ODD_SCHEMA);
  });
  after(async () => {
    await Promise.all([server.stop(), other.stop()]);
  });

  test('is proven; every change of a value that equality overlooks is found', async () => {
    await withBackup(source(), async (stored, run) => {
      assert.deepEqual(stored.result.warnings, []);
      await differencesAfter(stored, source(), run, async (copy) => {
        let undo = '';
        for (const [what, change] of Object.entries(BLIND_SPOTS)) {
          await sqlAt(
            copy.where,
            `${undo}create table kept as table public.every_type; update public.every_type set ${change}`,
          );
          assert.deepEqual(
            (await copy.compare()).filter((one) => one.includes('every_type')),
            ['table public.every_type: same 3 rows, other content'],
            what,
          );
          undo = 'truncate public.every_type; insert into public.every_type select * from kept; drop table kept; ';
        }
        await sqlAt(copy.where, undo);
        assert.deepEqual(await copy.compare(), []);
      });
    });
  });

  test('I6, done when 3: restores with restore.script, on a server without its roles, to an equal pg_dump', async () => {
    const expected = await server.dump('odd');
    await withBackup(source(), async (stored) => {
      const target = await freshDatabase(other);
      await runScript(stored, other.url(target));
      assertSameLines(await other.dump(target), expected);
    });
  });

  test('jobs: staged with several workers, proven, and restored by its script', async () => {
    const expected = await server.dump('odd');
    await withBackup(source({ jobs: 2 }), async (stored, run) => {
      assert.deepEqual(await differences(stored, source({ jobs: 2 }), run), []);
      const target = await freshDatabase(other);
      await runScript(stored, other.url(target));
      assertSameLines(await other.dump(target), expected);
    });
  });

  test('schemaOnly: the whole schema, no rows', async () => {
    await withBackup(source({ schemaOnly: true }), async (stored, run) => {
      assert.equal(stored.result.measures['rows'], 0);
      assert.deepEqual(await differences(stored, source({ schemaOnly: true }), run), []);
      const target = await freshDatabase(other);
      await runScript(stored, other.url(target));
      assertSameLines(await other.dump(target, '--schema-only'), await server.dump('odd', '--schema-only'));
      assert.equal(await other.sql(target, 'select count(*) from public."User"'), '0');
    });
  });

  test('tried 4: tables: gives the whole schema and the data of exactly these', async () => {
    const tables = [
      'User',
      'log',
      '"Odd.Schema with ""quotes"" and ünïcode"."Table.with ""dots"", spaces and $dollars"',
      '*',
    ];
    await withBackup(source({ tables }), async (stored, run) => {
      assert.deepEqual(await differences(stored, source({ tables }), run), []);
      const target = await freshDatabase(other);
      await runScript(stored, other.url(target));
      assertSameLines(await other.dump(target, '--schema-only'), await server.dump('odd', '--schema-only'));
      const counts =
        'select (select count(*) from public."User"), (select count(*) from public.log), (select count(*) from public."user")';
      assert.equal(await other.sql(target, counts), '20|61|0');
    });
  });

  test('partial: only these tables, in schemas that the dump itself does not make', async () => {
    const plan = source({ tables: ['table', 'public.user', 'select.*'], partial: true });
    await withBackup(plan, async (stored, run) => {
      assert.deepEqual(await differences(stored, plan, run), []);
      const target = await freshDatabase(other);
      await runScript(stored, other.url(target));
      assert.equal(await other.sql(target, 'select count(*) from "select"."table"'), '2');
    });
  });

  test('databases: all with the roles: proven, and restored by its script to an empty server', async () => {
    const fresh = await newServer();
    try {
      const plan = { url: server.url('postgres'), databases: 'all' as const };
      await withBackup(sourceOf(plan), async (stored, run) => {
        assert.deepEqual(await differences(stored, sourceOf(plan), run), []);
        assert.match(stored.result.warnings.join('\n'), /not of the same instant/);
        await runScript(stored, fresh.socketUrl('postgres'));
        assertSameLines(rolesSorted(await fresh.dump('odd')), rolesSorted(await server.dump('odd')));
        const roles = `select rolname, rolcanlogin, rolsuper from pg_roles where rolname !~ '^pg_' order by 1`;
        assert.equal(await fresh.sql('postgres', roles), await server.sql('postgres', roles));
      });
    } finally {
      await fresh.stop();
    }
  });

  test('columns that came to a parent table later lie elsewhere after a restore, and are equal all the same', async () => {
    const name = await freshDatabase(server);
    await server.sql(
      name,
      `create table parent (id int, name text); create table child (own text) inherits (parent);
       alter table parent add column late int default 7; insert into child values (1, 'a', 'b', 3)`,
    );
    const late = sourceOf({ url: server.url(name) });
    await withBackup(late, async (stored, run) => {
      assert.deepEqual(
        await differencesAfter(stored, late, run, (copy) =>
          sqlAt(copy.where, `update child set name = own, own = name`),
        ),
        ['table public.child: same 1 rows, other content'],
      );
    });
  });
});
