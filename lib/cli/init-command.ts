import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import type { Outcome } from '#cli/envelope';
import { type InitHost, type InitResult, init } from '#cli/init';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { recoverySheet } from '#cli/recovery-sheet';
import { Cancelled } from '#core/errors';
import { machineClock } from '#host/clock';
import { createProcesses } from '#host/processes';
import { type Machine, planPath } from '#host/world';
import { openVaultUrl } from '#vault/open';

interface Options extends GlobalOptions {
  readonly from?: string;
  readonly name?: string;
  readonly vault?: string;
}

export function addInit(program: Command, invocation: Invocation): void {
  program
    .command('init')
    .description('look around and write a plan; asks only on a terminal, never overwrites')
    .option('--from <vault>', 'bring the newest plan back from a vault: a directory, or s3://BUCKET/PREFIX')
    .option('--name <name>', "of the plan; else the directory's")
    .option('--vault <directory>', 'where the backups go')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.run('init', options, async (machine): Promise<Outcome> => {
        const file = planPath(options.plan, machine.environment, machine.directory);
        const absolute = (path: string | undefined): string | null =>
          path === undefined ? null : resolve(machine.directory, path);
        const result = await init(
          { file, from: options.from ?? null, name: options.name ?? null, vault: absolute(options.vault) },
          hostOf(machine, dirname(file), options.json === true),
        );
        return { result, lines: linesOf(result) };
      });
    });
}

function hostOf(machine: Machine, directory: string, json: boolean): InitHost {
  const { environment } = machine;
  const processes = createProcesses(environment, machine.signal, null);
  const share = environment['XDG_DATA_HOME'] || join(homedir(), '.local', 'share');
  return {
    environment,
    processes,
    clock: machineClock,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC',
    schema: join(import.meta.dirname, '..', '..', 'holdfast.schema.json'),
    vaults: process.getuid?.() === 0 ? '/var/backups' : join(share, 'holdfast'),
    ask:
      process.stdin.isTTY && process.stdout.isTTY && !json
        ? (question, otherwise) => ask(question, otherwise, machine)
        : null,
    openVault: (address) =>
      openVaultUrl(address, {
        processes,
        environment,
        baseDirectory: directory,
        reveal: (text) => machine.secrets.reveal(text),
      }),
  };
}

/** On stderr, as everything that is not the result. Ctrl-C and the end of the input leave before anything is made. */
async function ask(question: string, otherwise: string, { signal }: Machine): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const left = new Promise<never>((_resolve, reject) => {
    terminal.once('SIGINT', () => terminal.close());
    terminal.once('close', () => reject(new Cancelled('init was left at a question; nothing was made')));
    signal.addEventListener('abort', () => terminal.close(), { once: true });
  });
  try {
    const answer = await Promise.race([terminal.question(`${question} [${otherwise}]: `), left]);
    return answer.trim() || otherwise;
  } finally {
    terminal.close();
  }
}

function linesOf({ plan, name, sources, vault, key, notes, next }: InitResult): string[] {
  const width = Math.max(...sources.map((source) => source.name.length));
  return [
    `wrote ${plan}: plan ${name}`,
    ...sources.map((source) => `  ${source.name.padEnd(width)}  ${source.engine.padEnd(8)}  ${source.why}`),
    `vault: ${vault}`,
    ...(key?.made ? ['', `made ${key.file}`, ...recoverySheet(key.file, key.publicKey), ''] : []),
    ...notes.map((note) => `note: ${note}`),
    'next:',
    ...next.map((step) => `  ${step}`),
  ];
}
