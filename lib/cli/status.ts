import type { Command } from 'commander';
import { chosenSources, type GlobalOptions, type Invocation } from '#cli/invocation';
import { table } from '#cli/table';
import { formatSeconds, formatTook } from '#core/duration';
import { EXIT } from '#core/errors';
import { formatBytes } from '#core/size';
import { type SourceStatus, type Status, status, type VaultStatus } from '#jobs/status';

export function addStatus(program: Command, invocation: Invocation): void {
  program
    .command('status')
    .description('how each source and vault stands, on one screen; exit 3 when something is off')
    .argument('[source...]')
    .action(async (sources: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await invocation.withWorld('status', options, async (world) => {
        const found = await status(chosenSources(world, sources, true), world);
        return {
          result: found,
          lines: statusLines(found),
          exit: found.healthy ? EXIT.done : EXIT.partly,
        };
      });
    });
}

const HEADER = ['', 'source', 'newest proven', 'size', 'next run', 'age', 'rpo', 'restore', 'rto'];

export function statusLines({ sources, vaults, kpis }: Status): string[] {
  return [
    ...table(HEADER, sources.map(row)),
    ...sources.flatMap((one) => [...one.problems, ...one.notes].map((problem) => `${one.source}: ${problem}`)),
    ...vaults.map(vaultLine),
    ...kpis.map(({ message }) => `kpi ${message}`),
  ];
}

function row(one: SourceStatus): string[] {
  return [
    one.healthy ? 'ok' : '!!',
    one.source,
    toSecond(one.newestProven?.snapshotAt) ?? (one.unprovenByChoice ? 'unproven by choice' : 'none'),
    sizeOf(one),
    one.paused ? 'paused' : (toSecond(one.nextRun) ?? '-'),
    one.ageSeconds === null ? '-' : formatSeconds(one.ageSeconds),
    `${formatSeconds(one.rpoSeconds)}${one.rpoIsDefault ? ' (default)' : ''}`,
    recoveryOf(one),
    one.rtoSeconds === null ? '-' : formatSeconds(one.rtoSeconds),
  ];
}

function recoveryOf({ restoreSeconds, thawSeconds }: SourceStatus): string {
  const took = restoreSeconds === null ? '-' : formatTook(restoreSeconds);
  return thawSeconds === 0 ? took : `${took} + thaw ${formatSeconds(thawSeconds)}`;
}

/** `1.2 MB +3%`: against the median of the ten before. */
function sizeOf({ bytes, medianBytes }: SourceStatus): string {
  if (bytes === null) return '-';
  if (medianBytes === null || medianBytes === 0) return formatBytes(bytes);
  const change = Math.round((bytes / medianBytes - 1) * 100);
  return `${formatBytes(bytes)} ${change >= 0 ? '+' : ''}${change}%`;
}

function vaultLine({ name, url, capacityBytes, freeBytes, use, problem }: VaultStatus): string {
  if (problem !== null) return `vault ${name}: ${problem}`;
  if (capacityBytes === null || freeBytes === null || use === null) return `vault ${name}: ${url}`;
  return `vault ${name}: ${url}, ${Math.round(use * 100)}% of ${formatBytes(capacityBytes)} used, ${formatBytes(freeBytes)} free`;
}

function toSecond(time: string | null | undefined): string | null {
  return time ? `${time.slice(0, 19)}Z` : null;
}
