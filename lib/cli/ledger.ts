import type { Command } from 'commander';
import { chosenSources, type GlobalOptions, type Invocation } from '#cli/invocation';
import { table } from '#cli/table';
import { EXIT, UsageError } from '#core/errors';
import { collect } from '#jobs/catalog';
import { homeVault } from '#jobs/home';
import { type LedgerReport, verifyLedger } from '#jobs/ledger-verify';
import { readLedger } from '#vault/ledger-store';

interface Options extends GlobalOptions {
  readonly from?: string;
}

export function addLedger(program: Command, invocation: Invocation): void {
  program
    .command('ledger')
    .description('what happened to a source; `ledger verify` looks for edits and gaps')
    .argument('<source-or-verify>')
    .argument('[source...]')
    .option('--from <vault>', 'of this vault')
    .action(async (first: string, rest: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('ledger', options, async (world) => {
        if (first === 'verify') {
          const reports: LedgerReport[] = [];
          for (const source of chosenSources(world, rest, true))
            reports.push(await verifyLedger(await homeVault(source, options.from ?? null, world), source));
          const findings = reports.flatMap((report) =>
            report.findings.map((finding) => `${report.source}: ${finding}`),
          );
          return {
            result: { ok: findings.length === 0, reports },
            lines: [
              ...reports.map(
                (report) =>
                  `${report.source} in ${report.vault}: ${report.entries} entries, ${report.findings.length === 0 ? 'whole' : `${report.findings.length} findings`}`,
              ),
              ...findings.map((finding) => `  ${finding}`),
            ],
            exit: findings.length === 0 ? EXIT.done : EXIT.failed,
          };
        }
        if (rest.length > 0) throw new UsageError(`ledger shows one source, got ${[first, ...rest].join(', ')}`);
        const entries = await collect(readLedger(await homeVault(first, options.from ?? null, world), first));
        return {
          result: { entries },
          lines: table(
            ['seq', 'at', 'event', 'id', 'details'],
            entries.map((entry) => [
              String(entry.seq),
              entry.at,
              entry.event,
              entry.id ?? '-',
              JSON.stringify(entry.details),
            ]),
          ),
        };
      });
    });
}
