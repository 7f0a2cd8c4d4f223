import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXAMPLES } from '#test/examples/plans';

/** What lies in the vaults, as a table people can read. */
export interface Kept {
  readonly source: string;
  readonly vault: string;
  readonly tier: string;
  readonly at: Date;
}

/** Tiers with no more than these are listed one by one. */
const LISTED = 15;
const LINE = 110;

/** @param taken backups that were made in the year, by `source vault tier` */
export function goldenText(name: string, taken: ReadonlyMap<string, number>, kept: readonly Kept[]): string {
  const groups = new Map([...taken.keys()].map((key) => [key, [] as Date[]]));
  for (const { source, vault, tier, at } of kept) groups.get(`${source} ${vault} ${tier}`)?.push(at);
  const rows = [...groups].map(([key, times]) => {
    const sorted = times.sort((a, b) => a.getTime() - b.getTime());
    const ends = [sorted[0], sorted.at(-1)].map((at) => (at ? shown(at) : '-'));
    return { key, sorted, cells: [...key.split(' '), String(taken.get(key)), String(sorted.length), ...ends] };
  });
  const sparse = rows.filter(({ sorted }) => sorted.length <= LISTED);
  return [
    `${name}: what lies in its vaults after a year`,
    '',
    'From 2027-01-01 until 2028-01-01, by the schedules and tiers of the plan; every backup proven; `retain` at each',
    'midnight, the last one included. Times are UTC.',
    '',
    ...aligned([['source', 'vault', 'tier', 'taken', 'kept', 'oldest', 'newest'], ...rows.map(({ cells }) => cells)]),
    '',
    ...sparse.flatMap(({ key, sorted }) => wrapped(`${key}:`, sorted.map(shown))),
    '',
  ].join('\n');
}

function shown(at: Date): string {
  return at.toISOString().slice(0, 16).replace('T', ' ');
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_cell, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const isNumber = (column: number): boolean => column === 3 || column === 4;
  return rows.map((row) =>
    row
      .map((cell, column) => (isNumber(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}

function wrapped(head: string, items: readonly string[]): string[] {
  const lines = [head];
  for (const item of items) {
    const line = lines.at(-1) as string;
    const longer = `${line}${line === head ? ' ' : ', '}${item}`;
    if (longer.length <= LINE) lines[lines.length - 1] = longer;
    else {
      lines[lines.length - 1] = `${line},`;
      lines.push(`  ${item}`);
    }
  }
  return lines;
}

/** `GOLDEN=write` writes it anew: read the difference before it is committed. */
export function golden(name: string, text: string): string {
  const file = join(EXAMPLES, 'golden', `${name}.txt`);
  if (process.env['GOLDEN'] === 'write') writeFileSync(file, text);
  return readFileSync(file, 'utf8');
}
