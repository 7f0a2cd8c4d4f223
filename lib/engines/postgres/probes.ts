import type { Probe } from '#core/manifest';
import type { ProbeSettings } from '#core/plan';
import type { Row } from '#engines/postgres/csv';
import { SqlFailed } from '#engines/postgres/failures';
import type { Session } from '#engines/postgres/session';
import { quoteText } from '#engines/postgres/sql';

/** Answers go into the manifest: they are to be figures, not tables. */
const MOST_ROWS = 100;
const MOST_BYTES = 16 * 1024;

export interface Asked {
  readonly name: string;
  readonly query: string;
  readonly expect: Probe['expect'];
  readonly severity: Probe['severity'];
}

/** The plan's probes with its defaults. */
export function probesOf(probes: Readonly<Record<string, ProbeSettings>> | undefined): Asked[] {
  return Object.entries(probes ?? {}).map(([name, probe]) =>
    typeof probe === 'string'
      ? { name, query: probe, expect: 'equal', severity: 'critical' }
      : { name, query: probe.query, expect: probe.expect ?? 'equal', severity: probe.severity ?? 'critical' },
  );
}

/** Puts the names a probe uses within reach; everything else runs with none. */
export async function setSearchPath(session: Session, searchPath: string): Promise<void> {
  await session.query(`select pg_catalog.set_config('search_path', ${quoteText(searchPath)}, false)`);
}

/** The answer, or in words why there is none. The transaction goes on in both cases. */
export type Answer =
  | { readonly rows: readonly Row[]; readonly failed: null }
  | { readonly rows: null; readonly failed: string };

export async function ask(session: Session, query: string): Promise<Answer> {
  const statement = query.trim().replace(/;\s*$/, '');
  await session.query('savepoint probe');
  try {
    let rows: Row[];
    if (/^(select|values|with|table)\b/i.test(statement)) {
      // A cursor, so that a probe with a million rows is an error and not our memory.
      await session.foreign(`declare probe no scroll cursor for ${statement}`);
      rows = await session.query(`fetch ${MOST_ROWS + 1} from probe`);
      await session.query('close probe');
    } else rows = await session.foreign(statement);
    // Rolled back also when all was well: so its locks do not stay.
    await session.query('rollback to savepoint probe');
    if (rows.length > MOST_ROWS) return { rows: null, failed: `answers with more than ${MOST_ROWS} rows` };
    if (JSON.stringify(rows).length > MOST_BYTES)
      return { rows: null, failed: `answers with more than ${MOST_BYTES} bytes` };
    return { rows, failed: null };
  } catch (error) {
    if (!(error instanceof SqlFailed)) throw error;
    await session.query('rollback to savepoint probe');
    return { rows: null, failed: error.message };
  }
}

export interface ProbeAnswers {
  readonly probes: readonly Probe[];
  /** Probes without an answer, and those that answer differently each time. */
  readonly warnings: readonly string[];
}

/** Asks all of them, twice: a probe that does not agree with itself cannot be asked to agree with a restored copy. */
export async function askAll(session: Session, asked: readonly Asked[]): Promise<ProbeAnswers> {
  const probes: Probe[] = [];
  const warnings: string[] = [];
  for (const probe of asked) {
    const first = await ask(session, probe.query);
    if (first.rows === null) {
      warnings.push(`probe ${probe.name} gave no answer and will not be compared: ${first.failed}`);
      continue;
    }
    if (probe.expect === 'equal') {
      const second = await ask(session, probe.query);
      if (JSON.stringify(first.rows) !== JSON.stringify(second.rows)) {
        warnings.push(
          `probe ${probe.name} answers differently each time and will not be compared: give it an expect, such as { atLeast: 1 }`,
        );
        continue;
      }
    }
    const unmet = expectationUnmet(probe.expect, first.rows);
    if (unmet) warnings.push(`probe ${probe.name}: ${unmet} in the source itself`);
    probes.push({ ...probe, answer: first.rows.map((row) => [...row]) });
  }
  return { probes, warnings };
}

/** Why an answer does not do, or null. `equal` is judged against the recorded answer, elsewhere. */
function expectationUnmet(expect: Probe['expect'], answer: readonly Row[]): string | null {
  if (expect === 'equal') return null;
  if (expect === 'present')
    return answer.some((row) => row.some((cell) => cell !== null)) ? null : 'wanted something, got nothing';
  const value = answer[0]?.[0] ?? null;
  return value !== null && Number(value) >= expect.atLeast
    ? null
    : `wanted at least ${expect.atLeast}, got ${show(value)}`;
}

/**
 * What differs between a recorded probe and the restored copy's answer; null = as it should be.
 * @param identical all tables of the copy are known to be equal
 */
export async function compareProbe(session: Session, probe: Probe, identical: boolean): Promise<string | null> {
  const answer = await ask(session, probe.query);
  if (answer.rows === null) return `probe ${probe.name}: fails on the restored copy: ${answer.failed}`;
  if (probe.expect !== 'equal') {
    // What the source did not fulfil itself says nothing about the backup.
    if (identical || expectationUnmet(probe.expect, probe.answer)) return null;
    const unmet = expectationUnmet(probe.expect, answer.rows);
    return unmet ? `probe ${probe.name}: ${unmet} in the restored copy` : null;
  }
  if (JSON.stringify(answer.rows) === JSON.stringify(probe.answer)) return null;
  return `probe ${probe.name}: ${showAnswer(probe.answer)}, restored ${showAnswer(answer.rows)}`;
}

function showAnswer(rows: readonly Row[]): string {
  const [row] = rows;
  if (!row) return 'no row';
  const text = row.map(show).join(', ').slice(0, 120);
  return rows.length === 1 ? text : `${text} … (${rows.length} rows)`;
}

function show(cell: string | null | undefined): string {
  return cell === null || cell === undefined ? 'null' : cell;
}
