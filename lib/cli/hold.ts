import type { Command } from 'commander';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { PartlyDone, UsageError } from '#core/errors';
import { hold, release } from '#jobs/holds';
import type { Told } from '#jobs/tell-vaults';

interface Options extends GlobalOptions {
  readonly id: string;
  readonly reason?: string;
}

export function addHold(program: Command, invocation: Invocation): void {
  program
    .command('hold')
    .description('keep one backup, whatever the plan says, until it is released')
    .argument('<source>')
    .requiredOption('--id <id>', 'the backup')
    .option('--reason <text>', 'why; retain says it with each decision')
    .action(async (source: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('hold', options, async (world) => {
        const reason = saidReason(options.reason, 'hold', 'somebody will ask why it is still there');
        const told = await hold(source, options.id, reason, world);
        const { warnings, ...held } = told;
        return {
          result: held,
          lines: [`${source} ${held.id}: held in ${held.vaults.join(', ')}: ${reason}`],
          error: partlyTold([told]),
          warnings,
        };
      });
    });
}

export function addRelease(program: Command, invocation: Invocation): void {
  program
    .command('release')
    .description('end a hold: the backup is kept as its tier says')
    .argument('<source>')
    .requiredOption('--id <id>', 'the backup')
    .option('--reason <text>', 'for the ledger')
    .action(async (source: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('release', options, async (world) => {
        const told = await release(source, options.id, options.reason ?? null, world);
        const { warnings, ...released } = told;
        return {
          result: released,
          lines: [`${source} ${released.id}: released`],
          error: partlyTold([told]),
          warnings,
        };
      });
    });
}

/** @throws UsageError there is none */
export function saidReason(reason: string | undefined, command: string, why: string): string {
  if (reason === undefined || reason.trim() === '') throw new UsageError(`${command} wants --reason TEXT: ${why}`);
  return reason.trim();
}

/** A vault that was not told is a part not done: whoever scripts it must not read that as kept everywhere. */
export function partlyTold(told: readonly (Told & { readonly source: string })[]): PartlyDone | null {
  const [first] = told.filter(({ missed }) => missed.length > 0);
  if (!first) return null;
  const [written, missed] = [first.vaults.join(', '), first.missed.join(', ')];
  return new PartlyDone(`it is written down in ${written}, and not in ${missed}`, {
    source: first.source,
    hint: `run it again when ${missed} can be written`,
  });
}
