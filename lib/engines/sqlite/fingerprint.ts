import * as z from 'zod';
import { RecordInvalid } from '#core/errors';
import type { Difference } from '#core/ports';
import type { Examination } from '#engines/sqlite/protocol';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const fingerprintSchema = z.strictObject({
  /** Of the snapshot file: its bytes are what the pinned transaction saw. */
  bytes: z.int().min(0),
  sha256,
  schema: sha256,
  encoding: z.string(),
  userVersion: z.int(),
  applicationId: z.int(),
  journal: z.enum(['wal', 'rollback']),
  /** Permission bits of the source file. */
  mode: z.int().min(0).max(0o777),
  /** What only the application itself can check; empty = `integrity_check` said ok of everything. */
  unchecked: z.array(z.string()),
  tables: z.array(z.strictObject({ name: z.string(), rows: z.int().nullable(), digest: sha256.nullable() })),
});

/** What the snapshot contained (digest `sqlite1`). */
export type Fingerprint = z.output<typeof fingerprintSchema>;

/** @throws RecordInvalid it is no fingerprint of this engine */
export function readFingerprint(value: unknown): Fingerprint {
  const parsed = fingerprintSchema.safeParse(value);
  if (!parsed.success)
    throw new RecordInvalid(
      `the fingerprint is not one of a SQLite database: ${z.prettifyError(parsed.error).split('\n')[0]}`,
      { hint: 'the backup was made by another engine or a newer Holdfast' },
    );
  return parsed.data;
}

/** A whole database against the fingerprint of the one it was. */
export function differencesFrom(fingerprint: Fingerprint, restored: Examination): readonly Difference[] {
  const differences: Difference[] = restored.complaints.map((complaint) => `integrity_check: ${complaint}`);
  if (restored.bytes !== fingerprint.bytes)
    differences.push(`snapshot.db: ${fingerprint.bytes} bytes, restored ${restored.bytes}`);
  else if (restored.sha256 !== fingerprint.sha256)
    differences.push(`snapshot.db: sha256 ${fingerprint.sha256}, restored ${restored.sha256}`);
  if (restored.complaints.length > 0) return differences;
  const facts = ['encoding', 'userVersion', 'applicationId'] as const;
  for (const fact of facts)
    if (restored[fact] !== fingerprint[fact])
      differences.push(`${fact}: ${fingerprint[fact]}, restored ${restored[fact]}`);
  if (restored.schema !== fingerprint.schema) differences.push('schema: not the same objects');
  const there = new Set(fingerprint.tables.map(({ name }) => name));
  return [
    ...differences,
    ...tableDifferences(fingerprint.tables, restored),
    ...restored.tables.filter(({ name }) => !there.has(name)).map(({ name }) => `table ${name}: was not there`),
  ];
}

/** Only these tables; others that are restored too do not matter. */
export function tableDifferences(tables: Fingerprint['tables'], restored: Examination): readonly Difference[] {
  const found = new Map(restored.tables.map((table) => [table.name, table]));
  return tables.flatMap((table): Difference[] => {
    const copy = found.get(table.name);
    if (!copy) return [`table ${table.name}: missing`];
    if (copy.rows !== table.rows) return [`table ${table.name}: ${told(table.rows)}, restored ${told(copy.rows)}`];
    if (copy.digest !== table.digest) return [`table ${table.name}: ${told(table.rows)} in both, contents differ`];
    return [];
  });
}

function told(rows: number | null): string {
  return rows === null ? 'not readable here' : `${rows} ${rows === 1 ? 'row' : 'rows'}`;
}
