import { createHash } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { DemoServers } from '#host/demo/servers';

/** Made-up data of believable size: an event store with a hash chain, a cache, an app's SQLite file, a payload tree. */

const EVENTS = 200_000;
const CACHE_KEYS = 200_000;
const NOTES = 100_000;
const PAYLOADS = 2000;

export async function makeEventStore(servers: DemoServers): Promise<string> {
  await servers.sql('postgres', 'create database archon');
  await servers.sql(
    'archon',
    `create type halt_reason as enum ('none', 'operator', 'fault');
create table events (sequence_number bigint primary key, created_at timestamptz not null, kind text not null,
  payload jsonb not null, previous bytea not null, hash bytea not null unique);
create table witnesses (id uuid primary key, event bigint not null references events, signature bytea not null);
create table halt_state (id int primary key, reason halt_reason not null, since timestamptz);
create table key_registry (name text primary key, public_key bytea not null, revoked boolean not null default false);
do $$
declare
  head bytea := sha256('genesis');
  next bytea;
  body jsonb;
begin
  for n in 1..${EVENTS} loop
    body := jsonb_build_object('n', n, 'actor', 'archon-' || n % 72, 'vote', (array['aye','nay','abstain'])[1 + n % 3], 'note', md5(n::text) || md5((n * 7)::text));
    next := sha256(head || convert_to(body::text, 'UTF8'));
    insert into events values (n, timestamptz '2026-01-01 00:00Z' + n * interval '90 seconds', 'vote', body, head, next);
    head := next;
  end loop;
end $$;
insert into witnesses select gen_random_uuid(), n, sha256(n::text::bytea) from generate_series(1, ${EVENTS}, 10) n;
insert into halt_state values (1, 'none', null);
insert into key_registry select 'key-' || n, sha256(n::text::bytea), n % 9 = 0 from generate_series(1, 500) n;
analyze;`,
  );
  return `${EVENTS.toLocaleString('en')} events in a hash chain`;
}

export async function makeCache(servers: DemoServers): Promise<string> {
  await servers.redis(
    'eval',
    `for i = 1, ${CACHE_KEYS} do redis.call('set', 'session:' .. i, string.rep(tostring(i % 997), 12)) end
for i = 1, 5000 do redis.call('hset', 'user:' .. i, 'name', 'user ' .. i, 'seen', i) end
for i = 1, 5000 do redis.call('zadd', 'leaderboard', i * 7 % 5003, 'user:' .. i) end return 1`,
    '0',
  );
  return `${(CACHE_KEYS + 5001).toLocaleString('en')} keys`;
}

export function makeApp(file: string): string {
  const db = new DatabaseSync(file);
  db.exec(`pragma journal_mode = wal; create table notes (id integer primary key, author text not null, body text not null, at text not null);
    create index notes_by_author on notes (author);`);
  const insert = db.prepare('insert into notes (author, body, at) values (?, ?, ?)');
  db.exec('begin');
  for (let n = 0; n < NOTES; n++) {
    const body = createHash('sha256').update(String(n)).digest('base64').repeat(3);
    insert.run(`author ${n % 331}`, body, new Date(1_760_000_000_000 + n * 60_000).toISOString());
  }
  db.exec('commit');
  db.close();
  return `${NOTES.toLocaleString('en')} rows`;
}

export function makePayloads(folder: string): string {
  for (let n = 0; n < PAYLOADS; n++) {
    const sub = join(folder, String(n % 40).padStart(2, '0'));
    mkdirSync(sub, { recursive: true });
    const seed = createHash('sha512').update(String(n)).digest('hex');
    writeFileSync(join(sub, `payload ${n}.json`), `{"n":${n},"body":"${seed.repeat(4 + (n % 150))}"}`);
  }
  symlinkSync('00/payload 0.json', join(folder, 'newest'));
  return `${PAYLOADS.toLocaleString('en')} files`;
}

/** One number for all the content of a PostgreSQL database, by its own dump: rows, types, sequences, everything. */
export async function eventStoreSum(servers: DemoServers): Promise<string> {
  const rows = await servers.sql(
    'archon',
    `select 'events', count(*), encode(sha256(convert_to(string_agg(encode(hash, 'hex') || payload::text, '' order by sequence_number), 'UTF8')), 'hex') from events
union all select 'witnesses', count(*), md5(string_agg(w::text, '' order by id)) from witnesses w
union all select 'keys', count(*), md5(string_agg(k::text, '' order by name)) from key_registry k`,
  );
  return createHash('sha256').update(rows).digest('hex').slice(0, 16);
}

export async function cacheSum(servers: DemoServers): Promise<string> {
  return (await servers.redis('debug', 'digest')).slice(0, 16);
}

export function appSum(file: string): string {
  const db = new DatabaseSync(file, { readOnly: true });
  const hash = createHash('sha256');
  for (const row of db.prepare('select * from notes order by id').iterate()) hash.update(JSON.stringify(row));
  db.close();
  return hash.digest('hex').slice(0, 16);
}
