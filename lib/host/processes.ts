import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Cancelled, CommandFailed, ToolMissing } from '#core/errors';
import type { Command, Ended, Pipeline, Processes, Service } from '#core/ports';

const STDERR_KEPT = 64 * 1024;
const STDOUT_LIMIT = 64 * 1024 * 1024;
/** Between SIGTERM and SIGKILL. */
const GRACE_MILLISECONDS = 5000;
/** After the end of a child that was told to end: what it has started itself may hold its pipes open for ever. */
const HELD_OPEN_MILLISECONDS = 2000;

/** What children may inherit. Anything else of this process's environment, secrets above all, stays here. */
const INHERITED =
  /^(PATH|HOME|TMPDIR|USER|LOGNAME|GNUPGHOME|XDG_RUNTIME_DIR|DOCKER_[A-Z_]+|SSH_AUTH_SOCK|PGSSL[A-Z]+|PGSERVICEFILE|SSL_CERT_(FILE|DIR))$/;

/** Debian keeps some tools where a plain user's PATH does not look. */
const MORE_PATH = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/usr/bin', '/bin'];

const PACKAGES: Readonly<Record<string, string>> = {
  age: 'age',
  'age-keygen': 'age',
  gpg: 'gpg',
  pg_dump: 'postgresql-client',
  pg_dumpall: 'postgresql-client',
  pg_restore: 'postgresql-client',
  psql: 'postgresql-client',
  'redis-check-rdb': 'redis-tools',
  'redis-cli': 'redis-tools',
  'redis-server': 'redis-server',
  tar: 'tar',
  zstd: 'zstd',
};

interface Running {
  readonly child: ChildProcess;
  readonly command: Command;
  readonly ended: Promise<Ended & { readonly signal: NodeJS.Signals | null; readonly missing: boolean }>;
  stderr(): string;
}

/**
 * Starts children for one run.
 * @param signal ends them all when it fires
 * @param scratch where services' pids are noted, so that a later run can end what a killed run left
 */
export function createProcesses(
  environment: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
  scratch: string | null,
): Processes {
  const inherited = childEnvironment(environment);
  const live = new Set<ChildProcess>();
  signal.addEventListener('abort', () => {
    for (const child of live) end(child);
  });

  function begin(command: Command, stdio: ('pipe' | 'ignore' | number | Readable)[], unread = false): Running {
    if (signal.aborted && !command.afterStop)
      throw new Cancelled('stopped before starting a child', { cause: signal.reason });
    const child = spawn(command.program, command.args, {
      cwd: command.cwd,
      env: { ...inherited, ...command.env },
      stdio,
      ...(command.as ? { uid: command.as.uid, gid: command.as.gid } : {}),
    });
    if (!command.afterStop) live.add(child);
    let stderr = Buffer.alloc(0);
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr = Buffer.concat([stderr, chunk]);
      if (stderr.length > STDERR_KEPT) stderr = stderr.subarray(stderr.length - STDERR_KEPT);
    });
    const ended = new Promise<Ended & { signal: NodeJS.Signals | null; missing: boolean }>((resolve) => {
      child.once('error', (error: NodeJS.ErrnoException) => {
        if (child.pid !== undefined) return;
        live.delete(child);
        resolve({
          program: command.program,
          code: null,
          signal: null,
          stderr: error.message,
          missing: error.code === 'ENOENT',
        });
      });
      const settle = (code: number | null, killedBy: NodeJS.Signals | null): void => {
        live.delete(child);
        resolve({ program: command.program, code, signal: killedBy, stderr: stderr.toString('utf8'), missing: false });
      };
      // Node's `close` waits for stdout too, which in a pipeline is somebody else's to read, or never read at all.
      if (!unread) child.once('close', settle);
      else
        child.once('exit', (code, killedBy) => {
          if (!child.stderr || child.stderr.closed) settle(code, killedBy);
          else child.stderr.once('close', () => settle(code, killedBy));
        });
    });
    return { child, command, ended, stderr: () => stderr.toString('utf8') };
  }

  function failureOf(ended: Awaited<Running['ended']>, command: Command): Error | null {
    if (ended.missing) return missing(command.program);
    if (ended.code !== null && (command.okCodes ?? [0]).includes(ended.code)) return null;
    if (signal.aborted && !command.afterStop)
      return new Cancelled(`${base(command.program)} was stopped`, { cause: signal.reason });
    const how =
      ended.code !== null ? `exit code ${ended.code}` : ended.signal ? `signal ${ended.signal}` : 'no exit code';
    const said = lastLines(ended.stderr);
    return new CommandFailed(`${base(command.program)} failed with ${how}${said ? `: ${said}` : ''}`, {
      program: base(command.program),
      exitCode: ended.code,
      stderr: ended.stderr,
    });
  }

  async function allEnded(children: readonly Running[]): Promise<readonly Ended[]> {
    const results = await Promise.all(children.map((child) => child.ended));
    const failures = results.flatMap((ended, index) => {
      const error = failureOf(ended, (children[index] as Running).command);
      return error
        ? [
            {
              error,
              pipeBroke: ended.signal === 'SIGPIPE' || /broken pipe|connection reset by peer/i.test(ended.stderr),
            },
          ]
        : [];
    });
    // A child that only lost its reader is not the one to blame.
    const blamed = failures.find((failure) => !failure.pipeBroke) ?? failures[0];
    if (blamed) throw blamed.error;
    return results.map(({ program, code, stderr }) => ({ program, code, stderr }));
  }

  return {
    async run(command, options = {}) {
      const running = begin(command, [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe']);
      const { child } = running;
      const timer = options.timeout === undefined ? null : setTimeout(() => end(child), options.timeout);
      if (child.stdin) {
        // A child that does not read its input to the end is judged by its exit code.
        child.stdin.on('error', () => child.stdin?.destroy());
        child.stdin.end(options.input);
      }
      const chunks: Buffer[] = [];
      let size = 0;
      child.stdout?.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > STDOUT_LIMIT) end(child);
        else chunks.push(chunk);
      });
      try {
        const [ended] = await allEnded([running]);
        return { ...(ended as Ended), stdout: Buffer.concat(chunks).toString('utf8') };
      } finally {
        if (timer) clearTimeout(timer);
      }
    },

    pipe(commands, io = {}) {
      if (commands.length === 0) throw new Error('a pipeline needs a command');
      const children: Running[] = [];
      let input: 'pipe' | 'ignore' | number | Readable = io.stdin ?? 'ignore';
      // A stream that belongs to this process and not to a child has no descriptor to inherit: it is pumped.
      const pumped = input instanceof Readable && !hasDescriptor(input) ? input : null;
      if (pumped) input = 'pipe';
      for (const [index, command] of commands.entries()) {
        const last = index === commands.length - 1;
        const running = begin(command, [input, last ? (io.stdout ?? 'pipe') : 'pipe', 'pipe'], true);
        if (last) keepUnread(running.child);
        // Ours must go, or the writer never learns that its reader died.
        if (input instanceof Readable) input.destroy();
        children.push(running);
        if (running.child.stdout) input = running.child.stdout;
      }
      const first = (children[0] as Running).child;
      const stop = (): void => {
        // What one that has ended has said is still to be read.
        for (const { child } of children) if (!isOver(child)) end(child);
      };
      let done = allEnded(children);
      if (pumped && first.stdin) {
        const stdin = first.stdin;
        let sourceFailed: Error | null = null;
        pumped.once('error', (error) => {
          // The first to fail is told first: an error that the source got from stdin is not its own.
          if (!stdin.errored) sourceFailed = error;
        });
        const pumping = pipeline(pumped, stdin);
        pumping.catch(stop);
        done = Promise.all([pumping, done]).then(
          ([, ended]) => ended,
          async (error: unknown) => {
            // The children's own words explain more than the broken pipe they left.
            if (!stdin.errored || stdin.errored === sourceFailed) throw sourceFailed ?? error;
            await allEnded(children);
            throw error;
          },
        );
      }
      done.catch(() => undefined);
      const stdout = typeof io.stdout === 'number' ? null : ((children.at(-1) as Running).child.stdout ?? null);
      return { stdin: io.stdin === 'pipe' ? (first.stdin as Writable) : null, stdout, done, stop } satisfies Pipeline;
    },

    start(command) {
      const running = begin(command, ['pipe', 'pipe', 'pipe']);
      const { child } = running;
      if (child.pid === undefined) throw missing(command.program);
      const note = scratch === null ? null : join(scratch, 'pids', String(child.pid));
      if (note) {
        mkdirSync(join(scratch as string, 'pids'), { recursive: true });
        writeFileSync(note, processStart(child.pid) ?? '');
      }
      child.stdin?.on('error', () => child.stdin?.destroy());
      const ended = running.ended.then((result) => {
        if (note) rmSync(note, { force: true });
        return result;
      });
      return {
        pid: child.pid,
        stdin: child.stdin as Writable,
        stdout: child.stdout as Readable,
        ended,
        stderr: running.stderr,
        kill: (name) => {
          child.kill(name);
        },
      } satisfies Service;
    },

    async find(program) {
      if (program.includes('/')) return executable(program) ? program : null;
      for (const folder of (inherited['PATH'] as string).split(delimiter)) {
        const path = join(folder, program);
        if (executable(path)) return path;
      }
      return null;
    },
  };
}

/**
 * Field 22 of /proc/PID/stat: with the pid it names one process for ever. Null when there is none, or no /proc; also
 * when it has ended and only its parent has not asked how (containers without an init keep such for long).
 */
export function processStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

function childEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept = Object.fromEntries(
    Object.entries(environment).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && INHERITED.test(entry[0]),
    ),
  );
  const path = (kept['PATH'] ?? '').split(delimiter).filter(Boolean);
  return {
    ...kept,
    PATH: [...path, ...MORE_PATH.filter((folder) => !path.includes(folder))].join(delimiter),
    LANG: 'C.UTF-8',
    LC_ALL: 'C.UTF-8',
    TZ: 'UTC',
  };
}

function missing(program: string): ToolMissing {
  const name = base(program);
  return new ToolMissing(`${program} is not installed on this machine`, {
    hint: PACKAGES[name] ? `apt-get install ${PACKAGES[name]}` : `install ${name}, or put it on the PATH`,
  });
}

function base(program: string): string {
  return program.slice(program.lastIndexOf('/') + 1);
}

function lastLines(stderr: string): string {
  return stderr.trim().split('\n').slice(-3).join(' | ').slice(0, 1000);
}

function end(child: ChildProcess): void {
  child.kill('SIGTERM');
  setTimeout(() => {
    if (!isOver(child)) child.kill('SIGKILL');
  }, GRACE_MILLISECONDS).unref();
  if (isOver(child)) letGo(child);
  else child.once('exit', () => letGo(child));
}

function isOver({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function letGo({ stdout, stderr }: ChildProcess): void {
  setTimeout(() => {
    stdout?.destroy();
    stderr?.destroy();
  }, HELD_OPEN_MILLISECONDS).unref();
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Whether a child can inherit the stream whole. What this process has read of it already would be lacking: then it is pumped. */
function hasDescriptor(stream: Readable): boolean {
  const descriptor = (stream as { _handle?: { fd?: unknown } | null })._handle?.fd;
  return typeof descriptor === 'number' && descriptor >= 0 && stream.readableLength === 0 && !stream.readableDidRead;
}

interface Unstarted {
  readonly _handle: { reading: boolean; readStop(): void } | null;
  readonly _readableState: { reading: boolean };
}

/**
 * Leaves a child's stdout in the kernel until somebody reads it or another child inherits it. Of itself Node begins to
 * read at once (64 KiB that an inheriting child would never see), and empties it when the child exits (all of a short
 * output). Tried: a pipeline joined 200 ms later lost just that, with exit code 0 everywhere.
 */
function keepUnread(child: ChildProcess): void {
  const stdout = child.stdout as (Readable & Unstarted) | null;
  if (!stdout?._handle) return;
  stdout._handle.readStop();
  stdout._handle.reading = false;
  stdout._readableState.reading = false;
  // Takes it off the list of what Node empties at exit.
  (child.stdio as unknown[])[1] = null;
}
