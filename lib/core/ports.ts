import type { Readable, Writable } from 'node:stream';
import type { Telling } from '#core/alert';
import type { BucketLifecycle, BucketSettings, Seen } from '#core/bucket-settings';
import type { JobDocument, StartPayload } from '#core/job';
import type { Identity, Manifest, Probe } from '#core/manifest';
import type { Metric } from '#core/metrics';
import type { EngineName, Source } from '#core/plan';
import type { TaskDetail } from '#core/task-end';
import type { ArchiveClass, ThawSpeed } from '#core/thaw';

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
  /**
   * Starts although the run was stopped, and is not ended with it: only for what takes away what the run made elsewhere.
   * Give it a timeout.
   */
  readonly afterStop?: boolean;
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

/** One line of `holdfast check`. `ok: null` = cannot be proven or looked at here (exit 6 material), said but not wrong. */
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
  /** Directories of the plan's disk vaults, absolute: a tree that holds one must not back it up into itself. */
  readonly vaultDirectories?: readonly string[];
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
  /** Looks at the target as `restore` would, and throws what it would refuse before it changes anything. */
  lookAtTarget(backup: OpenBackup, request: RestoreRequest, source: SourceRef | null, run: RunContext): Promise<void>;
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
  putOnce(key: string, body: Uint8Array, keep?: KeepOptions): Promise<void>;
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
  /** Bytes it may hold in all: the plan's `capacity`, else its disk's size; null when unknowable. */
  total?(): Promise<number | null>;
  /** Where it lies in a bucket. */
  readonly bucket?: BucketReader;
  /** Where the store itself can end what retention has marked. */
  readonly expiryMarks?: ExpiryMarks;
  /** An address at which anybody who has it can read the object for so long; where the store signs such. */
  link?(key: string, seconds: number): Promise<string>;
  /** Where the store keeps objects in classes and under locks; else `KeepOptions` mean nothing to it. */
  readonly keeping?: Keeping;
  /** Where the store has classes from which nothing can be read before it was thawed. */
  readonly archive?: Archive;
}

/** Throws as a `Vault` does. */
export interface Archive {
  /** The objects below `prefix` that lie in such a class; all others can be read at once. Asks for nothing. */
  archived(prefix: string): Promise<readonly Archived[]>;
  /** Asks for copies that can be read, which costs money. One that was asked for before stays as it was asked. */
  thaw(keys: readonly string[], ask: ThawAsk): Promise<void>;
}

export interface Archived {
  readonly key: string;
  readonly bytes: number;
  readonly class: ArchiveClass;
  /** `frozen`: nobody has asked for a copy; `thawing`: somebody has; `thawed`: it can be read. */
  readonly state: 'frozen' | 'thawing' | 'thawed';
  /** When the thawed copy ends; null = there is none. */
  readonly until: Date | null;
}

export interface ThawAsk {
  readonly speed: ThawSpeed;
  /** How long the copies can be read. */
  readonly days: number;
}

/** How a bucket is set up, changed by nobody. Throws as a `Vault` does, but for what is in `Seen`. */
export interface BucketReader {
  /** Asked each time: a rule that somebody switched off must not be counted on. */
  lifecycle(): Promise<Seen<BucketLifecycle>>;
  settings(): Promise<BucketSettings>;
}

export interface Lacking {
  readonly part: 'class' | 'lock';
  /** In words. */
  readonly what: string;
}

export interface Keeping {
  /** What of it this store does not do, found out without storing anything. Empty = all is done. */
  lacking(keep: KeepOptions): Promise<readonly Lacking[]>;
  /** Until when the object is locked; null = it is not. Throws `KeyMissing`, `VaultRefused`. */
  lockedUntil(key: string): Promise<Date | null>;
  /** Locks objects at least until then; a lock that lasts longer stays. Throws `KeyMissing`, `VaultRefused`. */
  extendLock(keys: readonly string[], lock: ObjectLock): Promise<void>;
}

/**
 * Marks on which a store's own lifecycle rules act: retention decides and marks, the store removes, and nobody needs the
 * right to delete (DESIGN section 4). The mark is the tag `holdfast=expired`.
 */
export interface ExpiryMarks {
  /**
   * Whether the store removes every marked object below `prefix` by itself. False = it has no such rule, or no lifecycle.
   * Throws `VaultRefused` when it may not be asked: then nobody knows, which is not "no".
   */
  covers(prefix: string): Promise<boolean>;
  /** Other tags of the objects stay. Marking twice is harmless, and what the store has removed needs none. Throws `VaultRefused`. */
  mark(keys: readonly string[]): Promise<void>;
}

/** How a store should keep an object. What it cannot do it leaves out, stores the object all the same, and says so. */
export interface KeepOptions {
  readonly storageClass?: 'infrequent' | 'archive-instant';
  readonly lock?: ObjectLock;
  /** Told what of this the store does not do. */
  readonly onLess?: (less: Lacking) => void;
}

/** Until then nobody can remove the object: `governance` but for who may bypass it, `compliance` nobody at all. */
export interface ObjectLock {
  readonly mode: 'governance' | 'compliance';
  readonly until: Date;
}

export interface StoreOptions extends KeepOptions {
  readonly signal: AbortSignal;
  /** Told of each chunk, for progress. */
  readonly onBytes?: (bytes: number) => void;
  /** Of a copy: what the bytes, one volume, have to be. Else nothing gets its final name and `Disproven` is thrown. */
  readonly expect?: { readonly bytes: number; readonly sha256: string };
}

/** What became of one message on one channel. */
export interface Delivery {
  /** Printable, without secrets: `email ops@example.com`, `slack ${SLACK_WEBHOOK}`, `webhook example.com`. */
  readonly channel: string;
  readonly ok: boolean;
  /** Why it was not delivered; null when it was. */
  readonly error: string | null;
}

/** Who is told. Opened from the plan's `alerts` by the host. */
export interface Messenger {
  /**
   * Sends to every channel of the telling's severity, each by itself: what one cannot deliver keeps no other from it.
   * Never throws for a channel; empty when the plan names no channel at all (`core/audience`).
   */
  tell(telling: Telling): Promise<readonly Delivery[]>;
  /** Tells the dead man's service that the watcher lives; null when the plan names none. */
  heartbeat(): Promise<Delivery | null>;
}

/** Small JSON notes of this machine about this plan that outlive a run. Null where nothing was noted, or nothing can be. */
export interface Notes {
  read(name: string): Promise<unknown>;
  write(name: string, value: unknown): Promise<void>;
}

/** Starts what works on a source elsewhere. Throws `CloudFailed` when nothing was started. */
export interface Launcher {
  /**
   * @param scratchGiB room for plaintext, where a task's usual does not do
   * @returns the task's name, and whether it had been started before by the same document
   */
  launch(
    document: JobDocument,
    scratchGiB: number | null,
  ): Promise<{ readonly task: string; readonly already: boolean }>;
}

export interface RunningTask {
  readonly task: string;
  readonly document: JobDocument;
  /** Null: not yet; or nobody knows. */
  readonly startedAt: Date | null;
}

/** What has been started elsewhere. Throws `CloudFailed`: "could not list" is never "none" (I14). */
export interface Tasks {
  running(): Promise<readonly RunningTask[]>;
  /** Those that ended lately, as long as the service remembers them. */
  ended(): Promise<readonly TaskDetail[]>;
  /** It is given two minutes to end well. */
  stop(task: string, reason: string): Promise<void>;
}

/** Asks a function to do something, and does not wait for it. Throws `CloudFailed`. */
export interface Invoker {
  start(payload: StartPayload): Promise<void>;
  retain(request: { readonly source: string | null; readonly dryRun: boolean }): Promise<void>;
}

export interface SecretNames {
  /** Of these variables, those whose secret is absent or was never given a value. Throws `CloudFailed`. */
  withoutValue(variables: readonly string[]): Promise<readonly string[]>;
}

/** Throws `CloudFailed`. */
export interface MetricSink {
  write(metrics: readonly Metric[]): Promise<void>;
}
