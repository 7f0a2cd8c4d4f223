import { type Command, Option } from 'commander';
import type { Outcome } from '#cli/envelope';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { table } from '#cli/table';
import { SEVERITIES, type Severity } from '#core/alert';
import { EXIT, UsageError } from '#core/errors';
import type { World } from '#host/world';
import { openAlerts } from '#jobs/open-alerts';
import { testAlerts } from '#jobs/test-alerts';

interface Options extends GlobalOptions {
  readonly severity?: Severity;
}

export function addAlerts(program: Command, invocation: Invocation): void {
  program
    .command('alerts')
    .description('what was told and is not over; `alerts test` sends one message to each channel')
    .argument('[test]')
    .addOption(new Option('--severity <severity>', 'test only the channels of this one').choices(SEVERITIES))
    .action(async (what: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('alerts', options, async (world) => {
        if (what !== undefined && what !== 'test')
          throw new UsageError(`got "alerts ${what}", want alerts, or alerts test`);
        if (what === undefined && options.severity !== undefined)
          throw new UsageError('--severity belongs to alerts test', { hint: 'holdfast alerts test --severity high' });
        return what === 'test' ? sendTests(options.severity ?? null, world) : listOpen(world);
      });
    });
}

async function sendTests(severity: Severity | null, world: World): Promise<Outcome> {
  const { deliveries, borrowed } = await testAlerts(severity, world);
  const failed = deliveries.filter(({ ok }) => !ok).length;
  return {
    result: { deliveries, borrowed },
    lines: [
      ...deliveries.map(
        ({ severity: of, channel, ok, error }) =>
          `${ok ? 'sent  ' : 'FAILED'}  ${(of ?? '-').padEnd(8)}  ${channel}${error === null ? '' : `: ${error}`}`,
      ),
      ...borrowed.map(({ severity: of, list }) => `${of} has no channel of its own: it goes to those of ${list}`),
      ...(failed === 0 ? ['look into each inbox: sent means that the next one on the way took it'] : []),
    ],
    exit: failed === 0 ? EXIT.done : failed === deliveries.length ? EXIT.failed : EXIT.partly,
  };
}

async function listOpen(world: World): Promise<Outcome> {
  const { alerts, warnings } = await openAlerts(world);
  return {
    result: { alerts },
    lines:
      alerts.length === 0
        ? ['no alert is open']
        : table(
            ['severity', 'source', 'since', 'told', 'key', 'what'],
            alerts.map(({ severity, source, since, told, key, title, acknowledged }) => [
              severity,
              source ?? '-',
              since,
              acknowledged ? 'known' : `${told}x`,
              key,
              title,
            ]),
          ),
    warnings,
  };
}
