import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Outcome } from '#cli/envelope';
import { type GlobalOptions, type Invocation, notThereYet } from '#cli/invocation';
import { formatTook } from '#core/duration';
import { UsageError, VariableMissing } from '#core/errors';
import type { SourceRef, Vault } from '#core/ports';
import { formatBytes } from '#core/size';
import { engineNamed } from '#host/engines';
import { type Machine, openBareWorld } from '#host/world';
import { chooseBackup, parseMoment, type RestoreAsk } from '#jobs/choose-backup';
import { homeVault } from '#jobs/home';
import { type RestoreWorld, restore, restoreSteps } from '#jobs/restore';
import { readVaultIdentity } from '#vault/identity';
import { identityFile } from '#vault/identity-file';

interface Options extends GlobalOptions {
  readonly to?: string;
  readonly at?: string;
  readonly id?: string;
  readonly point?: string;
  readonly only?: string[];
  readonly from?: string;
  readonly vault?: string;
  readonly identity?: string;
  readonly unproven?: boolean;
  readonly overwrite?: boolean;
  readonly dryRun?: boolean;
}

export function addRestore(program: Command, invocation: Invocation): void {
  const command = program
    .command('restore')
    .description('give the newest proven backup back, compared before it says so')
    .argument('<source>')
    .requiredOption('--to <target>', 'postgres://…/new, redis://…, env:NAME, or a path')
    .option('--at <time>', 'the newest one not after this time, with offset: 2026-11-21T02:30:00Z')
    .option('--id <id>', 'this one')
    .option('--point <name>', 'the one taken with backup --point NAME')
    .option('--only <name...>', 'only these tables, paths or databases')
    .option('--from <vault>', 'from this vault of the plan')
    .option('--vault <url>', "without a plan: the vault's directory or s3://bucket/prefix")
    .option('--identity <file>', "the age identity, instead of the plan's")
    .option('--unproven', 'also a backup that no proof speaks for')
    .option('--overwrite', 'replace what is at the target; the old is kept aside where the engine can')
    .option('--dry-run', 'show the steps, the bytes and the expected time');
  for (const later of ['lsn', 'name', 'xid', 'timeline'])
    command.option(`--${later} <value>`, 'point in time: not there yet');
  command.action(async (source: string, _options: unknown, self: Command) => {
    const options = self.optsWithGlobals<Options>();
    for (const later of ['lsn', 'name', 'xid', 'timeline'])
      if (self.getOptionValue(later) !== undefined) notThereYet(`restore --${later}`);
    if (options.vault !== undefined) {
      const { vault: url, identity } = options;
      await invocation.run('restore', options, async (machine) => {
        const world = await openBareWorld(machine, url, identity ?? null);
        try {
          await readVaultIdentity(world.vault, null);
          return await give(source, options, null, world.vault, { ...world, directory: machine.directory }, machine);
        } finally {
          await world.close();
        }
      });
      return;
    }
    await invocation.withWorld('restore', options, async (world, machine) => {
      const vault = await homeVault(source, options.from ?? null, world);
      const { identity } = options;
      const key = identity === undefined ? {} : { identity: () => identityFile(resolve(machine.directory, identity)) };
      const known = world.plan.plan.sources[source] !== undefined;
      return give(
        source,
        options,
        known ? world.source(source) : null,
        vault,
        { ...world, ...key, engine: engineNamed, directory: world.intents.directory },
        machine,
      );
    });
  });
}

async function give(
  source: string,
  options: Options,
  settings: SourceRef | null,
  vault: Vault,
  world: RestoreWorld,
  machine: Machine,
): Promise<Outcome> {
  if ([options.at, options.id, options.point].filter((one) => one !== undefined).length > 1)
    throw new UsageError('--at, --id and --point exclude each other');
  const ask: RestoreAsk = {
    source,
    id: options.id ?? null,
    at: options.at === undefined ? null : parseMoment(options.at),
    point: options.point ?? null,
    unproven: options.unproven === true,
    only: options.only ?? [],
    overwrite: options.overwrite === true,
  };
  const { target, shown, warnings } = targetOf(options.to as string, machine);
  const choice = await chooseBackup(ask, vault);
  if (options.dryRun) {
    const steps = restoreSteps(choice, ask, shown, vault);
    return {
      result: { source, target: shown, seconds: 0, verified: false, ...steps },
      lines: [
        `would restore ${source} ${steps.id} (${choice.manifest.snapshotAt}): ${formatBytes(steps.bytes)} stored, ${formatBytes(steps.plainBytes)} plain`,
        ...steps.steps.map((step, index) => `${index + 1}. ${step}`),
        steps.expectedSeconds === null
          ? 'how long it takes is not known: it was never restored'
          : `about ${formatTook(steps.expectedSeconds)}, as its last proof took`,
      ],
      warnings: [...warnings, ...choice.warnings],
    };
  }
  const result = await restore(choice, ask, target, settings, vault, world);
  return {
    result: { source, id: result.id, target: result.target, seconds: result.seconds, verified: result.verified },
    lines: [
      `restored ${source} ${result.id} to ${result.target} in ${formatTook(result.seconds)}${result.verified ? ', compared and equal' : ''}`,
    ],
    warnings: [...warnings, ...result.warnings],
    error: result.error,
  };
}

/** `env:NAME` keeps a password out of the process list; one that is there already is taken out of all that is printed. */
function targetOf(text: string, machine: Machine): { target: string; shown: string; warnings: string[] } {
  if (text.startsWith('env:')) {
    const name = text.slice(4);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      throw new UsageError(`--to: got "${text}", want env:NAME of a variable that holds the address`);
    try {
      return { target: machine.secrets.reveal(`\${${name}}`), shown: text, warnings: [] };
    } catch (cause) {
      if (!(cause instanceof VariableMissing)) throw cause;
      throw new VariableMissing(`--to ${text}: ${name} is not set here, or empty`, { cause, hint: cause.hint });
    }
  }
  const password = /^[a-z]+:\/\/[^/@:]*:([^@]+)@/.exec(text)?.[1];
  if (password === undefined) return { target: text, shown: text, warnings: [] };
  machine.secrets.keep(password);
  process.title = 'holdfast restore';
  return {
    target: text,
    shown: text.replace(`:${password}@`, ':***@'),
    warnings: [
      'a password in --to is seen by every user of this machine and kept in the shell history: --to env:NAME hides it',
    ],
  };
}
