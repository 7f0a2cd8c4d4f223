import { getCompileCacheDir } from 'node:module';
import { dirname, extname } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  Cancelled,
  CaptureIncomplete,
  CommandFailed,
  type ErrorDetails,
  type HoldfastError,
  SourceLocked,
  SourceRefused,
  SourceUnreachable,
  SourceUnsupported,
  SpaceLacking,
  ToolMissing,
  UsageError,
} from '#core/errors';
import type { RunContext } from '#core/ports';
import type {
  Examination,
  ExamineRequest,
  Extraction,
  ExtractRequest,
  FailureKind,
  Look,
  LookRequest,
  Snapshot,
  SnapshotRequest,
  WorkerMessage,
  WorkerRequest,
} from '#engines/sqlite/protocol';

/** Its pages are wrong: unlike other failures, no second try and no other machine will read it. */
export class DatabaseDamaged extends CaptureIncomplete {}

/** Beside this file; of a bundle, a bundle of its own beside it (`lib/cloud/worker-bundle`, `bin/bundle`). */
const KIND = extname(import.meta.url);
const WORKER = fileURLToPath(new URL(KIND === '.ts' ? 'worker.ts' : `sqlite-worker${KIND}`, import.meta.url));

/** Rows are read one by one, so a small heap is enough; large values live outside it. */
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', '--max-old-space-size=64', '--max-semi-space-size=2'];

/** A backup of a small database starts three workers, and loading its modules is most of what such a one does. */
function compileCache(): Readonly<Record<string, string>> {
  const own = getCompileCacheDir();
  // It lies in the directory that was named to Node, which may be another version's as well.
  return own === undefined ? {} : { NODE_COMPILE_CACHE: dirname(own) };
}

export interface WorkerEvents {
  pinned?(): void;
  progress?(bytes: number): void;
}

/**
 * Has one thing done in a child process, which ends with it, with the run's signal, and with this process.
 * @throws SourceUnreachable, SourceRefused, SourceLocked, SourceUnsupported, DatabaseDamaged, CaptureIncomplete (the
 * worker died), SpaceLacking, ToolMissing (this Node's SQLite is too old), UsageError (no such table), Cancelled
 */
export async function askWorker(request: SnapshotRequest, run: RunContext, events?: WorkerEvents): Promise<Snapshot>;
export async function askWorker(request: ExamineRequest, run: RunContext): Promise<Examination>;
export async function askWorker(request: LookRequest, run: RunContext): Promise<Look>;
export async function askWorker(request: ExtractRequest, run: RunContext): Promise<Extraction>;
export async function askWorker(request: WorkerRequest, run: RunContext, events: WorkerEvents = {}): Promise<unknown> {
  const worker = run.processes.start({
    program: process.execPath,
    args: [...NODE_FLAGS, WORKER],
    env: compileCache(),
  });
  // Not `end`: an open stdin tells the worker that somebody still wants its answer.
  worker.stdin.write(`${JSON.stringify(request)}\n`);
  let answer: { readonly result: unknown } | null = null;
  let failure: HoldfastError | null = null;
  for await (const line of createInterface({ input: worker.stdout })) {
    const message = JSON.parse(line) as WorkerMessage;
    if ('pinned' in message) events.pinned?.();
    else if ('progress' in message) events.progress?.(message.progress);
    else if ('result' in message) answer = message;
    else failure = errorOf(message.failure);
  }
  const ended = await worker.ended;
  if (failure) throw failure;
  if (run.signal.aborted) throw new Cancelled('reading the SQLite database was stopped', { cause: run.signal.reason });
  if (ended.code !== 0 || answer === null)
    throw new CaptureIncomplete(
      `the process that reads the SQLite database ended with ${ended.code === null ? 'a signal' : `exit code ${ended.code}`} before it was done`,
      {
        hint: 'try again; if it was killed for lack of memory (dmesg), give the machine more',
        cause: new CommandFailed(
          'the SQLite worker failed',
          { program: 'node', exitCode: ended.code, stderr: ended.stderr },
          {},
        ),
      },
    );
  return answer.result;
}

const ERRORS: Readonly<Record<FailureKind, new (message: string, details: ErrorDetails) => HoldfastError>> = {
  absent: SourceUnreachable,
  refused: SourceRefused,
  locked: SourceLocked,
  unsupported: SourceUnsupported,
  damaged: DatabaseDamaged,
  runtime: ToolMissing,
  'no-table': UsageError,
  space: SpaceLacking,
  failed: CaptureIncomplete,
};

function errorOf(failure: { kind: FailureKind; message: string; hint: string | null }): HoldfastError {
  return new ERRORS[failure.kind](failure.message, { hint: failure.hint });
}
