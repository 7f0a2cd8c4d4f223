import { TargetNotEmpty, TargetUnusable, UsageError } from '#core/errors';
import type { DatabasePrint, Fingerprint } from '#engines/postgres/fingerprint';
import type { Restoring } from '#engines/postgres/restoring';
import { ALWAYS_THERE, contentsOf, type DatabaseContents, type Target } from '#engines/postgres/target';

/** One database that is to be given back. */
export interface WantedDatabase {
  readonly print: DatabasePrint;
  /** What it is to be called. */
  readonly name: string;
}

/** What a restore is about: whole databases, or tables of one. */
export type Wanted =
  | { readonly what: 'databases'; readonly databases: readonly WantedDatabase[] }
  | { readonly what: 'tables'; readonly names: readonly string[] };

/** @throws UsageError databases and tables at once */
export function wantedOf(
  only: readonly string[],
  { databases, scope }: Fingerprint,
  target: Pick<Target, 'database' | 'named'>,
): Wanted {
  const chosen = databases.filter((print) => only.includes(print.name));
  const tables = only.filter((name) => !databases.some((print) => print.name === name));
  if (only.length > 0 && !(scope.all && tables.length === 0)) {
    if (chosen.length > 0)
      throw new UsageError(`--only: got ${only.join(', ')}: either databases or tables, not both at once`);
    return { what: 'tables', names: tables };
  }
  const [first] = (scope.all ? chosen : databases) as [DatabasePrint, ...DatabasePrint[]];
  if (!scope.all) return { what: 'databases', databases: [{ print: first, name: target.database }] };
  if (chosen.length === 1) return { what: 'databases', databases: [{ print: first, name: nameOf(first, target) }] };
  const all = chosen.length > 0 ? chosen : databases;
  return { what: 'databases', databases: all.map((print) => ({ print, name: print.name })) };
}

/** A url of a whole server names `postgres`, or nothing, to connect to: nobody means his database to be called so. */
function nameOf(print: DatabasePrint, { named }: Pick<Target, 'named'>): string {
  return named === null || ALWAYS_THERE.includes(named) ? print.name : named;
}

/**
 * What is at the target under each name. All of them are looked at before the first is touched.
 * @throws TargetNotEmpty, TargetUnusable
 */
export async function statesOf(
  { target, overwrite, run }: Restoring,
  wanted: readonly WantedDatabase[],
): Promise<ReadonlyMap<WantedDatabase, DatabaseContents>> {
  const { user } = target.facts;
  const states = new Map<WantedDatabase, DatabaseContents>();
  for (const one of wanted) {
    const state = await contentsOf(target, one.name, run);
    if (typeof state === 'number' && !overwrite)
      throw new TargetNotEmpty(`database ${one.name} on the target is not empty: it holds ${state} objects`, {
        hint: 'restore to a database that does not exist yet, or say --overwrite (the old one is kept under another name)',
      });
    // Without that right there is no beside: it is restored in place, into an empty one only.
    if (!target.mayCreate && state !== 'empty')
      throw new TargetUnusable(
        `${user} may not create databases on the target, and ${one.name} is ${state === 'absent' ? 'not there' : 'not empty'}`,
        { hint: `ALTER ROLE "${user}" CREATEDB, or create an empty database and restore to it` },
      );
    states.set(one, state);
  }
  return states;
}
