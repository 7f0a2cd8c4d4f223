import type { Command } from 'commander';
import { type Outcome, worstExit } from '#cli/envelope';
import { chosenSources, type GlobalOptions, type Invocation, namedOrAll, notThereYet } from '#cli/invocation';
import { thenRunbook } from '#cli/one-runbook';
import { formatTook } from '#core/duration';
import { EXIT, HoldfastError, UsageError } from '#core/errors';
import { formatBytes } from '#core/size';
import { placesOfSources } from '#core/where';
import type { World } from '#host/world';
import { backup } from '#jobs/backup';
import { type BackupRun, type BriefError, BY_HAND } from '#jobs/backup-run';
import { runDueBackups } from '#jobs/due-backups';
import { pauseOf } from '#jobs/pause';

interface Options extends GlobalOptions {
  readonly all?: boolean;
  readonly due?: boolean;
  readonly tier?: string;
  readonly kind?: string;
  readonly point?: string;
  readonly reason?: string;
}

export function addBackup(program: Command, invocation: Invocation): void {
  program
    .command('backup')
    .description('take a backup of each source named, and prove it')
    .argument('[source...]')
    .option('--all', 'every source of the plan')
    .option('--due', 'only what its schedules have due now; every source that runs here unless some are named')
    .option('--tier <tier>', 'the tier it belongs to, instead of the one that is due')
    .option('--kind <kind>', 'full')
    .option('--point <name>', 'a name for this moment, to restore to with --point')
    .option('--reason <text>', 'why, for the manifest and the ledger')
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('backup', options, (world) => thenRunbook(world, () => take(sources, options, world)));
    });
}

async function take(sources: readonly string[], options: Options, world: World): Promise<Outcome> {
  if (options.kind === 'differential' || options.kind === 'log') notThereYet(`backup --kind ${options.kind}`);
  if (options.kind !== undefined && options.kind !== 'full')
    throw new UsageError(`--kind: got "${options.kind}", want full, differential or log`);
  if (options.point?.trim() === '') throw new UsageError('--point: got nothing, want a name for this moment');
  if (options.due) return due(sources, options, world);
  const runs: BackupRun[] = [];
  const warnings: string[] = [];
  for (const source of namedOrAll(world, sources, options.all === true)) {
    const paused = await pauseOf(source, world);
    if (paused) warnings.push(`${source} is paused: ${paused}; this run was asked for and is made all the same`);
    const run = await backup(
      {
        source,
        tier: options.tier ?? null,
        point: options.point ?? null,
        reason: options.reason ?? null,
        trigger: BY_HAND,
      },
      world,
    );
    runs.push(run);
    if (world.run.signal.aborted) break;
  }
  return outcomeOf(runs, warnings);
}

function outcomeOf(runs: readonly BackupRun[], warnings: readonly string[]): Outcome {
  return {
    result: { runs: runs.map(({ exit: _exit, ...run }) => run) },
    lines: runs.flatMap(lines),
    exit: worstExit(runs.map((run) => run.exit)),
    warnings: [...warnings, ...runs.flatMap((run) => run.warnings.map((warning) => `${run.source}: ${warning}`))],
    error: firstError(runs),
  };
}

/** What timers call: with nothing due there is nothing to do, and that is well. */
async function due(named: readonly string[], options: Options, world: World): Promise<Outcome> {
  for (const option of ['tier', 'point', 'reason', 'all'] as const)
    if (options[option] !== undefined)
      throw new UsageError(`--due and --${option} exclude each other: a schedule decides what its run is`);
  const runs: BackupRun[] = [];
  const failed: HoldfastError[] = [];
  const warnings: string[] = [];
  const places = placesOfSources(world.plan.plan);
  for (const source of chosenSources(world, named, true)) {
    const place = places.find((one) => one.source === source);
    if (place?.where === 'cloud') {
      if (named.length > 0) warnings.push(`${source} runs in the cloud (${place.why}): skipped here`);
      continue;
    }
    try {
      for (const { run } of await runDueBackups(source, world)) runs.push(run);
    } catch (error) {
      // A source whose vaults are all away does not keep the others from their runs.
      if (!(error instanceof HoldfastError)) throw error;
      error.source ??= source;
      failed.push(error);
    }
    if (world.run.signal.aborted) break;
  }
  const outcome = outcomeOf(runs, [...warnings, ...failed.slice(1).map(({ message }) => message)]);
  const nothing = runs.length === 0 && failed.length === 0;
  return {
    ...outcome,
    lines: nothing ? ['nothing is due'] : outcome.lines,
    exit: worstExit([...runs.map(({ exit }) => exit), ...failed.map(({ exit }) => exit)]),
    error: failed[0] ?? outcome.error ?? null,
  };
}

function lines(run: BackupRun): string[] {
  const what = `${run.source}: ${run.status}`;
  if (run.status === 'unchanged') return [`${what}, still equal to ${run.id}`];
  if (run.id === null) return [what];
  return [
    `${what}  ${run.id}  ${run.tier}  ${formatBytes(run.bytes)}  in ${formatTook(run.seconds)}  to ${run.vaults.join(', ')}  ${run.proof}`,
  ];
}

class RunsFailed extends HoldfastError {
  readonly code: string;
  constructor(source: string, { code, message, hint, at }: BriefError) {
    super(message, { source, hint, at });
    this.code = code;
  }
}

/** The worst one speaks for all; every run carries its own. */
function firstError(runs: readonly BackupRun[]): HoldfastError | null {
  const failed = runs.filter((run) => run.error !== null);
  const worst = worstExit(failed.map((run) => run.exit));
  const speaking = failed.find((run) => run.exit === worst) ?? failed[0];
  return speaking?.error && worst !== EXIT.done ? new RunsFailed(speaking.source, speaking.error) : null;
}
