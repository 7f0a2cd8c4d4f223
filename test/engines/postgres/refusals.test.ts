import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '#core/errors';
import type { PostgresSettings } from '#core/plan';
import type { CheckLine, RunContext } from '#core/ports';
import { capturePostgres } from '#engines/postgres/capture';
import { postgres } from '#engines/postgres/engine';
import { inRun, withBackup } from '#test/engines/postgres/backups';
import { newServer, sourceOf } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';

/** What a person is told when a capture is refused. */
async function refusal(settings: PostgresSettings, lockTimeout?: string): Promise<HoldfastError> {
  return inRun(async (run: RunContext) => {
    const source = sourceOf(settings);
    try {
      const capture = await capturePostgres(source, run, lockTimeout);
      await capture.close();
    } catch (error) {
      assert.ok(error instanceof HoldfastError, String(error));
      return error;
    }
    return assert.fail('the capture was not refused');
  });
}

async function checkLines(...of: Parameters<typeof sourceOf>): Promise<readonly CheckLine[]> {
  return inRun(async (run) => {
    const lines: CheckLine[] = [];
    for await (const line of postgres.check(sourceOf(...of), run)) lines.push(line);
    return lines;
  });
}

describe('postgres: what cannot be backed up is refused, in words', () => {
  let server: PostgresServer;
  let database: string;
  before(async () => {
    server = await newServer();
    database = await freshDatabase(server);
    await server.sql(
      database,
      `create table users (id int primary key, name text); insert into users select i, 'u' || i from generate_series(1, 10) i;
       create table events (id serial primary key, by int references users);
       create schema audit; create table audit.events (id int); create table audit.entries (id int)`,
    );
  });
  after(() => server.stop());

  test('peers 3A (DBackup #154): a wrong password never yields a backup', async () => {
    const error = await refusal({ url: server.url(database, 'postgres', 'wrong-secret') });
    assert.equal(error.code, 'source-refused');
    assert.match(error.message, /password authentication failed/);
    assert.doesNotMatch(error.message + error.hint, /wrong-secret/);
  });

  test('peers 3A (DBackup #154): a wrong host, port or database never yields a backup', async () => {
    const host = await refusal({ url: 'postgresql://u:secret@no-such-host.invalid/db' });
    assert.equal(host.code, 'source-unreachable');
    assert.match(host.message, /no such host/);
    const port = await refusal({ url: `postgresql://u:secret@127.0.0.1:1/db` });
    assert.equal(port.code, 'source-unreachable');
    assert.match(port.message, /nothing answers/);
    const name = await refusal({ url: server.url('databse') });
    assert.equal(name.code, 'source-unreachable');
    assert.match(name.message, /no such database.*databse/);
    for (const error of [host, port, name]) assert.doesNotMatch(error.message, /secret/);
  });

  test('an address whose password is not percent-encoded is refused without being shown', async () => {
    const error = await refusal({ url: 'postgresql://user:se/cret@host/db' });
    assert.equal(error.exit, 2);
    assert.doesNotMatch(error.message, /cret/);
  });

  test('tried 4: a table that is not there is refused, with the nearest name', async () => {
    const error = await refusal({ url: server.url(database), tables: ['user'] });
    assert.match(error.message, /no table user .*nearest is users/);
    const both = await refusal({ url: server.url(database), tables: ['audit.entrys'] });
    assert.match(both.hint ?? '', /audit\.entries/);
  });

  test('a table name in two schemas means that of public, else has to say which', async () => {
    const plan = sourceOf({ url: server.url(database), tables: ['users', 'events'] });
    await withBackup(plan, async (stored) => {
      assert.equal(stored.result.measures['tables'], 2);
    });
  });

  test('tried 22: an exclusive lock in the way is told with the pid of who holds it, and is retryable', async () => {
    const holder = spawn(`${server.bin}/psql`, ['-X', '-q', '-d', server.socketUrl(database)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      holder.stdin.write('begin; lock table users; select pg_backend_pid();\n');
      const pid = await new Promise<string>((resolve) => {
        let text = '';
        holder.stdout.on('data', (chunk: Buffer) => {
          text += chunk.toString();
          const found = /^\s*(\d+)$/m.exec(text);
          if (found) resolve(found[1] as string);
        });
      });
      const error = await refusal({ url: server.url(database) }, '300ms');
      assert.equal(error.code, 'source-locked');
      assert.equal(error.retryable, true);
      assert.match(error.message, new RegExp(`pid ${pid} .*public\\.users`));
    } finally {
      holder.stdin.end('rollback;\n');
      await new Promise((resolve) => holder.once('close', resolve));
    }
  });

  test('tried 22: a role whose defaults end idle and long transactions is backed up all the same', async () => {
    await server.sql(
      'postgres',
      `create role hasty login superuser password 'x';
       alter role hasty set idle_in_transaction_session_timeout = '200ms'; alter role hasty set statement_timeout = '250ms';
       alter role hasty set lock_timeout = '100ms'; alter role hasty set search_path = audit`,
    );
    const plan = sourceOf(
      { url: server.url(database, 'hasty', 'x') },
      { probes: { slow: 'select pg_sleep(0.4)::text, count(*) from entries' } },
    );
    await withBackup(
      plan,
      async (stored) => {
        assert.deepEqual(stored.result.probes[0]?.answer, [['', '0']]);
      },
      () => sleep(600),
    );
  });

  test('peers 3A: a role that sees only some rows is an error, not a small backup', async () => {
    const name = await freshDatabase(server);
    await server.sql(
      name,
      `create role reader login password 'x'; create table secrets (id int); insert into secrets select generate_series(1, 10);
       alter table secrets enable row level security; create policy few on secrets using (id <= 3);
       grant select on secrets to reader`,
    );
    const error = await refusal({ url: server.url(name, 'reader', 'x') });
    assert.equal(error.code, 'source-refused');
    assert.match(error.message, /public\.secrets.*row-level security/);
    assert.match(error.hint ?? '', /BYPASSRLS/);
    const lines = await checkLines({ url: server.url(name, 'reader', 'x') });
    assert.ok(lines.some((line) => line.ok === false && /row-level security/.test(line.message)));
  });

  test('a role without rights is refused, and check prints the GRANTs that mend it', async () => {
    await server.sql('postgres', `create role nobody_yet login password 'x'`);
    const plan: PostgresSettings = { url: server.url(database, 'nobody_yet', 'x') };
    const error = await refusal(plan);
    assert.equal(error.code, 'source-refused');
    assert.match(error.hint ?? '', /holdfast check/);
    const rights = (await checkLines(plan)).find((line) => line.name === 'rights');
    assert.equal(rights?.ok, false);
    assert.match(rights?.hint ?? '', /GRANT USAGE ON SCHEMA audit/);
    for (const grant of (rights?.hint ?? '').split(/(?<=;) /)) await server.sql(database, grant);
    assert.deepEqual(
      (await checkLines(plan)).filter((line) => line.ok === false),
      [],
    );
    await withBackup(sourceOf(plan), async (stored) => assert.equal(stored.result.measures['rows'], 10));
  });

  test('check names the table that a foreign key leaves the chosen ones for', async () => {
    const lines = await checkLines({ url: server.url(database), tables: ['public.events'] });
    const line = lines.find(({ name, ok }) => name === 'tables' && ok === false);
    assert.match(line?.message ?? '', /public\.events needs public\.users/);
    assert.match(line?.hint ?? '', /public\.users/);
  });

  test('check tells probes that fail or do not agree with themselves; the backup is taken, and warns', async () => {
    const probes = {
      broken: 'select count(*) from no_such_table',
      unstable: 'select random()',
      tricky: String.raw`select 'a' || $$\! touch /tmp/holdfast-was-here$$ || ':HOST' -- comment`,
      many: 'select generate_series(1, 1000000)',
      fine: 'select max(id) from users;',
    };
    const lines = await checkLines({ url: server.url(database) }, { probes });
    const bad = lines.filter((line) => line.ok === false).map((line) => line.name);
    assert.deepEqual(bad, ['probe broken', 'probe unstable', 'probe many']);
    await withBackup(sourceOf({ url: server.url(database) }, { probes }), async ({ result }) => {
      assert.deepEqual(
        result.probes.map(({ name, answer }) => [name, answer]),
        [
          ['tricky', [[String.raw`a\! touch /tmp/holdfast-was-here:HOST`]]],
          ['fine', [['10']]],
        ],
      );
      assert.equal(result.warnings.length, 3);
    });
  });

  test('mode: physical is said to be not there yet', async () => {
    const error = await refusal({ url: server.url(database), mode: 'physical' });
    assert.equal(error.exit, 2);
  });
});
