import type { Command } from 'commander';
import { worstExit } from '#cli/envelope';
import { chosenSources, type GlobalOptions, type Invocation } from '#cli/invocation';
import { table } from '#cli/table';
import { EXIT, HoldfastError, UsageError } from '#core/errors';
import { collect } from '#jobs/catalog';
import { homeVault, vaultsOf } from '#jobs/home';
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
          const errors: HoldfastError[] = [];
          for (const source of chosenSources(world, rest, true))
            for (const name of options.from === undefined ? vaultsOf(source, world) : [options.from])
              try {
                reports.push(await verifyLedger(await homeVault(source, name, world), source));
              } catch (error) {
                if (!(error instanceof HoldfastError)) throw error;
                error.source ??= source;
                errors.push(error);
              }
          const findings = reports.flatMap((report) =>
            report.findings.map((finding) => `${report.source} in ${report.vault}: ${finding}`),
          );
          return {
            result: { ok: findings.length === 0 && errors.length === 0, reports },
            lines: [
              ...reports.map(
                (report) =>
                  `${report.source} in ${report.vault}: ${report.entries} entries, ${report.findings.length === 0 ? 'whole' : `${report.findings.length} findings`}`,
              ),
              ...findings.map((finding) => `  ${finding}`),
            ],
            exit: findings.length > 0 ? EXIT.failed : worstExit(errors.map((error) => error.exit)),
            error: errors[0] ?? null,
            warnings: errors.slice(1).map((error) => `${error.source}: ${error.message}`),
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
