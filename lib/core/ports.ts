import type { Readable, Writable } from 'node:stream';
import type { Identity, Manifest, Probe } from '#core/manifest';
import type { EngineName, Source } from '#core/plan';

/** Time. Core and jobs never read the machine's clock themselves. */
export interface Clock {
  now(): Date;
  /** Resolves after `milliseconds`; rejects with `Cancelled` when the signal fires. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

/** Words for people and log files, on stderr. Never a secret: what `RunContext.reveal` returned must not come here. */
export interface Log {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
}

/** How far a run is, for a terminal. `total` is null when nobody knows it. */
export interface Progress {
  stage(name: string, total: number | null): void;
  advance(bytes: number): void;
}

/** One child process to be. Never put a secret into `args`: every user of the machine can read them. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  /** Added to the small environment every child gets (PATH, HOME, LANG=C.UTF-8, TZ and a few of libpq's and docker's). */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Numeric owner to run as; only root can. */
  readonly as?: { readonly uid: number; readonly gid: number };
  /** Exit codes that mean success; `[0]` unless told. */
  readonly okCodes?: readonly number[];
}

export interface Ended {
  readonly program: string;
  readonly code: number | null;
  /** The last 64 KiB. */
  readonly stderr: string;
}

/** Children joined stdout to stdin by the kernel: their bytes do not pass through JavaScript. */
export interface Pipeline {
  /** Open only when asked for with `stdin: 'pipe'`. */
  readonly stdin: Writable | null;
  /** The last child's output; may be read here, or given as `stdin` to another pipeline. Null with `stdout: number`. */
  readonly stdout: Readable | null;
  /**
   * Settles when every child has ended. Rejects with `CommandFailed` naming the child that is to blame (not the ones
   * that only got SIGPIPE because of it). Must be awaited: output read to its end is not yet success.
   */
  readonly done: Promise<readonly Ended[]>;
  /** Kills all children; `done` then rejects. Harmless after the end. */
  stop(): void;
}

/** A long-lived child: a scratch server, a session. */
export interface Service {
  readonly pid: number;
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Resolves when it has ended, however it did. */
  readonly ended: Promise<Ended>;
  /** What it has said on stderr so far (last 64 KiB). */
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
}

/**
 * Starts children, and ends them with the run: when `signal` of the run fires, all get SIGTERM, 5 s later SIGKILL.
 * A service's pid is noted in the scratch directory, so that the next run can end what a killed run left behind.
 */
export interface Processes {
  /** Runs to the end. `input` goes to stdin. Throws `CommandFailed`, `ToolMissing`, `Cancelled`. stdout is limited to 64 MiB. */
  run(
    command: Command,
    options?: { readonly input?: string; readonly timeout?: number },
  ): Promise<Ended & { readonly stdout: string }>;
  /** `stdin`: a stream owned by this process or another pipeline's stdout, an open file descriptor, `'pipe'`, or nothing. */
  pipe(
    commands: readonly Command[],
    io?: { readonly stdin?: Readable | number | 'pipe' | 'ignore'; readonly stdout?: 'pipe' | number },
  ): Pipeline;
  start(command: Command): Service;
  /** Absolute path of a program, or null when it is not installed. */
  find(program: string): Promise<string | null>;
}

/** What a host gives for the length of one run. */
export interface RunContext {
  readonly processes: Processes;
  readonly clock: Clock;
  readonly log: Log;
  readonly progress: Progress;
  /** Directory of this run alone, mode 0700; plaintext may lie here. Removed at the end, or by the next run. */
  readonly scratch: string;
  readonly signal: AbortSignal;
  /** Puts `${NAME}`s in. Throws `VariableMissing`. What it returns is secret: never log it, never put it into argv. */
  reveal(text: string): string;
  /** Name of this machine, for manifests, leases and the ledger. */
  readonly host: string;
}

/** One line of `holdfast check`. `ok: null` = cannot be proven here (exit 6 material), said but not wrong. */
export interface CheckLine {
  readonly name: string;
  readonly ok: boolean | null;
  readonly message: string;
  readonly hint: string | null;
}

/** Where an artifact's plain bytes come from. `lib/vault/seal` reads it exactly once. */
export interface ArtifactSource {
  /** Logical name: `database.dump`, `tree.tar`. Lower case, `[a-z0-9.-]`, unique in the backup. */
  readonly name: string;
  /** Called when its turn has come. */
  open(): Promise<ArtifactBytes>;
}

export interface ArtifactBytes {
  /** A pipeline's stdout, a stream of this process, or an open file descriptor of a regular file. */
  readonly bytes: Readable | number;
  /** Resolves when the producer has proved that it is whole; awaited after the last byte. Rejects otherwise (I2). */
  readonly whole: Promise<void>;
}

export interface CaptureResult {
  /** Name of the digest's definition: `pg1`, `redis1`, `sqlite1`, `files1`. */
  readonly digest: string;
  /** The engine's own JSON; validated by the engine when it is read back. */
  readonly fingerprint: unknown;
  /** Sizes that anomaly rules watch, in units of their own: rows, tables, keys, bytes, files. */
  readonly measures: Readonly<Record<string, number>>;
  readonly probes: readonly Probe[];
  /** POSIX sh. `plain NAME` writes an artifact's plain bytes to stdout; `$TARGET` is where to restore (DESIGN section 8). */
  readonly restoreScript: string;
  readonly warnings: readonly string[];
}

/** An open snapshot of a source. */
export interface Capture {
  /** The moment the data is of. */
  readonly snapshotAt: Date;
  readonly identity: Identity;
  /** `{ pg_dump: '15.18', server: '15.18' }` */
  readonly tools: Readonly<Record<string, string>>;
  /** In the order in which they must be read. */
  readonly artifacts: readonly ArtifactSource[];
  /** After all artifacts were read to their ends. Throws when anything was not whole or not readable. */
  finish(): Promise<CaptureResult>;
  /** Ends the snapshot; always called, once, also after a failure. */
  close(): Promise<void>;
}

/** A stored backup, opened for reading. */
export interface OpenBackup {
  readonly manifest: Manifest;
  /** The engine's fingerprint, from the manifest or its artifact. */
  fingerprint(): Promise<unknown>;
  /** Artifact bytes, unsealed. Throws `KeysMissing`. */
  open(artifact: string): Promise<PlainBytes>;
}

export interface PlainBytes {
  /** May be given as stdin to a pipeline. */
  readonly bytes: Readable;
  /**
   * Resolves when stored hash, unsealing children and plain byte count are all right. Must be awaited after the last
   * byte. Rejects with `Disproven` (bytes differ), `IdentityWrong`, or the vault's error.
   */
  readonly whole: Promise<void>;
  stop(): void;
}

/** One thing that is not equal, in words: `table public.events: 1000 rows, restored 999`. */
export type Difference = string;

/** A backup loaded into an engine of ours, not yet compared. */
export interface RestoredCopy {
  /** How a test or a person reaches it: a connection URL or a path. */
  readonly where: string;
  /** Compares fingerprint and probes with what was loaded. Empty = equal. */
  compare(): Promise<readonly Difference[]>;
  /** Stops the scratch engine and removes its plaintext; always called, once. */
  close(): Promise<void>;
}

export interface RestoreRequest {
  /** Revealed target: a URL or a path. */
  readonly target: string;
  /** Tables, paths, databases; empty = all. */
  readonly only: readonly string[];
  readonly overwrite: boolean;
}

export interface RestoreOutcome {
  /** What was written, without secrets. */
  readonly target: string;
  /** Whether the fingerprint was compared and is equal. */
  readonly verified: boolean;
  readonly warnings: readonly string[];
}

export interface SourceFacts {
  readonly identity: Identity;
  readonly version: string;
  /** Estimated plain size; null when the engine cannot know. */
  readonly bytes: number | null;
}

/** Name and plan entry of the source a call is about, its probes and prover included. */
export interface SourceRef {
  readonly name: string;
  readonly settings: Source;
}

/**
 * How one kind of data is captured, restored and compared. Streaming engines hold no state between calls.
 * `test/contracts/engine.ts` is the suite every one of them passes.
 */
export interface StreamingEngine {
  readonly name: EngineName;
  /** Cheap look at the source: reachable, which one it is, how big. Throws `SourceUnreachable`, `SourceRefused`, `SourceUnsupported`. */
  inspect(source: SourceRef, run: RunContext): Promise<SourceFacts>;
  /** Everything a night's run and its proof need, tried today. Yields lines; throws only for defects. */
  check(source: SourceRef, run: RunContext): AsyncIterable<CheckLine>;
  capture(source: SourceRef, run: RunContext): Promise<Capture>;
  /**
   * Whether the source still holds what `fingerprint` was taken of, for `onChange`. Only engines that can tell without
   * storing anything have it. Throws as `capture` does.
   */
  unchangedSince?(source: SourceRef, fingerprint: unknown, run: RunContext): Promise<boolean>;
  /**
   * Loads into a scratch engine. Throws `NotProvableHere` when something lacks on this machine, `Disproven` when the
   * backup itself does not load, anything else when the attempt failed.
   */
  load(backup: OpenBackup, source: SourceRef, run: RunContext): Promise<RestoredCopy>;
  /**
   * Gives data back: refuses a target that is not empty unless `overwrite`, loads beside and switches at the end where
   * the engine can, compares before it returns. Throws `TargetNotEmpty`, `TargetUnusable`, `Disproven`.
   * `source` is null when there is no plan any more.
   */
  restore(
    backup: OpenBackup,
    request: RestoreRequest,
    source: SourceRef | null,
    run: RunContext,
  ): Promise<RestoreOutcome>;
}

/** What a vault can do; callers ask this, never "is this S3?". */
export interface VaultFeatures {
  /** Single puts are create-only for all writers, not only for this process. */
  readonly createOnly: boolean;
  /** The completing call of a multipart upload honours create-only. */
  readonly conditionalMultipart: boolean;
  /** The server verified the checksum of what it stored; else the bytes are read back. */
  readonly serverChecksum: boolean;
  /** Free space is known. */
  readonly knowsSpace: boolean;
}

export interface StoredVolume {
  /** File name beside the manifest. */
  readonly name: string;
  readonly bytes: number;
  /** Hex, of the stored bytes. */
  readonly sha256: string;
}

export interface VaultEntry {
  readonly key: string;
  readonly bytes: number;
  readonly modified: Date;
}

/**
 * Where bytes lie. Keys are relative to the vault's root, `/`-separated, `[A-Za-z0-9._/-]`; `UnsafePath` otherwise.
 * Every call throws `VaultUnreachable` after its retries, `VaultRefused`, `SpaceLacking`; a listing that failed never
 * looks like an empty one (I14). `test/contracts/vault.ts` is the suite every one of them passes.
 */
export interface Vault {
  /** Its name in the plan. */
  readonly name: string;
  /** Printable address, no secrets: `/var/backups/x`, `s3://bucket/prefix`. */
  readonly url: string;
  readonly features: VaultFeatures;
  /** Create-only. Throws `KeyExists`. Durable when it returns. */
  putOnce(key: string, body: Uint8Array): Promise<void>;
  /** Overwrites: only for lease beats, `RUNBOOK.md`, `index.html`. */
  putAgain(key: string, body: Uint8Array): Promise<void>;
  /**
   * Streams an artifact into one or more volumes (`name`, `name.002`, … below `folder`), hashed on the way, compared
   * with what is stored afterwards (I2), create-only where the store can. Aborts and throws when `bytes` errors or `signal` fires.
   */
  store(folder: string, name: string, bytes: Readable, options: StoreOptions): Promise<readonly StoredVolume[]>;
  /** Small objects, up to 16 MiB. Throws `KeyMissing`. */
  get(key: string): Promise<Uint8Array>;
  /** Streams one object. Throws `KeyMissing`. */
  open(key: string): Promise<Readable>;
  /** All keys below the prefix in byte order, beginning after the key `after`. */
  list(prefix: string, options?: { readonly after?: string; readonly limit?: number }): AsyncIterable<VaultEntry>;
  /** Names directly below the prefix that have something below them: `backups/` → sources. In byte order. */
  folders(prefix: string): AsyncIterable<string>;
  /** The greatest number that a key directly below `prefix` begins with (ten digits), or null. Few requests, gaps allowed. */
  lastNumber(prefix: string): Promise<number | null>;
  /** Throws `KeyMissing`. Retention's alone. */
  remove(key: string): Promise<void>;
  /** By the vault's own clock, so that ages do not depend on this machine's. */
  now(): Promise<Date>;
  /** Bytes free for more, or null when unknowable. */
  free(): Promise<number | null>;
}

export interface StoreOptions {
  readonly signal: AbortSignal;
  /** Told of each chunk, for progress. */
  readonly onBytes?: (bytes: number) => void;
}
