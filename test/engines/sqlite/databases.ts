import { DatabaseSync } from 'node:sqlite';
import type { Source } from '#core/plan';
import type { SourceRef } from '#core/ports';

export function sourceOf(file: string, probes?: Source['probes'], name = 'app'): SourceRef {
  const schedule = [{ cron: '0 2 * * *', tier: 'daily', to: ['disk'] }];
  return { name, settings: { sqlite: { file }, schedule, ...(probes ? { probes } : {}) } };
}

/** Runs SQL on a file with a connection of its own. */
export function execute(file: string, sql: string): void {
  const database = new DatabaseSync(file, { timeout: 5000 });
  try {
    database.exec(sql);
  } finally {
    database.close();
  }
}

export const MARKER = 'kestrel-over-the-moor-4711';

/** A table of each sort, about 1 MB. */
export function fillDatabase(file: string, journal: 'wal' | 'delete'): void {
  execute(
    file,
    `pragma journal_mode = ${journal}; pragma user_version = 7; pragma application_id = 1234;
    create table users(id integer primary key autoincrement, name text not null, balance real, photo blob);
    insert into users(name, balance, photo) values
      ('${MARKER}', 1.0, x'00ff'), ('Łukasz 🦊', 1, null), ('', -0.5, zeroblob(3)), ('nul' || char(0) || 'inside', 1e300, x'');
    create unique index by_name on users(name);
    create table events(at text, kind text, body text);
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 8000)
      insert into events select datetime(1e9 + i, 'unixepoch'), 'kind ' || (i % 7), hex(randomblob(40)) from n;
    create table pairs(a text, b int, note, primary key (a, b)) without rowid;
    insert into pairs values ('b', 2, 1), ('a', 1, 1.0), ('a', 2, '1');
    create table tight(n int, t text) strict;
    insert into tight values (9223372036854775807, 'max');
    create table computed(a int, twice int generated always as (a * 2) stored, thrice int generated always as (a * 3));
    insert into computed(a) values (1), (2);
    create virtual table search using fts5(title, body);
    insert into search values ('first', 'the quick brown fox'), ('second', 'jumps over');
    create virtual table places using rtree(id, x0, x1);
    insert into places values (1, 0.5, 1.5);
    create view rich as select * from users where balance > 0;
    create trigger no_delete before delete on pairs begin select raise(abort, 'no'); end;`,
  );
}

/** Schema and every value with its storage class, as text. */
export function dump(file: string): string {
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const objects = database
      .prepare('select type, name, tbl_name, rootpage, sql from sqlite_schema order by type, name')
      .all() as { type: string; name: string; tbl_name: string; rootpage: number; sql: string | null }[];
    const lines = objects.map(({ type, name, tbl_name, sql }) => JSON.stringify([type, name, tbl_name, sql]));
    for (const { type, name, rootpage } of objects) {
      if (type !== 'table' || rootpage === 0) continue;
      const columns = database.prepare('select name from pragma_table_xinfo(?)').all(name) as { name: string }[];
      const values = columns.map(({ name: column }) => `typeof(t.${quoted(column)}), hex(t.${quoted(column)})`);
      const rows = database.prepare(`select ${values.join(', ')} from ${quoted(name)} t`, { returnArrays: true }).all();
      lines.push(name, ...rows.map((row) => JSON.stringify(row)).sort());
    }
    return lines.join('\n');
  } finally {
    database.close();
  }
}

export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
