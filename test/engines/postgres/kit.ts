import { strict as assert } from 'node:assert';
import { execFile } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { PostgresSettings, Source } from '#core/plan';
import type { SourceRef } from '#core/ports';
import { postgres } from '#engines/postgres/engine';
import type { EngineKit, Failing } from '#test/contracts/engine';
import { livingProcesses } from '#test/contracts/seen-processes';
import { freshDatabase, type PostgresServer, startPostgres } from '#test/servers/postgres';

const run = promisify(execFile);

export const ODD_SCHEMA = fileURLToPath(import.meta.resolve('./odd-schema.sql'));
const MARKER = 'the marker stands here as it is';

export function newServer(conf = ''): Promise<PostgresServer> {
  return mkdtemp(join(tmpdir(), 'hfpg-')).then((dir) => startPostgres(dir, { conf }));
}

/** A plan's source. */
export function sourceOf(
  postgresSettings: PostgresSettings,
  more: Partial<Pick<Source, 'probes' | 'prove'>> = {},
  name = 'events',
): SourceRef {
  return { name, settings: { postgres: postgresSettings, schedule: [], ...more } };
}

/** An event store with a chain of hashes, and accounts: about `rows` × 200 bytes. */
export async function fillEvents(server: PostgresServer, database: string, rows: number): Promise<void> {
  await server.sql(
    database,
    `create table events (sequence_number bigserial primary key, payload jsonb not null, hash text not null, note text);
     insert into events (payload, hash, note)
       select jsonb_build_object('n', i, 'text', repeat('x', 80)), md5(i::text) || md5((i + 1)::text), 'event ' || i
       from generate_series(1, ${rows}) i;
     create table accounts (id int primary key, owner text, balance numeric);
     insert into accounts select i, 'owner ' || i, i * 1.50 from generate_series(1, 100) i;
     update accounts set owner = '${MARKER}' where id = 50;
     select lo_from_bytea(4242, 'a large object')`,
  );
}

export function postgresKit(): EngineKit {
  let server: PostgresServer;
  const own: PostgresServer[] = [];
  let probed: SourceRef;

  const urlOf = (port: number, database: string): string =>
    `postgresql://postgres:\${PGPASS}@127.0.0.1:${port}/${encodeURIComponent(database)}`;
  const at = (database: string, more: Partial<Pick<Source, 'probes'>> = {}): SourceRef =>
    sourceOf({ url: urlOf(server.port, database) }, more);
  const databaseOf = (source: SourceRef): string => {
    const url = new URL((source.settings.postgres as PostgresSettings).url.replace(/:\$\{PGPASS\}/, ''));
    return decodeURIComponent(url.pathname.slice(1));
  };

  async function failing(at: PostgresServer, break_: (server: PostgresServer) => Promise<void>): Promise<Failing> {
    await at.sql('postgres', 'drop database if exists doomed');
    await at.sql('postgres', 'create database doomed');
    await fillEvents(at, 'doomed', 40_000);
    return {
      source: sourceOf({ url: urlOf(at.port, 'doomed') }),
      at: async (stage) => {
        if (stage === 'reading') await break_(at);
      },
    };
  }

  // What the server's own password is, as it must stand in a URL.
  const password = 'pa:ss/wo@rd é%20';
  return {
    engine: postgres,
    variables: { PGPASS: encodeURIComponent(password) },
    secrets: [password, encodeURIComponent(password)],
    marker: MARKER,
    switchesAtTheEnd: true,
    async start() {
      server = await newServer();
      assert.equal(server.password, password);
      const database = await freshDatabase(server);
      await fillEvents(server, database, 5000);
      probed = at(database, {
        probes: {
          sequence: 'select max(sequence_number) from events',
          chain_head: 'select hash from events order by sequence_number desc limit 1',
          recent: { query: 'select count(*), now() from events', expect: { atLeast: 1 } },
        },
      });
    },
    async stop() {
      for (const one of [server, ...own]) await one?.stop();
    },
    source: async () => {
      // A copy each: a test may change it.
      const name = await freshDatabase(server, `template ${databaseOf(probed)}`);
      return { ...at(name), settings: { ...at(name).settings, probes: probed.settings.probes } };
    },
    emptySource: async () => at(await freshDatabase(server)),
    async oddSource() {
      const name = await freshDatabase(server);
      await server.file(name, ODD_SCHEMA);
      return at(name);
    },
    absentSource: async () => at('no_such_database'),
    async mutate(source) {
      await server.sql(
        databaseOf(source),
        `insert into events (payload, hash) values ('{}', 'later');
         update accounts set balance = balance + 1 where id < 10;
         delete from accounts where id > 90;
         select lo_put(4242, 0, 'changed'); create table later (id int); insert into later values (1)`,
      );
    },
    failures: {
      'the server dies': async () => {
        const doomed = await newServer();
        own.push(doomed);
        return failing(doomed, (it) => it.crash());
      },
      'its backends are terminated': () =>
        failing(server, async (it) => {
          await it.sql(
            'postgres',
            `select pg_terminate_backend(pid) from pg_stat_activity where datname = 'doomed' and application_name <> 'psql'`,
          );
        }),
      'pg_dump is killed': () =>
        failing(server, async () => {
          const dumps = livingProcesses('no such path').filter(({ args }) => args[0]?.endsWith('pg_dump'));
          assert.ok(dumps.length > 0, 'no pg_dump is running');
          for (const { pid } of dumps) process.kill(pid, 'SIGKILL');
        }),
    },
    changes: {
      'one value changed': async ({ where }) => psql(where, `update accounts set balance = 75.000 where id = 50`),
      'two cells exchanged': async ({ where }) =>
        psql(where, `update accounts a set balance = b.balance from accounts b where (a.id, b.id) in ((1, 2), (2, 1))`),
      'a row is missing': async ({ where }) => psql(where, 'delete from events where sequence_number = 77'),
      'a table is missing': async ({ where }) => psql(where, 'drop table accounts'),
      'a table too many': async ({ where }) => psql(where, 'create table more (id int)'),
      'a sequence stands elsewhere': async ({ where }) => psql(where, `select nextval('events_sequence_number_seq')`),
      'an index is missing': async ({ where }) => psql(where, 'alter table accounts drop constraint accounts_pkey'),
      'a large object changed': async ({ where }) => psql(where, `select lo_put(4242, 3, 'X')`),
    },
    async keep({ where }) {
      const name = new URL(where).pathname.slice(1);
      const elsewhere = where.replace(`/${name}`, '/template1');
      await psql(elsewhere, `create database kept template ${name}`);
      return async () => {
        await psql(elsewhere, `drop database ${name}`);
        await psql(elsewhere, `create database ${name} template kept`);
      };
    },
    placeOf: (source) =>
      (source.settings.postgres as PostgresSettings).url.replace('${PGPASS}', encodeURIComponent(password)),
    async contents(place) {
      const { stdout } = await run(join(server.bin, 'pg_dump'), ['-d', place], { maxBuffer: 256 * 1024 * 1024 });
      return stdout.replace(/^\\(un)?restrict .*\n/gm, '');
    },
    emptyTarget: async () => server.url(await freshDatabase(server)),
    async filledTarget() {
      const name = await freshDatabase(server);
      await server.sql(name, `create table somebody_elses (id int); insert into somebody_elses values (1)`);
      return server.url(name);
    },
  };
}

async function psql(where: string, sql: string): Promise<void> {
  await run('psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', where, '-c', sql]);
}
