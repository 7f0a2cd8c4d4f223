import type { Command } from 'commander';
import { partlyTold, saidReason } from '#cli/hold';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { acknowledge } from '#jobs/acknowledge';

interface Options extends GlobalOptions {
  readonly id?: string;
  readonly alert?: string;
  readonly reason?: string;
}

export function addAck(program: Command, invocation: Invocation): void {
  program
    .command('ack')
    .description('say that somebody has looked: at an anomaly, a failed run, an alert')
    .argument('<source>', 'of a vault or the plan as a whole: _plan')
    .option('--id <id>', 'the backup that is unlike those before it, or the run that failed')
    .option('--alert <key>', 'the alert, as status and messages name it')
    .option('--reason <text>', 'what was found')
    .action(async (source: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('ack', options, async (world) => {
        const reason = saidReason(options.reason, 'ack', 'who reads the ledger wants to know what was found');
        const ask = { id: options.id ?? null, alert: options.alert ?? null, reason };
        const told = await acknowledge(source, ask, world);
        const { warnings, ...known } = told;
        const about = [...(known.id === null ? [] : [known.id]), ...known.alerts].join(', ');
        return {
          result: known,
          lines: [`${source} ${about}: acknowledged: ${reason}`],
          error: partlyTold([told]),
          warnings,
        };
      });
    });
}
