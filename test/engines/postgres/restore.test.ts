import { strict as assert } from 'node:assert';
import { readdir } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { HoldfastError } from '#core/errors';
import type { PostgresSettings } from '#core/plan';
import type { RestoreOutcome, RunContext, SourceRef } from '#core/ports';
import { postgres } from '#engines/postgres/engine';
import type { StoredBackup } from '#test/contracts/stored-backup';
import { assertSameLines, differences, differencesAfter, sqlAt, withBackup } from '#test/engines/postgres/backups';
import { fillEvents, newServer, ODD_SCHEMA, sourceOf } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';

describe('postgres: restore', () => {
  let server: PostgresServer;
  let source: SourceRef;
  let database: string;
  before(async () => {
    server = await newServer();
    database = await freshDatabase(server);
    await fillEvents(server, database, 500);
    await server.sql(
      database,
      `alter database ${database} set work_mem = '7MB'; alter database ${database} set search_path = public, "odd schema";
       create table orders (id int generated always as identity primary key, account int references accounts, note text check (note <> ''));
       create index by_note on orders (lower(note)); insert into orders (account, note) select i, 'n' || i from generate_series(1, 50) i`,
    );
    source = sourceOf({ url: server.url(database) });
  });
  after(() => server.stop());

  function restore(
    stored: StoredBackup,
    run: RunContext,
    target: string,
    options: { only?: string[]; overwrite?: boolean } = {},
  ): Promise<RestoreOutcome> {
    const { only = [], overwrite = false } = options;
    return postgres.restore(stored.backup(run, { through: 'child' }), { target, only, overwrite }, source, run);
  }

  async function refused(work: Promise<unknown>, code: string): Promise<HoldfastError> {
    try {
      await work;
    } catch (error) {
      assert.ok(error instanceof HoldfastError, String(error));
      assert.equal(error.code, code, error.message);
      return error;
    }
    return assert.fail('was not refused');
  }

  test('peers 3B: a target that does not exist is created, compared, and has the settings of the database', async () => {
    await withBackup(source, async (stored, run) => {
      const outcome = await restore(stored, run, server.url('brand_new'));
      assert.equal(outcome.verified, true);
      assertSameLines(await server.dump('brand_new'), await server.dump(database));
      const settings = (name: string): Promise<string> =>
        server.sql(
          'postgres',
          `select setconfig from pg_db_role_setting join pg_database d on d.oid = setdatabase where datname = '${name}'`,
        );
      assert.equal(await settings('brand_new'), await settings(database));
    });
  });

  test('I11: with overwrite the old database is kept under another name, its grants and settings stay, its users are put out', async () => {
    await withBackup(source, async (stored, run) => {
      const name = await freshDatabase(server);
      await server.sql(
        name,
        `create table old (id int); create role app_${name} login; grant connect on database ${name} to app_${name};
         revoke connect on database ${name} from public; alter database ${name} set statement_timeout = '77s'`,
      );
      const acl = (of: string): string =>
        `select array(select unnest(datacl)::text order by 1) from pg_database where datname = '${of}'`;
      const { warnings } = await restore(stored, run, server.url(name), { overwrite: true });
      const kept = /kept as database (\S+);/.exec(warnings.join('\n'))?.[1] ?? '';
      assert.equal(await server.sql(kept, 'select count(*) from old'), '0');
      assert.equal(await server.sql(name, 'select count(*) from events'), '500');
      assert.equal(await server.sql('postgres', acl(name)), await server.sql('postgres', acl(kept)));
      assert.equal(await server.sql(name, 'show statement_timeout'), '77s');
    });
  });

  test('I11: a name as long as a name can be, in letters of three bytes: the old database is kept, not dropped', async () => {
    const name = '日'.repeat(21);
    await server.sql('postgres', `create database "${name}"`);
    await server.sql(name, 'create table precious (id int)');
    await withBackup(source, async (stored, run) => {
      const { warnings } = await restore(stored, run, server.url(name), { overwrite: true });
      const [, kept = ''] = /is kept as database (\S+);/.exec(warnings.join()) ?? [];
      assert.match(kept, /^日{13}_before_/);
      assert.equal(await server.sql(kept, 'select count(*) from precious'), '0');
      assert.equal(await server.sql(name, 'select count(*) from accounts'), '100');
    });
  });

  test('a target that is not there is known as that, whatever the words of its server; --only a name with line breaks', async () => {
    // Words that are not matched, as those of a server in another language are not.
    const name = 'not\nthere';
    await server.sql(database, 'create table "line\r\nbreaks" as select 7 as n');
    await withBackup(source, async (stored, run) => {
      await restore(stored, run, server.url(name));
      const only = ['line\r\nbreaks'];
      await server.sql(`dbname='${name}'`, 'drop table "line\r\nbreaks"');
      await restore(stored, run, server.url(name), { only });
      assert.equal(await server.sql(`dbname='${name}'`, 'select n from "line\r\nbreaks"'), '7');
    });
    await server.sql(database, 'drop table "line\r\nbreaks"');
  });

  test('--only a table that stands before much else in the dump, which nobody reads then', async () => {
    const large = await freshDatabase(server);
    await server.sql(
      large,
      `create table a_small as select n from generate_series(1, 10) n;
       create table z_large as select n, repeat(md5(n::text), 20) as note from generate_series(1, 20000) n`,
    );
    await withBackup(sourceOf({ url: server.url(large) }), async (stored, run) => {
      const name = await freshDatabase(server);
      const { verified } = await restore(stored, run, server.url(name), { only: ['a_small'] });
      assert.equal(verified, true);
      assert.equal(await server.sql(name, 'select sum(n) from a_small'), '55');
    });
  });

  test('--only a table of a backup that was taken with jobs', async () => {
    const staged = sourceOf({ url: server.url(database), jobs: 2 });
    await withBackup(staged, async (stored, run) => {
      const name = await freshDatabase(server);
      const { verified } = await restore(stored, run, server.url(name), { only: ['orders', 'accounts'] });
      assert.equal(verified, true);
      assert.equal(await server.sql(name, 'select count(*), max(note) from orders'), '50|n9');
      assert.equal(await server.sql(name, `select count(*) from pg_class where relname = 'events'`), '0');
      await refused(restore(stored, run, server.url(name), { only: ['no_such'] }), 'usage');
      assert.deepEqual(
        (await readdir(run.scratch)).filter((left) => left !== 'pids' && !/dump/.test(left)),
        [],
      );
    });
  });

  test('I11: --only a table whose old one was renamed says what is in the way, and how to move it whole', async () => {
    const name = await freshDatabase(server);
    await withBackup(source, async (stored, run) => {
      const only = ['orders', 'accounts'];
      await restore(stored, run, server.url(name), { only });
      const there = await refused(restore(stored, run, server.url(name), { only }), 'target-not-empty');
      assert.doesNotMatch(there.hint ?? '', /rename/, 'that alone is not enough');
      await server.sql(name, 'alter table orders rename to orders_bad; alter table accounts rename to accounts_bad');
      const renamed = await refused(restore(stored, run, server.url(name), { only }), 'target-unusable');
      assert.match(renamed.message, /do not fit into the target: relation ".*" already exists/);
      assert.match(renamed.hint ?? '', /set schema aside/);
      await server.sql(
        name,
        'create schema aside; alter table orders_bad set schema aside; alter table accounts_bad set schema aside',
      );
      assert.equal((await restore(stored, run, server.url(name), { only })).verified, true);
    });
  });

  test('a database that nobody may connect to, as a switch that was killed leaves it, says how it is opened', async () => {
    const name = await freshDatabase(server);
    await server.sql('postgres', `alter database ${name} allow_connections false`);
    await withBackup(source, async (stored, run) => {
      const shut = await refused(restore(stored, run, server.url(name), { overwrite: true }), 'target-unusable');
      assert.match(`${shut.message} ${shut.hint}`, /not currently accepting connections.*ALLOW_CONNECTIONS true/);
      await server.sql('postgres', `alter database ${name} allow_connections true`);
      assert.equal((await restore(stored, run, server.url(name), { overwrite: true })).verified, true);
    });
  });

  test('--only a table: beside other data, with its index, key, identity and checks', async () => {
    await withBackup(source, async (stored, run) => {
      const name = await freshDatabase(server);
      await server.sql(name, 'create table somebody_elses (id int); insert into somebody_elses values (1)');
      const { verified, warnings } = await restore(stored, run, server.url(name), {
        only: ['orders', 'public.accounts'],
      });
      assert.equal(verified, true);
      assert.match(warnings.join('\n'), /foreign keys/);
      assert.equal(await server.sql(name, 'select count(*) from orders'), '50');
      assert.equal(
        await server.sql(name, `select count(*) from pg_indexes where indexname in ('by_note', 'orders_pkey')`),
        '2',
      );
      assert.equal(await server.sql(name, `insert into orders (note) values ('new') returning id`), '51');
      assert.equal(await server.sql(name, 'select count(*) from somebody_elses'), '1');
      assert.equal(await server.sql(name, `select count(*) from pg_class where relname = 'events'`), '0');
      const again = await refused(restore(stored, run, server.url(name), { only: ['orders'] }), 'target-not-empty');
      assert.match(again.message, /public\.orders/);
      const over = await restore(stored, run, server.url(name), { only: ['orders'], overwrite: true });
      assert.match(over.warnings.join('\n'), /kept in schema holdfast_before_/);
      assert.equal(await server.sql(name, 'select count(*) from orders'), '50');
      await refused(restore(stored, run, server.url(name), { only: ['no_such'] }), 'usage');
    });
    assert.equal(
      await server.sql('postgres', `select count(*) from pg_database where datname like 'holdfast_only%'`),
      '0',
    );
  });

  test('a login without CREATEDB restores in place into an empty database, as its own', async () => {
    await withBackup(source, async (stored, run) => {
      const name = await freshDatabase(server);
      await server.sql('postgres', `create role humble login password 'x'; alter database ${name} owner to humble`);
      const { verified, warnings } = await restore(stored, run, server.url(name, 'humble', 'x'));
      assert.equal(verified, true);
      assert.match(warnings.join('\n'), /in place/);
      assert.match(warnings.join('\n'), /owners and grants are not restored/);
      assert.equal(await server.sql(name, 'select count(*) from events'), '500');
      const filled = await refused(restore(stored, run, server.url(name, 'humble', 'x')), 'target-not-empty');
      assert.match(filled.message, /not empty/);
      await refused(restore(stored, run, server.url('nowhere', 'humble', 'x')), 'target-unusable');
    });
  });

  test('a target that is not reached, or refuses, is unusable, and no secret is told', async () => {
    await withBackup(source, async (stored, run) => {
      const error = await refused(restore(stored, run, 'postgresql://u:secret@127.0.0.1:1/x'), 'target-unusable');
      assert.doesNotMatch(error.message, /secret/);
      await refused(restore(stored, run, server.url('x', 'postgres', 'wrong')), 'target-unusable');
    });
  });

  test('I11: a look refuses what a restore would, roles and databases are as they were', async () => {
    await withBackup(source, async (stored, run) => {
      const name = await freshDatabase(server);
      await server.sql(
        'postgres',
        `create role meek login password 'x'; alter database ${name} owner to meek;
         create role fixed createdb login password 'x'; alter role fixed set default_transaction_read_only = on`,
      );
      const catalog = (): Promise<string> =>
        server.sql('postgres', 'select (select count(*) from pg_database), (select count(*) from pg_roles)');
      const before = await catalog();
      const look = (target: string, only: string[] = []): Promise<void> =>
        postgres.lookAtTarget(
          stored.backup(run, { through: 'child' }),
          { target, only, overwrite: false },
          source,
          run,
        );
      await look(server.url('brand_new_one'));
      await look(server.url(name, 'meek', 'x'));
      await look(server.url(name), ['events']);
      await refused(look(server.url('nowhere', 'meek', 'x')), 'target-unusable');
      await refused(look(server.url(name, 'meek', 'x'), ['events']), 'target-unusable');
      await refused(look(server.url(database), ['events']), 'target-not-empty');
      await refused(look(server.url(name), ['no_such_table']), 'usage');
      await refused(look('postgresql://u@127.0.0.1:1/x'), 'target-unusable');
      const { message, hint } = await refused(look(server.url('brand_new_one', 'fixed', 'x')), 'target-unusable');
      assert.match(message, /takes no writes: default_transaction_read_only is on/);
      assert.match(hint ?? '', /disk is full/);
      await refused(restore(stored, run, server.url('brand_new_one', 'fixed', 'x')), 'target-unusable');
      assert.equal(await catalog(), before);
    });
  });

  test('databases: all go back to another server, or one of them under another name', async () => {
    // Of its own: what the other tests leave behind would all go over.
    const [from, other] = await Promise.all([newServer(), newServer()]);
    try {
      const all: PostgresSettings = { url: from.url('postgres'), databases: 'all' };
      await from.sql('postgres', `create database ${database}`);
      await fillEvents(from, database, 500);
      await from.sql('postgres', 'create database odd_one');
      await from.file('odd_one', ODD_SCHEMA);
      await from.sql('postgres', 'create database "日\nand a line"');
      await from.sql(`dbname='日\nand a line'`, 'create table kept as select 7 as n');
      await withBackup(sourceOf(all), async (stored, run) => {
        await restore(stored, run, other.url('postgres'));
        assertSameLines(
          await other.dump('odd_one', '--exclude-table=secrets'),
          await from.dump('odd_one', '--exclude-table=secrets'),
        );
        assertSameLines(await other.dump(database), await from.dump(database));
        assert.equal(await other.sql(`dbname='日\nand a line'`, 'select n from kept'), '7');
        await restore(stored, run, other.url('just_one'), { only: [database] });
        assertSameLines(await other.dump('just_one'), await from.dump(database));
        // The url of a server, with nothing or `postgres` to connect to, gives it no other name.
        for (const url of [other.url(''), other.url('postgres')]) {
          await other.sql('just_one', `drop database ${database}`);
          const back = await restore(stored, run, url, { only: [database] });
          assert.match(back.target, new RegExp(`/${database}$`));
          assertSameLines(await other.dump(database), await from.dump(database));
        }
        assert.equal(
          await other.sql('just_one', `select count(*) from pg_database where datname in ('postgres', '${database}')`),
          '2',
        );
        assert.equal(await other.sql('postgres', 'select count(*) from pg_class where relname = $$events$$'), '0');
      });
    } finally {
      await Promise.all([from.stop(), other.stop()]);
    }
  });

  test('exec: all programs run behind a prefix that passes on neither environment nor files', async () => {
    const exec = ['env', '-i', `PATH=${server.bin}:/usr/bin:/bin`];
    for (const url of [server.url(database), server.socketUrl(database)]) {
      const behind = sourceOf({ url, exec, globals: true });
      await withBackup(behind, async (stored, run) => {
        assert.deepEqual(await differences(stored, behind, run), []);
      });
    }
  });

  test('prove.with a server of the user’s own: compared there, and nothing is left on it', async () => {
    const prover = await newServer();
    try {
      const state = `select string_agg(datname, ',' order by datname) from pg_database`;
      const roles = `select count(*) from pg_roles`;
      const clean = [await prover.sql('postgres', state), await prover.sql('postgres', roles)];
      const odd = await freshDatabase(server);
      await server.file(odd, ODD_SCHEMA);
      const plan: SourceRef = sourceOf({ url: server.url(odd) }, { prove: { with: { url: prover.url('postgres') } } });
      await withBackup(plan, async (stored, run) => {
        assert.deepEqual(
          await differencesAfter(stored, plan, run, async (copy) => {
            const where = `${copy.where}&password=${encodeURIComponent(prover.password)}`;
            await sqlAt(where, `update public."user" set id = 9 where id = 1`);
          }),
          ['table public.user: same 3 rows, other content'],
        );
      });
      assert.deepEqual([await prover.sql('postgres', state), await prover.sql('postgres', roles)], clean);
    } finally {
      await prover.stop();
    }
  });

  test('peers 3H: what lacks in this place makes a proof inconclusive, never a false alarm', async () => {
    await withBackup(source, async (stored, run) => {
      const backup = stored.backup(run, { through: 'child' });
      const changed = async (
        change: (print: { server: { major: number }; databases: { extensions: string[]; collate: string }[] }) => void,
      ) => {
        const print = (await backup.fingerprint()) as Parameters<typeof change>[0];
        change(print);
        return refused(postgres.load({ ...backup, fingerprint: async () => print }, source, run), 'not-provable-here');
      };
      assert.match((await changed((print) => print.databases[0]?.extensions.push('postgis'))).message, /postgis/);
      assert.match(
        (
          await changed((print) => {
            print.server.major = 9;
          })
        ).hint ?? '',
        /apt-get install postgresql-9/,
      );
      assert.match(
        (
          await changed((print) => {
            (print.databases[0] as { collate: string }).collate = 'xx_YY.UTF-8';
          })
        ).message,
        /xx_YY|locale/,
      );
    });
  });
});
