import type { Command } from 'commander';
import type { Outcome } from '#cli/envelope';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { table } from '#cli/table';
import { UsageError } from '#core/errors';
import { isoTime } from '#core/manifest';
import { formatBytes } from '#core/size';
import { firstInstantAt } from '#core/zone';
import type { World } from '#host/world';
import { parseMoment } from '#jobs/choose-backup';
import { retain, retainTrouble } from '#jobs/retain';
import type { RetainDecision, Retained } from '#jobs/retain-result';

interface Options extends GlobalOptions {
  readonly vault?: string;
  readonly dryRun?: boolean;
  readonly at?: string;
}

export function addRetain(program: Command, invocation: Invocation): void {
  program
    .command('retain')
    .description('remove the backups that are over, by the plan’s tiers; exit 3 when something stopped it')
    .argument('[source...]')
    .option('--vault <vault>', 'in this vault only; without it, in every vault of the plan')
    .option('--dry-run', 'say what would be removed and kept, and why, and change nothing')
    .option('--at <time>', 'with --dry-run: what would be there on that day, as 2033-01-01 or 2033-01-01T00:00:00Z')
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('retain', options, async (world) => {
        const at = momentOf(options, world);
        const dryRun = options.dryRun === true;
        const retained = await retain({ sources, vault: options.vault ?? null, dryRun, at }, world);
        return outcomeOf(retained, dryRun, at);
      });
    });
}

/** @throws UsageError no time, one that has passed, or one without `--dry-run` */
function momentOf({ at, dryRun }: Options, world: World): Date | null {
  if (at === undefined) return null;
  if (!dryRun) throw new UsageError('--at needs --dry-run: what will be over one day is removed on that day');
  const moment = /^\d{4}-\d\d-\d\d$/.test(at) ? dayIn(at, world.plan.plan.timezone) : parseMoment(at);
  if (moment < world.run.clock.now())
    throw new UsageError(`--at: got "${at}", which has passed; want a time to come`, {
      hint: 'what is kept now: holdfast retain --dry-run',
    });
  return moment;
}

function dayIn(text: string, zone: string): Date {
  const wall = Date.parse(`${text}T00:00:00Z`);
  // 2033-02-31 is taken for a day in March by some, and for none by others.
  if (Number.isNaN(wall) || new Date(wall).toISOString().slice(0, 10) !== text)
    throw new UsageError(`--at: got "${text}", want a day such as 2033-01-01`);
  return new Date(firstInstantAt(wall / 1000, zone) * 1000);
}

function outcomeOf(retained: Retained, dryRun: boolean, at: Date | null): Outcome {
  const { decisions, cleared, stopped, renewed, notRenewed, warnings } = retained;
  const shown = dryRun ? decisions : decisions.filter(({ done }) => done !== null);
  const error = retainTrouble(retained);
  return {
    result: { decisions, cleared, stopped, renewed, notRenewed, simulated: at && isoTime(at) },
    lines: [
      ...(at
        ? [
            `as it would be at ${isoTime(at)}, of the backups there are now: nothing new is assumed,`,
            'and the newest proven one is taken for young enough, and for proven still',
          ]
        : []),
      ...(shown.length > 0 ? table(HEADER, shown.map(row)) : []),
      ...cleared.map(
        ({ source, vault, id, tier, bytes, how, reason }) =>
          `${source} in ${vault}: ${how} ${tier}/${id} (${formatBytes(bytes)}), no backup: ${reason}`,
      ),
      ...renewed.map(
        ({ source, vault, id, why, until, done }) =>
          `${source} in ${vault}: ${id} ${done ? 'is' : 'would be'} locked until ${until}: ${why}`,
      ),
      ...summary(decisions, dryRun),
    ],
    warnings: [
      ...warnings,
      ...stopped
        .slice(1)
        .map(({ vault, source, reason }) => `${source === null ? '' : `${source} in `}${vault}: ${reason}`),
      ...notRenewed
        .slice(stopped.length === 0 ? 1 : 0)
        .map(
          ({ vault, source, reason }) => `${source} in ${vault}: locks that run out could not be renewed: ${reason}`,
        ),
    ],
    error,
  };
}

const HEADER = ['source', 'vault', 'id', 'tier', 'size', 'action', 'why'];

function row(one: RetainDecision): string[] {
  const { source, vault, id, tier, bytes, action, done, reasons } = one;
  return [source, vault, id, tier, formatBytes(bytes), done ?? action, reasons.join('; ')];
}

/** A line a source and vault. */
function summary(decisions: readonly RetainDecision[], dryRun: boolean): string[] {
  const groups = Map.groupBy(decisions, ({ source, vault }) => `${source} in ${vault}`);
  if (groups.size === 0) return ['no backups'];
  return [...groups].map(([where, all]) => {
    const counted = (action: string): number => all.filter((one) => one.action === action).length;
    const gone = all.filter((one) => (dryRun ? one.action === 'remove' : one.done !== null));
    const bytes = gone.reduce((sum, one) => sum + one.bytes, 0);
    const parts = [
      `${counted('keep')} kept`,
      ...(counted('hold') > 0 ? [`${counted('hold')} held`] : []),
      `${gone.length} ${dryRun ? 'would go' : 'removed'}${gone.length > 0 ? ` (${formatBytes(bytes)})` : ''}`,
    ];
    return `${where}: ${parts.join(', ')}`;
  });
}
