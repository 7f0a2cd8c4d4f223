import { BenchPlace } from '#test/bench/bench-place';
import { inTurn, type Row, ratioRow, SCALE, timed } from '#test/bench/measure';
import { startPostgres } from '#test/servers/postgres';

const EVENTS = Math.round(3_600_000 * SCALE);
const TABLES = Math.round(20_000 * SCALE);
/** Both sides' scratch and by-hand servers; what Holdfast's own scratch cluster uses too. */
const CONF = [
  'fsync = off',
  'synchronous_commit = off',
  'full_page_writes = off',
  'wal_level = minimal',
  'max_wal_senders = 0',
  'shared_buffers = 512MB',
  'max_wal_size = 8GB',
  'maintenance_work_mem = 256MB',
  'max_locks_per_transaction = 512',
].join('\n');

export async function postgresRows(
  rounds: number,
  say: (line: string) => void,
): Promise<{ rows: Row[]; notes: string[] }> {
  const place = new BenchPlace();
  const server = await startPostgres(place.path('postgres'), { conf: CONF });
  const second = await startPostgres(place.path('by-hand'), { conf: CONF });
  try {
    await place.prepare();
    say(`making an event store of ${EVENTS} events`);
    await server.sql('postgres', 'create database events');
    await server.sql(
      'events',
      `create table events (sequence_number bigint primary key, created_at timestamptz not null, kind text not null,
  payload jsonb not null, previous bytea not null, hash bytea not null);
insert into events select n, timestamptz '2026-01-01 00:00Z' + n * interval '1 second', 'vote',
  jsonb_build_object('n', n, 'actor', 'archon-' || n % 72, 'note', md5(n::text) || md5((n * 7)::text)),
  sha256((n - 1)::text::bytea), sha256(n::text::bytea) from generate_series(1, ${EVENTS}) n;
create index on events (created_at); analyze events;`,
    );
    const size = await server.sql('events', "select pg_size_pretty(pg_database_size('events'))");
    const url = server.url('events');
    await place.plan(
      `postgres: { url: "${url}" }\n    probes: { head: "select max(sequence_number) from events" }`,
      'never',
    );
    const { bin } = server;
    say('dump');
    const dump = await inTurn(rounds, () => place.backup(), [
      () =>
        timed(
          place.byHand(`${bin}/pg_dump -Fc -Z0 "${url}" | zstd -q -3 -T0 | age -r ${place.recipient} > out/dump.age`),
        ),
      () => timed(place.byHand(`${bin}/pg_dump -Fc "${url}" > out/dump`)),
    ]);
    say('proof');
    const byHandUrl = second.url('restored');
    const proof = await inTurn(rounds, () => timed(place.holdfast('prove', 'it')), [
      async () => {
        await second.sql('postgres', 'drop database if exists restored');
        await second.sql('postgres', 'create database restored template template0');
        return timed(
          place.byHand(
            `age -d -i ${place.key} out/dump.age | zstd -d | ${bin}/pg_restore -1 --exit-on-error --no-owner -d "${byHandUrl}"`,
          ),
        );
      },
    ]);
    say('20,000 tables');
    await server.sql('postgres', 'drop database events');
    await server.sql('postgres', 'create database many');
    for (let from = 1; from <= TABLES; from += 1000)
      await server.sql(
        'many',
        `do $$ begin for n in ${from}..${Math.min(from + 999, TABLES)} loop execute format('create table t%s (id int primary key, x text)', n); execute format('insert into t%s values (1, %L)', n, n); end loop; end $$`,
      );
    await place.plan(`postgres: { url: "${server.url('many')}" }`, 'never');
    const many = await place.backup();
    const manyProof = await timed(place.holdfast('prove', 'it'));
    const work = `PostgreSQL dump, ${size} event store, sealed, digested, probed, stored bytes compared, into a disk vault`;
    return {
      rows: [
        ratioRow(work, 'pg_dump -Fc -Z0 | zstd -3 -T0 | age by hand', 1.35, dump.ours, dump.theirs[0] as number),
        ratioRow('the same', 'plain pg_dump -Fc', 0.4, dump.ours, dump.theirs[1] as number),
        ratioRow(
          'proof of it (scratch cluster, load, compare)',
          'age -d | zstd -d | pg_restore by hand into a ready cluster with the same settings',
          1.25,
          proof.ours,
          proof.theirs[0] as number,
        ),
        memoryRow('PostgreSQL dump and its proof', Math.max(dump.peakMiB, proof.peakMiB)),
        memoryRow('PostgreSQL, 20,000 tables, dump', many.peakMiB),
        memoryRow('PostgreSQL, 20,000 tables, proof', manyProof.peakMiB),
      ],
      notes: [
        `PostgreSQL ${await server.sql('postgres', 'show server_version')}, both sides: ${CONF.replaceAll('\n', ', ')}; zstd -3 -T0 on both sides.`,
        `20,000 tables: dump ${many.seconds.toFixed(1)} s, proof ${manyProof.seconds.toFixed(1)} s.`,
      ],
    };
  } finally {
    await server.stop();
    await second.stop();
    place.remove();
  }
}

export function memoryRow(work: string, peakMiB: number): Row {
  return {
    work: `peak memory: ${work}`,
    against: '–',
    atMost: '256 MiB',
    ours: `${peakMiB.toFixed(0)} MiB`,
    theirs: '–',
    measured: `${peakMiB.toFixed(0)} MiB`,
    met: peakMiB <= 256,
  };
}
