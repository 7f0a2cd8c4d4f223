import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Outcome } from '#cli/envelope';
import { type GlobalOptions, type Invocation, notThereYet } from '#cli/invocation';
import { formatTook } from '#core/duration';
import { Disproven, KeyMissing, UsageError, VariableMissing, VaultUnreachable } from '#core/errors';
import { isoTime } from '#core/manifest';
import type { SourceRef, Vault } from '#core/ports';
import { shellWord } from '#core/shell';
import { formatBytes } from '#core/size';
import { THAW_SPEEDS, type ThawSpeed } from '#core/thaw';
import { engineNamed } from '#host/engines';
import { fileNotes } from '#host/notes';
import { type Machine, openBareWorld } from '#host/world';
import { readBareVault } from '#jobs/bare-vault';
import { type Choice, chooseBackup, parseMoment, type RestoreAsk } from '#jobs/choose-backup';
import type { JobEnvironment } from '#jobs/environment';
import { homeVault, vaultsOf } from '#jobs/home';
import { readableCopy } from '#jobs/readable-copy';
import {
  type Refusal,
  type RestoreSteps,
  type RestoreWorld,
  refusalsOf,
  restore,
  restoreLater,
  restoreSteps,
} from '#jobs/restore';
import { type Thaw, thawOf } from '#jobs/thaw';
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
  readonly thaw?: string;
}

/** Fixed by section 8, filled by later versions. */
const LATER = ['lsn', 'name', 'xid', 'timeline'];

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
    .option('--thaw <speed>', `of what lies in an archive class: ${THAW_SPEEDS.join(', ')}; the first unless told`)
    .option('--dry-run', 'show the steps, the bytes, the expected time, and what stands in the way now');
  for (const later of LATER) command.option(`--${later} <value>`, 'point in time: not there yet');
  command.action(async (source: string, _options: unknown, self: Command) => {
    const options = self.optsWithGlobals<Options>();
    const later = LATER.find((one) => self.getOptionValue(one) !== undefined);
    if (later !== undefined) {
      await invocation.run('restore', options, async () => notThereYet(`restore --${later}`));
      return;
    }
    if (options.vault !== undefined) {
      const { vault: url, identity } = options;
      await invocation.run('restore', options, async (machine) => {
        const world = await openBareWorld(machine, url, identity ?? null);
        try {
          const { plan, warnings } = await readBareVault(world.vault);
          const notes = fileNotes(machine.environment, plan ?? 'lost');
          const place = { settings: null, vault: world.vault, plan: null };
          const given = await give(source, options, place, { ...world, notes, directory: machine.directory }, machine);
          return { ...given, warnings: [...warnings, ...(given.warnings ?? [])] };
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
      // Who names a vault means that vault.
      const plan = options.from === undefined ? world : null;
      return give(
        source,
        options,
        { settings: known ? world.source(source) : null, vault, plan },
        { ...world, ...key, engine: engineNamed, directory: world.intents.directory },
        machine,
      );
    });
  });
}

interface From {
  readonly settings: SourceRef | null;
  readonly vault: Vault;
  /** For the copies in its other vaults; null: only this vault is read. */
  readonly plan: JobEnvironment | null;
}

async function give(
  source: string,
  options: Options,
  { settings, vault, plan }: From,
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
  const speed = speedOf(options.thaw);
  const { target, shown, warnings } = targetOf(options.to as string, machine);
  const choice = await chooseBackup(ask, vault, world.run.clock.now());
  const copy = await readableCopy(choice.manifest, vault, plan);
  const { frozen } = copy;
  const heard = [...warnings, ...(copy.moved === null ? [] : [copy.moved])];
  if (options.dryRun) {
    const thaw = frozen && (await thawOf(frozen, world.notes, world.run.clock.now()));
    const steps = restoreSteps(choice, ask, shown, copy.vault, thaw);
    const refusals = await refusalsOf(choice, ask, target, settings, copy.vault, world);
    return {
      result: { source, target: shown, seconds: 0, verified: false, thaw, ...steps, refusals },
      lines: dryRunLines(source, choice, steps, thaw, refusals),
      warnings: [...heard, ...choice.warnings],
    };
  }
  if (frozen) {
    const { id } = choice.manifest;
    const later = await restoreLater(frozen, speed, commandFor(source, id, frozen.vault, shown, options), world);
    return {
      result: { source, id, target: shown, seconds: 0, verified: false, thaw: later.thaw },
      lines: [],
      warnings: [...heard, ...later.warnings, ...choice.warnings],
      error: later.error,
    };
  }
  const result = await restore(choice, ask, target, settings, copy.vault, world).catch((error: unknown) => {
    throw withOthers(error, choice, copy.vault, plan);
  });
  const { id, seconds, verified } = result;
  return {
    result: { source, id, target: result.target, seconds, verified, thaw: null },
    lines: [
      `restored ${source} ${id} to ${result.target} in ${formatTook(seconds)}${verified ? ', compared and equal' : ''}`,
      ...(copy.readableUntil
        ? [`its thawed files in ${copy.vault.name} can be read until ${isoTime(copy.readableUntil)}`]
        : []),
    ],
    warnings: [...heard, ...result.warnings],
    error: result.error,
  };
}

/** The data may be gone, and "take a new backup" no help: where else to restore from. */
function withOthers(error: unknown, { before }: Choice, vault: Vault, plan: JobEnvironment | null): unknown {
  if (!(error instanceof Disproven || error instanceof KeyMissing || error instanceof VaultUnreachable)) return error;
  const source = error.source ?? '';
  const others = plan === null ? [] : vaultsOf(source, plan).filter((name) => name !== vault.name);
  const ways = [
    ...(before === null ? [] : [`the proven one before it, of ${before.snapshotAt}: --id ${before.id}`]),
    ...(others.length === 0 ? [] : [`another vault's copy: ${others.map((name) => `--from ${name}`).join(', ')}`]),
  ];
  if (ways.length > 0) error.hint = ways.join('; or ');
  return error;
}

function dryRunLines(
  source: string,
  { manifest }: Choice,
  steps: RestoreSteps,
  thaw: Thaw | null,
  refusals: readonly Refusal[],
): string[] {
  return [
    `would restore ${source} ${steps.id} (${manifest.snapshotAt}): ${formatBytes(steps.bytes)} stored, ${formatBytes(steps.plainBytes)} plain`,
    ...steps.steps.map((step, index) => `${index + 1}. ${step}`),
    steps.expectedSeconds === null
      ? 'how long it takes is not known: it was never restored'
      : `about ${formatTook(steps.expectedSeconds)}${thaw ? ' once it is thawed' : ''}, as its last proof took`,
    ...(refusals.length === 0
      ? ['the target was looked at: nothing stands in the way']
      : refusals.flatMap(({ message, hint }) => [
          `as things are it would be refused: ${message}`,
          ...(hint === null ? [] : [`  hint: ${hint}`]),
        ])),
  ];
}

/** @throws UsageError */
function speedOf(text: string | undefined): ThawSpeed {
  const speed = text === undefined ? THAW_SPEEDS[0] : THAW_SPEEDS.find((one) => one === text);
  if (speed) return speed;
  throw new UsageError(`--thaw: got "${text}", want one of ${THAW_SPEEDS.join(', ')}`);
}

/** The same again, of the very backup and vault that were thawed: what is newest or nearest may be another one by then. */
function commandFor(source: string, id: string, vault: Vault, target: string, options: Options): string {
  const { plan, identity, only = [], overwrite, unproven } = options;
  const words = [
    ...['holdfast', 'restore', source, '--id', id],
    ...(options.vault === undefined ? ['--from', vault.name] : ['--vault', options.vault]),
    ...(plan === undefined || options.vault !== undefined ? [] : ['--plan', plan]),
    ...(identity === undefined ? [] : ['--identity', identity]),
    ...['--to', target],
    ...(only.length > 0 ? ['--only', ...only] : []),
    ...(overwrite ? ['--overwrite'] : []),
    ...(unproven ? ['--unproven'] : []),
  ];
  return words.map(shellWord).join(' ');
}

/** `env:NAME` keeps a password out of the process list; one that is there already is taken out of all that is printed. */
function targetOf(text: string, machine: Machine): { target: string; shown: string; warnings: string[] } {
  // An unset "$TARGET" of a script would else mean this directory.
  if (text.trim() === '') throw new UsageError('--to: got nothing, want an address, env:NAME or a path');
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
