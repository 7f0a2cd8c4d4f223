import type { Command } from 'commander';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { table } from '#cli/table';
import { DURATION_ALLOWED, parseDuration } from '#core/duration';
import { EXIT, UsageError } from '#core/errors';
import { formatBytes } from '#core/size';
import { type ListedLine, listed } from '#jobs/list';

interface Options extends GlobalOptions {
  readonly since?: string;
  readonly from?: string;
}

export function addList(program: Command, invocation: Invocation): void {
  program
    .command('list')
    .description('the backups that exist, newest last')
    .argument('[source...]')
    .option('--since <duration>', 'only those of the last 7d, 4w, …')
    .option('--from <vault>', 'of one vault; without it, of every vault of the plan')
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('list', options, async (world) => {
        const listing = await listed(
          { sources, since: sinceOf(options.since, world.run.clock.now()), from: options.from ?? null },
          world,
        );
        return {
          result: { backups: listing.backups },
          lines:
            listing.backups.length > 0
              ? table(HEADER, listing.backups.map(row))
              : // "None" is only known when every vault was listed (I14).
                listing.error
                ? []
                : ['no backups'],
          warnings: listing.warnings,
          error: listing.error,
          ...(listing.error && listing.vaults > 0 ? { exit: EXIT.partly } : {}),
        };
      });
    });
}

const HEADER = ['source', 'id', 'kind', 'tier', 'vault', 'snapshot at', 'size', 'holds', 'proof', 'expires'];

function row(one: ListedLine): string[] {
  return [
    one.source,
    one.id,
    one.kind,
    one.tier,
    one.vault,
    one.snapshotAt,
    formatBytes(one.bytes),
    holds(one.measures),
    one.proof,
    one.expires ?? 'never',
  ];
}

/** The number by which a person tells a good night from one after a mistake. */
function holds(measures: ListedLine['measures']): string {
  const total = (['rows', 'keys', 'files'] as const).find((name) => measures[name] !== undefined);
  return total ? `${measures[total]} ${total}` : '-';
}

function sinceOf(text: string | undefined, now: Date): Date | null {
  if (text === undefined) return null;
  const duration = parseDuration(text);
  if (!duration) throw new UsageError(`--since: got "${text}", want ${DURATION_ALLOWED}`);
  return Number.isFinite(duration.seconds) ? new Date(now.getTime() - duration.seconds * 1000) : null;
}
