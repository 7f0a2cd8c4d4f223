import { SourceUnsupported } from '#core/errors';
import type { TableFacts } from '#engines/postgres/catalog';
import type { Session } from '#engines/postgres/session';
import { qualified, spoken } from '#engines/postgres/sql';

/** parent oid → oids of partitions and inheriting tables. */
export type Children = ReadonlyMap<string, readonly string[]>;

export async function readChildren(session: Session): Promise<Children> {
  const children = new Map<string, string[]>();
  for (const [parent, child] of await session.query('select inhparent, inhrelid from pg_catalog.pg_inherits')) {
    const known = children.get(parent as string);
    if (known) known.push(child as string);
    else children.set(parent as string, [child as string]);
  }
  return children;
}

/**
 * The tables a plan names: exactly, never as a pattern, with or without schema, quoted or not; partitions and inheriting
 * tables come with their parent, since its rows are theirs.
 * @throws SourceUnsupported a name that fits no table, or more than one
 */
export function chooseTables(
  names: readonly string[],
  tables: readonly TableFacts[],
  children: Children,
): readonly TableFacts[] {
  const byOid = new Map(tables.map((table) => [table.oid, table]));
  const chosen = new Set<TableFacts>();
  const add = (table: TableFacts): void => {
    if (chosen.has(table)) return;
    chosen.add(table);
    for (const oid of children.get(table.oid) ?? []) {
      const child = byOid.get(oid);
      if (child) add(child);
    }
  };
  for (const name of names) add(named(name, tables));
  return tables.filter((table) => chosen.has(table));
}

/** The one thing a name of the user's means. */
export function named<T extends { readonly schema: string; readonly name: string }>(
  name: string,
  things: readonly T[],
): T {
  const found = things.filter(
    (thing) =>
      thing.name === name ||
      spoken(thing) === name ||
      qualified(thing) === name ||
      `${thing.schema}.${JSON.stringify(thing.name)}` === name ||
      qualified(thing).endsWith(`.${name}`),
  );
  const exact = found.filter((thing) => thing.name !== name || found.length === 1);
  const [only] = exact.length === 1 ? exact : found.filter((thing) => thing.schema === 'public' && thing.name === name);
  if (only) return only;
  if (found.length > 1)
    throw new SourceUnsupported(`table ${name} is in more than one schema: ${found.map(spoken).join(', ')}`, {
      hint: 'name it with its schema',
    });
  const near = nearest(name, things);
  throw new SourceUnsupported(`no table ${name} in the database${near ? `; the nearest is ${near}` : ''}`, {
    hint: near ? `write ${near}` : 'look at the names under tables: in the plan',
  });
}

function nearest(name: string, things: readonly { readonly schema: string; readonly name: string }[]): string | null {
  let best: string | null = null;
  let least = Math.max(3, Math.floor(name.length / 2)) + 1;
  for (const thing of things) {
    const steps = Math.min(editDistance(name, thing.name, least), editDistance(name, spoken(thing), least));
    if (steps >= least) continue;
    least = steps;
    best = thing.schema === 'public' ? thing.name : spoken(thing);
  }
  return best;
}

/** Levenshtein, letters of either case alike; gives up at `limit`. */
function editDistance(left: string, right: string, limit: number): number {
  if (Math.abs(left.length - right.length) >= limit) return limit;
  const a = left.toLowerCase();
  const b = right.toLowerCase();
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(
        Math.min(
          (row[j] as number) + 1,
          (next[j - 1] as number) + 1,
          (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1),
        ),
      );
    row = next;
  }
  return row[b.length] as number;
}
