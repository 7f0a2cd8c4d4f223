import type { Command } from 'commander';
import { worstExit } from '#cli/envelope';
import { chosenSources, type GlobalOptions, type Invocation, notThereYet } from '#cli/invocation';
import { formatTook } from '#core/duration';
import { EXIT, HoldfastError, UsageError } from '#core/errors';
import { formatBytes } from '#core/size';
import { backup } from '#jobs/backup';
import type { BackupRun } from '#jobs/backup-run';

interface Options extends GlobalOptions {
  readonly all?: boolean;
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
    .option('--tier <tier>', 'the tier it belongs to, instead of the one that is due')
    .option('--kind <kind>', 'full')
    .option('--point <name>', 'a name for this moment, to restore to with --point')
    .option('--reason <text>', 'why, for the manifest and the ledger')
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('backup', options, async (world) => {
        if (options.kind === 'differential' || options.kind === 'log') notThereYet(`backup --kind ${options.kind}`);
        if (options.kind !== undefined && options.kind !== 'full')
          throw new UsageError(`--kind: got "${options.kind}", want full, differential or log`);
        const runs: BackupRun[] = [];
        for (const source of chosenSources(world, sources, options.all === true)) {
          const run = await backup(
            {
              source,
              tier: options.tier ?? null,
              point: options.point ?? null,
              reason: options.reason ?? null,
            },
            world,
          );
          runs.push(run);
          if (world.run.signal.aborted) break;
        }
        return {
          result: { runs: runs.map(({ exit: _exit, ...run }) => run) },
          lines: runs.flatMap(lines),
          exit: worstExit(runs.map((run) => run.exit)),
          warnings: runs.flatMap((run) => run.warnings.map((warning) => `${run.source}: ${warning}`)),
          error: firstError(runs),
        };
      });
    });
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
  constructor(run: BackupRun) {
    const { code, message, hint } = run.error as NonNullable<BackupRun['error']>;
    super(message, { source: run.source, hint });
    this.code = code;
  }
}

/** The worst one speaks for all; every run carries its own. */
function firstError(runs: readonly BackupRun[]): HoldfastError | null {
  const failed = runs.filter((run) => run.error !== null);
  const worst = worstExit(failed.map((run) => run.exit));
  const speaking = failed.find((run) => run.exit === worst) ?? failed[0];
  return speaking && worst !== EXIT.done ? new RunsFailed(speaking) : null;
}
