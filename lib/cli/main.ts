import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { commandsFor } from '#cli/commands';
import { Defect, envelope } from '#cli/envelope';
import { type GlobalOptions, Invocation, notThereYet } from '#cli/invocation';
import { EXIT, type HoldfastError, UsageError } from '#core/errors';

/** Fixed by section 8, filled by later versions. */
const LATER = ['drill', 'report', 'wal', 'cost', 'repair'];

const EXIT_TABLE = `
exit codes:
  0  done, and what was asked for holds
  1  the operation failed
  2  the command line or the plan is wrong
  3  unhealthy, only partly done, or not yet possible
  4  busy: somebody holds the lease
  5  disproven: restored, and not equal
  6  not provable here: says what is lacking`;

/** Reads the arguments, runs one command, and gives the exit code back. Nothing else ends the process. */
export async function main(args: readonly string[]): Promise<number> {
  const invocation = new Invocation();
  const program = new Command('holdfast')
    .description('Backups that prove themselves: each one is restored and compared before it is called good.')
    .version(version())
    .option('--plan <file>', 'the plan; else $HOLDFAST_PLAN, else ./holdfast.yaml')
    .option('--json', 'one JSON document on stdout')
    .option('--debug', 'more words and stack traces on stderr')
    .addHelpText('after', EXIT_TABLE)
    .showHelpAfterError(`hint: ${hintFor(undefined)}`)
    .exitOverride();
  // The bare command shows how things stand.
  const given = namesCommand(args) ? args : [...args, 'status'];
  for (const add of await commandsFor(given)) add(program, invocation);
  for (const name of LATER)
    program
      .command(name, { hidden: true })
      .argument('[anything...]')
      .allowUnknownOption()
      .action(async (_anything: string[], _options: unknown, command: Command) => {
        await invocation.run(name, command.optsWithGlobals<GlobalOptions>(), async () => notThereYet(name));
      });
  for (const command of program.commands) {
    command
      .option('--plan <file>', 'the plan')
      .option('--json', 'one JSON document on stdout')
      .option('--debug', 'more words');
    command.showHelpAfterError(`hint: ${hintFor(command)}`).exitOverride();
  }
  try {
    await program.parseAsync([...given], { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.done;
      if (args.includes('--json')) {
        const message = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
        const named = program.commands.find((one) => one.name() === commandIn(args));
        printError(args, new UsageError(message, { hint: hintFor(named) }));
      }
      return EXIT.usage;
    }
    const defect = new Defect(error);
    process.stderr.write(`error: ${defect.message}\nhint: ${defect.hint}\n`);
    if (args.includes('--debug') && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    if (args.includes('--json')) printError(args, defect);
    return EXIT.failed;
  }
  return invocation.exit;
}

function namesCommand(args: readonly string[]): boolean {
  const rest = args.filter((_one, index) => args[index - 1] !== '--plan');
  return rest.some((one) => !one.startsWith('-') || ['--help', '-h', '--version', '-V'].includes(one));
}

function hintFor(command: Command | undefined): string {
  return command ? `holdfast ${command.name()} --help` : 'holdfast --help lists the commands';
}

function commandIn(args: readonly string[]): string {
  return args.find((one, index) => !one.startsWith('-') && args[index - 1] !== '--plan') ?? 'status';
}

/** Scripts that asked for JSON get it for a wrong command line too. */
function printError(args: readonly string[], error: HoldfastError): void {
  process.stdout.write(
    `${JSON.stringify(envelope(commandIn(args), new Date(), { result: null, lines: [], error }))}\n`,
  );
}

function version(): string {
  const packageFile = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }).version;
}
