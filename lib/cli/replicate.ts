import type { Command } from 'commander';
import type { Outcome } from '#cli/envelope';
import { chosenSources, type GlobalOptions, type Invocation } from '#cli/invocation';
import { formatSeconds, formatTook } from '#core/duration';
import { formatBytes } from '#core/size';
import type { World } from '#host/world';
import type { CopyRun } from '#jobs/copies-into';
import { type Lag, replicate } from '#jobs/replicate';

interface Options extends GlobalOptions {
  readonly from?: string;
  readonly to?: string;
  readonly dryRun?: boolean;
}

export function addReplicate(program: Command, invocation: Invocation): void {
  program
    .command('replicate')
    .description('copy what is missing into the vaults where the plan wants it; every source unless some are named')
    .argument('[source...]')
    .option('--from <vault>', 'only copies that come from this vault')
    .option('--to <vault>', 'only copies that go there; with --from: all of the one, whatever the plan says')
    .option('--dry-run', 'say what is missing, copy nothing')
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('replicate', options, (world) => run(sources, options, world));
    });
}

async function run(sources: readonly string[], options: Options, world: World): Promise<Outcome> {
  const named = sources.length > 0 ? chosenSources(world, sources, true) : [];
  const { from = null, to = null, dryRun = false } = options;
  const done = await replicate({ sources: named, from, to, dryRun }, world);
  const { copies, lag, differences, proofs } = done;
  return {
    result: { copies, lag, differences, proofs },
    lines: [...copies.map(line), ...lag.flatMap(behind), ...differences, ...summary(copies, lag, proofs, dryRun)],
    exit: done.exit,
    warnings: done.warnings,
    error: done.error,
  };
}

function line({ source, id, from, to, bytes, seconds, status, error }: CopyRun): string {
  const what = `${source}: ${status}  ${id}  ${formatBytes(bytes)}  ${from} → ${to}`;
  if (status === 'copied') return `${what}  in ${formatTook(seconds)}`;
  return error ? `${what}: ${error.message}` : what;
}

function behind({ source, from, to, seconds, limitSeconds, missing }: Lag): string[] {
  if (seconds === null) return [`${source}: ${from} → ${to}: nobody can tell what is missing`];
  if (missing === 0) return [];
  const over =
    limitSeconds !== null && seconds > limitSeconds ? `, the plan allows ${formatSeconds(limitSeconds)}` : '';
  return [`${source}: ${from} → ${to}: ${missing} missing, the oldest for ${formatSeconds(seconds)}${over}`];
}

function summary(copies: readonly CopyRun[], lag: readonly Lag[], proofs: number, dryRun: boolean): string[] {
  if (lag.length === 0)
    return ['nothing is to be copied: each source has one vault, and no vault has a replica in another'];
  if (copies.length === 0 && proofs === 0 && lag.every(({ missing }) => missing === 0)) return ['nothing is missing'];
  if (dryRun) return [];
  const copied = copies.filter(({ status }) => status === 'copied').length;
  return [`${copied} of ${copies.length} copied${proofs > 0 ? `, ${proofs} proofs with them` : ''}`];
}
