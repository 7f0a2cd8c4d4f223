import type { Command } from 'commander';
import { type Outcome, worstExit } from '#cli/envelope';
import { chosenSources, type GlobalOptions, type Invocation } from '#cli/invocation';
import { table } from '#cli/table';
import { EXIT, HoldfastError, UsageError } from '#core/errors';
import type { World } from '#host/world';
import { collect } from '#jobs/catalog';
import { homeVault, vaultsOf } from '#jobs/home';
import { type LedgerReport, verifyLedger } from '#jobs/ledger-verify';
import { readLedger } from '#vault/ledger-store';

interface Options extends GlobalOptions {
  readonly from?: string;
  readonly source?: string;
}

const VERIFY = 'verify';

export function addLedger(program: Command, invocation: Invocation): void {
  program
    .command('ledger')
    .description('what happened to a source; `ledger verify` looks for edits and gaps')
    .argument('[source-or-verify]')
    .argument('[source...]')
    .option('--from <vault>', 'of this vault')
    .option('--source <source>', 'the source, where its name is a word of this command')
    .action(async (first: string | undefined, rest: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('ledger', options, async (world) => {
        const words = [...(first === undefined ? [] : [first]), ...rest];
        if (options.source !== undefined) {
          if (words.length > 0) throw new UsageError(`want a source or --source, got --source and ${words.join(' ')}`);
          return entriesOf(options.source, options, world);
        }
        if (first === VERIFY) return verify(rest, options, world);
        if (first === undefined)
          throw new UsageError(`name a source: ${Object.keys(world.plan.plan.sources).join(', ')}; or verify`);
        if (rest.length > 0) throw new UsageError(`ledger shows one source, got ${words.join(', ')}`);
        return entriesOf(first, options, world);
      });
    });
}

async function verify(named: readonly string[], { from }: Options, world: World): Promise<Outcome> {
  const reports: LedgerReport[] = [];
  const errors: HoldfastError[] = [];
  for (const source of chosenSources(world, named, true))
    for (const name of from === undefined ? vaultsOf(source, world) : [from])
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
    warnings: [
      ...errors.slice(1).map((error) => `${error.source}: ${error.message}`),
      ...(named.length === 0 && Object.hasOwn(world.plan.plan.sources, VERIFY)
        ? [
            `${VERIFY} was taken for the command; the entries of the source of that name: holdfast ledger --source ${VERIFY}`,
          ]
        : []),
    ],
  };
}

async function entriesOf(source: string, { from }: Options, world: World): Promise<Outcome> {
  const unreadable: HoldfastError[] = [];
  const onInvalid = (error: HoldfastError): void => {
    unreadable.push(error);
  };
  const entries = await collect(readLedger(await homeVault(source, from ?? null, world), source, { onInvalid }));
  return {
    // What can be read is shown; that it is not all there is must be heard.
    error: unreadable[0] ?? null,
    warnings: unreadable.slice(1).map(({ message }) => message),
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
}
