import * as z from 'zod';
import { RecordInvalid } from '#core/errors';

/** What a PostgreSQL backup contains, as it stands in the manifest. Grows by optional fields only. */

const named = { schema: z.string(), name: z.string() };

const table = z.strictObject({
  ...named,
  rows: z.int().min(0),
  /** Sum of the row hashes in decimal; null where only rows are counted. */
  digest: z.string().nullable(),
});
export type TablePrint = z.output<typeof table>;

const position = z.strictObject({ value: z.string(), called: z.boolean() });
export type SequencePosition = z.output<typeof position>;

const sequence = z.strictObject({
  ...named,
  increment: z.string(),
  min: z.string(),
  max: z.string(),
  cycle: z.boolean(),
  /** Sequences are outside any snapshot: read before the dump and after it. */
  before: position,
  after: position,
});
export type SequencePrint = z.output<typeof sequence>;

const matview = z.strictObject({ ...named, populated: z.boolean(), definition: z.string() });

const database = z.strictObject({
  name: z.string(),
  owner: z.string(),
  /** Artifact with its dump. */
  artifact: z.string(),
  encoding: z.string(),
  /** `c` libc, `i` icu, `b` builtin. */
  provider: z.string(),
  collate: z.string(),
  ctype: z.string(),
  /** ICU or builtin locale and ICU rules. */
  locale: z.string().nullable(),
  icuRules: z.string().nullable(),
  extensions: z.array(z.string()),
  tables: z.array(table),
  sequences: z.array(sequence),
  matviews: z.array(matview),
  /** Names of views, foreign tables and partitioned parents: they hold no rows of their own. */
  relations: z.array(z.strictObject({ ...named, kind: z.string() })),
  /** Count of constraints, indexes, functions, triggers, policies, types: what no row count sees. */
  objects: z.record(z.string(), z.int()),
  largeObjects: z.strictObject({ count: z.int(), bytes: z.int(), digest: z.string().nullable() }).nullable(),
  /** Roles its objects belong to or are granted to. */
  roles: z.array(z.string()),
  /** Those of them that must be superusers: owners of event triggers, foreign-data wrappers, subscriptions. */
  superusers: z.array(z.string()),
  /** What the login's search_path came to: probes are asked under it. */
  searchPath: z.string(),
  /** `ALTER DATABASE … SET`, as `name=value`. */
  settings: z.array(z.string()),
});
export type DatabasePrint = z.output<typeof database>;

const fingerprint = z.strictObject({
  server: z.strictObject({ version: z.string(), major: z.int(), preload: z.string(), monetary: z.string() }),
  /** Whole: everything of each database. Else what was left out. */
  scope: z.strictObject({
    schemaOnly: z.boolean(),
    /** Tables whose data is in it; null = all. */
    tables: z.array(z.string()).nullable(),
    partial: z.boolean(),
    all: z.boolean(),
  }),
  /** `database.dump` is one custom-format file, `database.tar` a directory-format dump. */
  format: z.enum(['custom', 'directory']),
  jobs: z.int(),
  globals: z.boolean(),
  /** Every role of the server but PostgreSQL's own `pg_…`. */
  roles: z.array(z.string()),
  databases: z.array(database).min(1),
});
export type Fingerprint = z.output<typeof fingerprint>;

/** @throws RecordInvalid */
export function readFingerprint(value: unknown): Fingerprint {
  const parsed = fingerprint.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new RecordInvalid(
    `the fingerprint is not one of a PostgreSQL backup: ${z.prettifyError(parsed.error).split('\n')[0]}`,
    {
      hint: 'a newer Holdfast may have written it; restore.script in the manifest needs none',
    },
  );
}
