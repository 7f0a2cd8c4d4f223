import { strict as assert } from 'node:assert';
import { type ChildProcess, spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { differences, sqlAt, withBackup } from '#test/engines/postgres/backups';
import { newServer, sourceOf } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';

/** pgbench-like, and it never stops: updates, inserts, sequences, new tables, truncates. */
const WRITES = `
update accounts set balance = balance + (random() * 10)::int where id = 1 + (random() * 99)::int;
insert into history (account, at) values (1 + (random() * 99)::int, now());
select nextval('forward'), nextval('downward');
select nextval('around');
`;
/** Asks for an exclusive lock: waits for the dump, and everybody else behind it. */
const TRUNCATE = 'truncate scratchpad; insert into scratchpad values (random());\n';

async function ended(child: ChildProcess): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) await sleep(10);
}

describe('postgres: while others write', () => {
  let server: PostgresServer;
  before(async () => {
    // Twenty thousand locks, twice: ours and pg_dump's.
    server = await newServer('max_locks_per_transaction = 512');
  });
  after(() => server.stop());

  test('I2: the fingerprint is of the dump’s own snapshot: proven while writers write, sequences advance, tables are truncated', async () => {
    const name = await freshDatabase(server);
    await server.sql(
      name,
      `create table accounts (id int primary key, balance numeric); insert into accounts select i, i from generate_series(1, 100) i;
       create table history (id bigserial, account int, at timestamptz); create table scratchpad (v float8);
       create table wide (id int, v text); insert into wide select i, repeat('w', 200) from generate_series(1, 20000) i;
       create sequence forward cache 10; create sequence downward increment -3; create sequence around maxvalue 7 cycle`,
    );
    const writers = [1, 2].map(() => {
      const child = spawn(`${server.bin}/psql`, ['-X', '-q', '-d', server.socketUrl(name)], {
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      child.stdin?.on('error', () => child.stdin?.destroy());
      return child;
    });
    const truncating = setInterval(() => writers[0]?.stdin?.write(TRUNCATE), 300);
    const timer = setInterval(() => {
      for (const writer of writers) if (writer.stdin?.writable) writer.stdin.write(WRITES.repeat(5));
    }, 10);
    try {
      await sleep(200);
      const plan = sourceOf(
        { url: server.url(name) },
        { probes: { newest: 'select max(id) from history', sum: 'select sum(balance) from accounts' } },
      );
      for (let round = 0; round < 3; round++)
        await withBackup(plan, async (stored, run) => {
          assert.deepEqual(await differences(stored, plan, run), []);
        });
    } finally {
      clearInterval(timer);
      clearInterval(truncating);
      for (const writer of writers) writer.kill('SIGKILL');
      await Promise.all(writers.map(ended));
    }
  });

  test('tried 1: of fifty exchanges of two random cells each is found', async () => {
    const name = await freshDatabase(server);
    await server.sql(
      name,
      `create table ledger (id int primary key, a int, b numeric, c text, d timestamptz);
       insert into ledger select i, i * 7, i * 1.10, 'text ' || i, '2026-01-01'::timestamptz + i * interval '1 hour' from generate_series(1, 500) i`,
    );
    const plan = sourceOf({ url: server.url(name) });
    await withBackup(plan, async (stored, run) => {
      await differences(stored, plan, run, async (copy) => {
        let undo = '';
        for (let trial = 0; trial < 50; trial++) {
          const column = 'abcd'[trial % 4];
          const first = 1 + ((trial * 37) % 500);
          const second = 1 + ((first + 1 + ((trial * 101) % 498)) % 500);
          const exchange = `update ledger x set ${column} = y.${column} from ledger y where (x.id, y.id) in ((${first}, ${second}), (${second}, ${first}))`;
          await sqlAt(copy.where, `${undo}${exchange}`);
          undo = `${exchange}; `;
          assert.deepEqual(
            await copy.compare(),
            ['table public.ledger: same 500 rows, other content'],
            `${column}: ${first}, ${second}`,
          );
        }
        await sqlAt(copy.where, undo);
        assert.deepEqual(await copy.compare(), []);
      });
    });
  });

  test('twenty thousand tables are captured and proven', async () => {
    const name = await freshDatabase(server);
    // In batches: one transaction would need a lock on each.
    for (let batch = 0; batch < 10; batch++)
      await server.sql(
        name,
        `do $$ begin for i in ${batch * 2000}..${batch * 2000 + 1999} loop
           execute format('create table t%s (id int)', i); execute format('insert into t%s values (%s)', i, i); end loop; end $$`,
      );
    const plan = sourceOf({ url: server.url(name) });
    await withBackup(plan, async (stored, run) => {
      assert.equal(stored.result.measures['tables'], 20_000);
      assert.deepEqual(await differences(stored, plan, run), []);
    });
  });
});
