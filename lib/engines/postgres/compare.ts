import type { Probe } from '#core/manifest';
import type { Difference, RunContext } from '#core/ports';
import type { Access } from '#engines/postgres/access';
import {
  countExtensionRowTypes,
  listSequences,
  listTables,
  readFrame,
  sequencePositions,
  viewsOfUnpopulated,
} from '#engines/postgres/catalog';
import { type Depth, type DigestId, digestLargeObjects, digestTables } from '#engines/postgres/digest';
import type { DatabasePrint, Fingerprint, TablePrint } from '#engines/postgres/fingerprint';
import { compareProbe, setSearchPath } from '#engines/postgres/probes';
import { addedUp, routedPartitions } from '#engines/postgres/routed-partitions';
import { sequenceFits } from '#engines/postgres/sequences';
import { openSession, type Session } from '#engines/postgres/session';
import { qualified, settingsQuery, spoken } from '#engines/postgres/sql';

export interface Comparison {
  readonly print: DatabasePrint;
  readonly scope: Fingerprint['scope'];
  readonly digest: DigestId;
  /** Major of the server the copy lies in, and of the source's. */
  readonly major: number;
  readonly sourceMajor: number;
  readonly probes: readonly Probe[];
  /** Only these of the tables, and nothing else; null = everything. */
  readonly only: readonly TablePrint[] | null;
}

/** Reads a restored database as the source was read, and says what is not equal. */
export async function compareDatabase(
  access: Access,
  psql: string,
  comparison: Comparison,
  run: RunContext,
): Promise<Difference[]> {
  const session = await openSession(access, psql, run);
  try {
    await session.query(settingsQuery('30s'));
    await session.query('begin isolation level repeatable read read only');
    const differences = await compareTables(session, comparison);
    if (comparison.only) return differences;
    differences.push(...(await compareSequences(session, comparison.print)));
    differences.push(...(await compareFrame(session, comparison)));
    differences.push(...(await compareLargeObjects(session, comparison)));
    await setSearchPath(session, comparison.print.searchPath);
    // With every table equal, what an expectation now misses it misses because time went on: "rows of the last 7 days"
    // would else disprove every backup that is a week old.
    const identical = differences.length === 0 && depthOf(comparison) !== 'counts';
    for (const probe of comparison.probes) {
      const difference = await compareProbe(session, probe, identical);
      if (difference) differences.push(difference);
    }
    return differences;
  } finally {
    await session.close();
  }
}

function depthOf({ print, digest }: Comparison): Depth {
  return print.tables.some((table) => table.digest !== null) || print.largeObjects?.digest ? { digest } : 'counts';
}

async function compareTables(session: Session, comparison: Comparison): Promise<Difference[]> {
  const wanted = comparison.only ?? comparison.print.tables;
  const names = new Set(wanted.map(qualified));
  const found = (await listTables(session)).filter((table) => !table.partitioned);
  const routed = await routedPartitions(session);
  const expected = new Map(addedUp(wanted, routed).map((table) => [qualified(table), table]));
  const restored = addedUp(
    await digestTables(
      session,
      found.filter((table) => names.has(qualified(table))),
      depthOf(comparison),
    ),
    routed,
  );
  const differences: Difference[] = [];
  for (const table of restored) {
    const key = qualified(table);
    const print = expected.get(key) as TablePrint;
    expected.delete(key);
    if (print.rows !== table.rows)
      differences.push(`table ${spoken(table)}: ${print.rows} rows, restored ${table.rows}`);
    else if (print.digest !== table.digest)
      differences.push(`table ${spoken(table)}: same ${table.rows} rows, other content`);
  }
  for (const table of expected.values())
    differences.push(`table ${spoken(table)}: ${table.rows} rows, restored: no such table`);
  if (!comparison.only) {
    const known = new Set([...comparison.print.tables, ...comparison.print.relations].map(qualified));
    for (const table of found)
      if (!known.has(qualified(table))) differences.push(`table ${spoken(table)}: restored, but not in the source`);
  }
  return differences;
}

async function compareSequences(session: Session, print: DatabasePrint): Promise<Difference[]> {
  if (print.sequences.length === 0) return [];
  const restored = await listSequences(session);
  const positions = await sequencePositions(session, restored);
  const found = new Map(restored.map((sequence, index) => [qualified(sequence), positions[index]]));
  const differences: Difference[] = [];
  for (const sequence of print.sequences) {
    const position = found.get(qualified(sequence));
    const wanted =
      sequence.before.value === sequence.after.value
        ? sequence.before.value
        : `between ${sequence.before.value} and ${sequence.after.value}`;
    if (!position) differences.push(`sequence ${spoken(sequence)}: restored: no such sequence`);
    else if (!sequenceFits(sequence, position))
      differences.push(`sequence ${spoken(sequence)}: ${wanted}, restored ${position.value}`);
  }
  return differences;
}

async function compareFrame(session: Session, comparison: Comparison): Promise<Difference[]> {
  const { print, scope, major, sourceMajor } = comparison;
  if (scope.partial) return [];
  const frame = await readFrame(session);
  const differences: Difference[] = [];
  const matviews = new Map(frame.matviews.map((view) => [qualified(view), view]));
  const starved = print.matviews.some((view) => !view.populated)
    ? new Set((await viewsOfUnpopulated(session)).map(qualified))
    : new Set<string>();
  for (const view of print.matviews) {
    const restored = matviews.get(qualified(view));
    if (!restored) differences.push(`materialized view ${spoken(view)}: restored: no such view`);
    // Without data, pg_dump leaves all of them unpopulated; and always those that would read an unpopulated one.
    else if (
      restored.populated !== view.populated &&
      !scope.schemaOnly &&
      !(view.populated && starved.has(qualified(view)))
    )
      differences.push(
        `materialized view ${spoken(view)}: ${populated(view)} in the source, ${populated(restored)} in the restored copy`,
      );
    // Another major may write the same definition otherwise.
    else if (restored.definition !== view.definition && major === sourceMajor)
      differences.push(`materialized view ${spoken(view)}: other definition`);
  }
  const tables = scope.schemaOnly || scope.tables ? (await listTables(session)).map(qualified) : [];
  const relations = new Set([...frame.relations.map(qualified), ...tables]);
  for (const relation of print.relations)
    if (!relations.has(qualified(relation)))
      differences.push(`${relation.kind} ${spoken(relation)}: restored: none such`);
  for (const extension of print.extensions)
    if (!frame.extensions.includes(extension)) differences.push(`extension ${extension}: not restored`);
  for (const [kind, count] of Object.entries(print.objects)) {
    const restored = frame.objects[kind] ?? 0;
    if (restored === count) continue;
    // Among the types are those of an extension's own tables and views, and the version here may have more of them.
    const extensions = kind === 'types' ? await countExtensionRowTypes(session) : 0;
    if (count > restored || count < restored - extensions) differences.push(`${kind}: ${count}, restored ${restored}`);
  }
  return differences;
}

function populated(view: { readonly populated: boolean }): string {
  return view.populated ? 'populated' : 'not populated';
}

async function compareLargeObjects(session: Session, comparison: Comparison): Promise<Difference[]> {
  const { largeObjects } = comparison.print;
  if (!largeObjects) return [];
  const restored = await digestLargeObjects(session, depthOf(comparison));
  if (restored.count !== largeObjects.count)
    return [`large objects: ${largeObjects.count}, restored ${restored.count}`];
  if (restored.digest !== largeObjects.digest) return [`large objects: same ${restored.count} objects, other content`];
  return [];
}
