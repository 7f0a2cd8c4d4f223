import { dirname, isAbsolute } from 'node:path';
import { COMMANDS } from '#cli/commands';
import { Defect, envelope, type Outcome } from '#cli/envelope';
import { EXIT, type ExitCode, HoldfastError, messageOf, NotThereYet, UsageError } from '#core/errors';
import { machineClock } from '#host/clock';
import { lineLog } from '#host/log';
import { plainProgress, terminalProgress } from '#host/progress';
import { type Machine, openWorld, planPath, SecretKeeper, variablesOf, type World } from '#host/world';
import { finishLeftHooks } from '#jobs/hooks';

/** What touches a source begins with what a killed run left undone: a container that is still stopped. */
const RUNS = new Set(['backup', 'prove', 'restore']);

export interface GlobalOptions {
  readonly plan?: string;
  readonly json?: boolean;
  readonly debug?: boolean;
}

/** One call of the command line: its streams, and the exit code it ends with. */
export class Invocation {
  exit: ExitCode = EXIT.done;
  readonly #stop = new AbortController();

  constructor() {
    let signals = 0;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        this.#stop.abort(new Error(`got ${signal}`));
        // `timeout` and some terminals send a second one at once: cleaning up must not die of it. A third one insists.
        if (++signals > 2) process.exit(EXIT.failed);
      });
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      // A reader that went away (`| head`) is no failure of the command.
      if (error.code === 'EPIPE') return;
      process.stderr.write(`error: the answer could not be written to stdout: ${messageOf(error)}\n`);
      process.once('exit', (code) => {
        if (code === EXIT.done) process.exitCode = EXIT.failed;
      });
    });
    // A log that is full, or a terminal that was closed, must not kill a run half-way: there is nowhere left to say it.
    process.stderr.on('error', () => undefined);
  }

  get terminal(): boolean {
    return process.stderr.isTTY === true && process.env['TERM'] !== 'dumb';
  }

  /** Runs a command's action, prints what it gave back or what went wrong, and keeps its exit code. */
  async run(command: string, options: GlobalOptions, act: (machine: Machine) => Promise<Outcome>): Promise<void> {
    let place: { readonly directory: string; readonly secrets: SecretKeeper };
    let unusable: HoldfastError | null = null;
    try {
      const directory = workingDirectory(options.plan ?? (process.env['HOLDFAST_PLAN'] || undefined));
      const path = planPath(options.plan, process.env, directory);
      place = { directory, secrets: new SecretKeeper(variablesOf(process.env, dirname(path))) };
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      unusable = error;
      place = { directory: '/', secrets: new SecretKeeper(() => undefined) };
    }
    const { directory, secrets } = place;
    const write = (text: string): void => {
      process.stderr.write(text);
    };
    const progress =
      this.terminal && options.json !== true
        ? terminalProgress((text) => write(secrets.redact(text)), machineClock)
        : plainProgress((text) => (options.debug ? write(secrets.redact(text)) : undefined));
    const log = lineLog(write, (text) => secrets.redact(text), options.debug === true);
    const machine: Machine = { environment: process.env, directory, signal: this.#stop.signal, log, progress, secrets };
    let outcome: Outcome;
    try {
      if (unusable) throw unusable;
      outcome = await act(machine);
    } catch (error) {
      if (options.debug && error instanceof Error) write(`${secrets.redact(error.stack ?? '')}\n`);
      // Scripts get their document for a defect too.
      outcome = { result: null, lines: [], error: error instanceof HoldfastError ? error : new Defect(error) };
    }
    progress.done();
    if (outcome.error?.code === 'cancelled' && this.#stop.signal.aborted)
      outcome.error.hint ??= `${messageOf(this.#stop.signal.reason)} and stopped; nothing half counts as done: run it again`;
    if (outcome.error && (outcome.exit ?? outcome.error.exit) === EXIT.usage)
      outcome.error.hint ??= `holdfast ${command} --help`;
    const document = envelope(command, machineClock.now(), outcome);
    this.exit = document.exit;
    const shown = (text: string): string => (outcome.verbatim?.has(text) ? text : secrets.redact(text));
    if (options.json) process.stdout.write(`${JSON.stringify(redacted(document, shown))}\n`);
    else for (const line of outcome.lines) process.stdout.write(`${shown(line)}\n`);
    for (const warning of document.warnings) if (!options.json) log.warn(warning);
    if (document.error) {
      write(
        secrets.redact(
          `error: ${document.error.source ? `${document.error.source}: ` : ''}${document.error.message}\n`,
        ),
      );
      if (document.error.hint) write(secrets.redact(`hint: ${document.error.hint}\n`));
    }
  }

  /** As `run`, with the plan read and a run's surroundings open. */
  async withWorld(
    command: string,
    options: GlobalOptions,
    act: (world: World, machine: Machine) => Promise<Outcome>,
  ): Promise<void> {
    await this.run(command, options, async (machine) => {
      const world = await openWorld(machine, planPath(options.plan, process.env, machine.directory));
      try {
        const left = RUNS.has(command) ? await finishLeftHooks(world) : [];
        const outcome = await act(world, machine);
        return { ...outcome, warnings: [...left, ...(outcome.warnings ?? [])] };
      } finally {
        await world.close();
      }
    });
  }
}

/**
 * @throws UsageError it was removed, and the plan's path counts from it
 */
function workingDirectory(plan: string | undefined): string {
  try {
    return process.cwd();
  } catch (cause) {
    if (plan === undefined || !isAbsolute(plan))
      throw new UsageError('the directory this was called in has been removed', {
        cause,
        hint: 'go to a directory that exists, or name the plan by its whole path: --plan /…/holdfast.yaml',
      });
    // Children would stumble over it too.
    process.chdir(dirname(plan));
    return dirname(plan);
  }
}

/** Each string of the document by itself: a secret with a quote in it must not break the JSON. */
function redacted(value: unknown, redact: (text: string) => string): unknown {
  if (typeof value === 'string') return redact(value);
  if (Array.isArray(value)) return value.map((one) => redacted(one, redact));
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, redacted(one, redact)]));
  return value;
}

/**
 * The sources a command is about.
 * @param all what no name means: every source, or an error that asks for one
 */
export function chosenSources(world: World, named: readonly string[], all: boolean): string[] {
  const known = Object.keys(world.plan.plan.sources);
  for (const name of named)
    if (!known.includes(name))
      throw new UsageError(`no source "${name}" in ${world.plan.file}, want one of ${known.join(', ')}`);
  if (named.length > 0) return [...new Set(named)];
  if (all) return known;
  throw new UsageError(`name a source, or --all for every one: ${known.join(', ')}`);
}

/** Names, or `--all`: which of the two was meant nobody knows. */
export function namedOrAll(world: World, named: readonly string[], all: boolean): string[] {
  if (all && named.length > 0) throw new UsageError(`want source names or --all, got --all and ${named.join(' ')}`);
  return chosenSources(world, named, all);
}

/** What section 8 fixes and a later version brings. */
export function notThereYet(command: string): never {
  throw new NotThereYet(`"holdfast ${command}" is not there yet in this version`, {
    hint: `there are now: ${Object.keys(COMMANDS).join(' ')}`,
  });
}
