import type { Command } from 'commander';
import { type Outcome, worstExit } from '#cli/envelope';
import { partlyTold } from '#cli/hold';
import { type GlobalOptions, type Invocation, namedOrAll } from '#cli/invocation';
import { DURATION_ALLOWED, parseDuration } from '#core/duration';
import { EXIT, HoldfastError, UsageError } from '#core/errors';
import type { World } from '#host/world';
import { parseMoment } from '#jobs/choose-backup';
import { type PauseChange, pause, resume } from '#jobs/pause';

interface Options extends GlobalOptions {
  readonly all?: boolean;
  readonly reason?: string;
  readonly until?: string;
  readonly for?: string;
}

export function addPause(program: Command, invocation: Invocation): void {
  program
    .command('pause')
    .description('stop the schedules of a source, with a reason and an end; a backup by hand still works')
    .argument('[source...]')
    .option('--all', 'every source of the plan')
    .option('--reason <text>', 'why, for the ledger and whoever looks at status')
    .option('--until <time>', 'when it ends by itself, with offset: 2026-11-21T06:00:00Z')
    .option('--for <duration>', 'the same as a duration from now: 2h, 3d')
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('pause', options, async (world) => {
        const { reason } = options;
        if (reason === undefined || reason.trim() === '')
          throw new UsageError('pause wants --reason TEXT: somebody will ask why there was no backup');
        const names = namedOrAll(world, sources, options.all === true);
        const until = endOf(options, world.run.clock.now());
        return changed(await each(names, world, (source) => pause(source, reason, until, world)), until === null);
      });
    });
}

export function addResume(program: Command, invocation: Invocation): void {
  program
    .command('resume')
    .description('end a pause; what was due meanwhile is made up for once')
    .argument('[source...]')
    .option('--all', 'every source of the plan')
    .option('--reason <text>', 'for the ledger')
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('resume', options, async (world) => {
        const names = namedOrAll(world, sources, options.all === true);
        return changed(await each(names, world, (source) => resume(source, options.reason ?? null, world)), false);
      });
    });
}

function endOf(options: Options, now: Date): Date | null {
  if (options.until !== undefined && options.for !== undefined)
    throw new UsageError('--until and --for exclude each other');
  if (options.for !== undefined) {
    const duration = parseDuration(options.for);
    if (!duration) throw new UsageError(`--for: got "${options.for}", want ${DURATION_ALLOWED}`);
    return Number.isFinite(duration.seconds) ? new Date(now.getTime() + duration.seconds * 1000) : null;
  }
  return options.until === undefined ? null : parseMoment(options.until, '--until');
}

async function each(
  names: readonly string[],
  world: World,
  change: (source: string) => Promise<PauseChange>,
): Promise<Changes> {
  const changes: PauseChange[] = [];
  const errors: HoldfastError[] = [];
  for (const name of names) {
    try {
      changes.push(await change(name));
    } catch (error) {
      // A source whose vaults are all away does not keep the others from their pause, nor hides what was done.
      if (!(error instanceof HoldfastError)) throw error;
      error.source ??= name;
      errors.push(error);
    }
    if (world.run.signal.aborted) break;
  }
  return { changes, errors };
}

interface Changes {
  readonly changes: readonly PauseChange[];
  readonly errors: readonly HoldfastError[];
}

function changed({ changes, errors }: Changes, withoutEnd: boolean): Outcome {
  const names = changes.map(({ source }) => source).join(' ');
  const partly = partlyTold(changes);
  return {
    result: { sources: changes.map(({ warnings: _warnings, ...change }) => change) },
    lines: [
      ...changes.map(
        ({ source, paused, until, reason }) =>
          `${source}: ${paused ? `paused${until === null ? '' : ` until ${until}`}` : 'resumed'}${reason === null ? '' : `, ${reason}`}`,
      ),
      ...(withoutEnd && changes.length > 0 ? [`no end was given: holdfast resume ${names} ends it`] : []),
    ],
    exit: worstExit([partly?.exit ?? EXIT.done, ...errors.map(({ exit }) => exit)]),
    error: errors[0] ?? partly,
    warnings: [
      ...changes.flatMap(({ warnings }) => warnings),
      ...errors.slice(1).map(({ source, message }) => `${source}: ${message}`),
    ],
  };
}
