import type { Command } from 'commander';
import { chosenSources, type GlobalOptions, type Invocation } from '#cli/invocation';
import { table } from '#cli/table';
import { formatSeconds, formatTook } from '#core/duration';
import { EXIT } from '#core/errors';
import { type SourceStatus, status } from '#jobs/status';

export function addStatus(program: Command, invocation: Invocation): void {
  program
    .command('status')
    .description('the newest proven backup of each source and its age; exit 3 when something is off')
    .argument('[source...]')
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await invocation.withWorld('status', options, async (world) => {
        const found = await status(chosenSources(world, sources, true), world);
        return {
          result: found,
          lines: [
            ...table(['', 'source', 'newest proven', 'age', 'rpo', 'restore', 'rto'], found.sources.map(row)),
            ...found.sources.flatMap((one) =>
              [...one.problems, ...one.notes].map((problem) => `${one.source}: ${problem}`),
            ),
            ...found.vaults.flatMap((vault) =>
              vault.problem === null ? [] : [`vault ${vault.name}: ${vault.problem}`],
            ),
          ],
          exit: found.healthy ? EXIT.done : EXIT.partly,
        };
      });
    });
}

function row(one: SourceStatus): string[] {
  return [
    one.healthy ? 'ok' : '!!',
    one.source,
    one.newestProven?.snapshotAt ?? (one.unprovenByChoice ? 'unproven by choice' : 'none'),
    one.ageSeconds === null ? '-' : formatSeconds(one.ageSeconds),
    `${formatSeconds(one.rpoSeconds)}${one.rpoIsDefault ? ' (default)' : ''}`,
    one.restoreSeconds === null ? '-' : formatTook(one.restoreSeconds),
    one.rtoSeconds === null ? '-' : formatSeconds(one.rtoSeconds),
  ];
}
