/** What the engine and its worker (a child process) say to each other: one JSON line each. */

/** Copies a live database into `into` while its application goes on. */
export interface SnapshotRequest {
  readonly do: 'snapshot';
  readonly file: string;
  readonly into: string;
  /** Milliseconds to wait for a writer's lock. */
  readonly patience: number;
}

/** Reads a database that nobody writes to from end to end. */
export interface ExamineRequest {
  readonly do: 'examine';
  readonly file: string;
  readonly probes: readonly { readonly name: string; readonly query: string }[];
}

/** A cheap look at a live database. */
export interface LookRequest {
  readonly do: 'look';
  readonly file: string;
  readonly patience: number;
}

/** Copies some tables of a database that nobody writes to into a new one. */
export interface ExtractRequest {
  readonly do: 'extract';
  readonly file: string;
  readonly into: string;
  readonly tables: readonly string[];
}

export type WorkerRequest = SnapshotRequest | ExamineRequest | LookRequest | ExtractRequest;

export interface Look {
  /** Version of the SQLite that reads. */
  readonly sqlite: string;
  readonly journal: 'wal' | 'rollback';
  /** Version number of the SQLite that wrote last, as in the header (3040001); 0 when unknown. */
  readonly writtenBy: number;
  readonly bytes: number;
  /** sha256 of the schema's text. */
  readonly schema: string;
}

export interface Snapshot {
  readonly pages: number;
  readonly journal: 'wal' | 'rollback';
  /** How long the source was pinned; in rollback mode writers waited as long. */
  readonly pinnedMilliseconds: number;
  /** Permission bits of the source file. */
  readonly mode: number;
}

/** `rows` and `digest` are null where the table cannot be read without the application's own functions or collations. */
export interface TableContents {
  readonly name: string;
  readonly rows: number | null;
  readonly digest: string | null;
}

export interface Answered {
  readonly name: string;
  /** Rows as text; null when it gave none. */
  readonly answer: (string | null)[][] | null;
  /** Why there is no answer. */
  readonly failed: string | null;
  /** Asked twice, answered the same. */
  readonly stable: boolean;
}

export interface Examination {
  readonly sqlite: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly encoding: string;
  readonly userVersion: number;
  readonly applicationId: number;
  readonly schema: string;
  /** What `integrity_check` complains of; empty = sound. */
  readonly complaints: readonly string[];
  /** Rows that break a constraint of their table, in the words of `integrity_check`. */
  readonly violations: readonly string[];
  /** What could not be checked without the application's functions or collations, and why: `table t: …`. */
  readonly unchecked: readonly string[];
  readonly tables: readonly TableContents[];
  readonly probes: readonly Answered[];
}

export interface Extraction {
  /** The tables asked for, by their own names, and the shadow tables of virtual ones. */
  readonly copied: readonly string[];
  /** Indexes, triggers and the like that could not be made, and why. */
  readonly lacking: readonly string[];
}

/** Kinds of failure the worker tells apart; the engine makes the error of it. */
export type FailureKind =
  | 'absent'
  | 'refused'
  | 'locked'
  | 'unsupported'
  | 'damaged'
  | 'space'
  | 'runtime'
  | 'no-table'
  | 'failed';

export type WorkerMessage =
  | { readonly pinned: true }
  | { readonly progress: number }
  | { readonly result: unknown }
  | { readonly failure: { readonly kind: FailureKind; readonly message: string; readonly hint: string | null } };

/** Thrown inside the worker; travels as a `failure` message. */
export class WorkerFailure extends Error {
  readonly kind: FailureKind;
  readonly hint: string | null;

  constructor(kind: FailureKind, message: string, hint: string | null = null, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
    this.hint = hint;
  }
}
