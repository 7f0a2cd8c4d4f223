import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { parseEnv } from 'node:util';
import { PlanInvalid, UsageError } from '#core/errors';
import { type EngineName, engineOf } from '#core/plan';
import { type LoadedPlan, loadPlan } from '#core/plan-load';
import type { Clock, Log, Progress, RunContext, SourceRef, StreamingEngine, Vault } from '#core/ports';
import { redact, reveal } from '#core/secrets';
import { machineClock } from '#host/clock';
import { engineNamed } from '#host/engines';
import { isGone, thisHolder } from '#host/holder';
import { fileIntents } from '#host/intents';
import { fileNotes } from '#host/notes';
import { createProcesses } from '#host/processes';
import { openScratch } from '#host/scratch';
import type { JobEnvironment } from '#jobs/environment';
import { openMessenger } from '#notify/messenger';
import { type FoundIdentity, findIdentity, identityFile } from '#vault/identity-file';
import { openVault, openVaultUrl } from '#vault/open';

export interface Machine {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly progress: Progress;
  readonly secrets: SecretKeeper;
  /** The machine's own unless told. */
  readonly clock?: Clock;
}

/** Remembers what was revealed, so that nothing printed afterwards holds it. */
export class SecretKeeper {
  readonly #values = new Set<string>();
  #lookup: (name: string) => string | undefined;

  constructor(lookup: (name: string) => string | undefined) {
    this.#lookup = lookup;
  }

  reveal(text: string): string {
    return reveal(text, (name) => {
      const value = this.#lookup(name);
      if (value !== undefined) this.#values.add(value);
      return value;
    });
  }

  /** From now on variables come from here; what was revealed before stays hidden. */
  lookIn(lookup: (name: string) => string | undefined): void {
    this.#lookup = lookup;
  }

  /** A secret that came by another way than `${NAME}`. */
  keep(value: string): void {
    this.#values.add(value);
  }

  redact(text: string): string {
    return redact(text, this.#values);
  }
}

/**
 * The environment first, then `.env` beside the plan.
 * @throws PlanInvalid it is there and cannot be read
 */
export function variablesOf(
  environment: Readonly<Record<string, string | undefined>>,
  directory: string,
): (name: string) => string | undefined {
  const file = join(directory, '.env');
  const beside = existsSync(file) ? parseEnv(readVariables(file)) : {};
  return (name) => environment[name] ?? beside[name];
}

function readVariables(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new PlanInvalid(`${file} cannot be read: ${(cause as NodeJS.ErrnoException).code}`, {
      cause,
      hint: 'it must be a file that this user may read: the variables of the plan are looked for in it',
    });
  }
}

/** `--plan`, `$HOLDFAST_PLAN`, or `./holdfast.yaml`; a variable that is set to nothing names none. */
export function planPath(asked: string | undefined, environment: Machine['environment'], directory: string): string {
  return resolve(directory, asked ?? (environment['HOLDFAST_PLAN'] || 'holdfast.yaml'));
}

/** @throws PlanInvalid, UsageError when there is no such file */
export function readPlan(path: string, directory: string): LoadedPlan {
  const shown = path.startsWith(`${directory}/`) ? path.slice(directory.length + 1) : path;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT')
      throw new UsageError(`no plan at ${shown}`, {
        cause,
        hint: 'holdfast init writes one; --plan FILE or $HOLDFAST_PLAN names another',
      });
    throw new PlanInvalid(`${shown} cannot be read: ${code}`, { cause });
  }
  return loadPlan(text, shown);
}

/** A run's surroundings; `close` removes its scratch directory. */
export interface World extends JobEnvironment {
  close(): Promise<void>;
}

/** What a process that makes many runs keeps between them: the plan it read, the vaults it opened. */
export interface Kept {
  readonly plan: LoadedPlan;
  vault(name: string): Vault;
}

export async function openWorld(machine: Machine, path: string, kept: Kept | null = null): Promise<World> {
  const plan = kept?.plan ?? readPlan(path, machine.directory);
  const base = dirname(path);
  const { run, close } = await openRun(machine);
  const vaults = new Map<string, Vault>();
  return {
    plan,
    run,
    close,
    holder: thisHolder(),
    isGone,
    intents: fileIntents(machine.environment, plan.plan.name, base),
    messenger: openMessenger(plan.plan, run, { redact: (text) => machine.secrets.redact(text) }),
    notes: fileNotes(machine.environment, plan.plan.name),
    redact: (text) => machine.secrets.redact(text),
    vault(name) {
      if (kept) return kept.vault(name);
      const known = vaults.get(name);
      if (known) return known;
      const settings = plan.plan.vaults[name];
      if (!settings)
        throw new UsageError(`no vault "${name}" in the plan, want one of ${Object.keys(plan.plan.vaults).join(', ')}`);
      const opened = openVault(name, settings, {
        reveal: run.reveal,
        processes: run.processes,
        baseDirectory: base,
        signal: run.signal,
      });
      vaults.set(name, opened);
      return opened;
    },
    source(name) {
      const settings = plan.plan.sources[name];
      if (!settings)
        throw new UsageError(
          `no source "${name}" in ${plan.file}, want one of ${Object.keys(plan.plan.sources).join(', ')}`,
        );
      return { name, settings: withAbsolutePaths(settings, base), vaultDirectories: diskVaults(plan, base) };
    },
    engine: (source) => engineNamed(engineOf(source.settings)),
    identity: onceWarned(machine, () =>
      findIdentity(plan.plan.encryption, { planFolder: base, scratch: run.scratch, reveal: run.reveal }),
    ),
  };
}

/** What is left on the worst day: a vault's address and a key. */
export interface BareWorld {
  readonly run: RunContext;
  readonly vault: Vault;
  engine(name: EngineName): StreamingEngine;
  identity(): Promise<{ readonly file: string } | null>;
  redact(text: string): string;
  close(): Promise<void>;
}

export async function openBareWorld(machine: Machine, url: string, identity: string | null): Promise<BareWorld> {
  const { run, close } = await openRun(machine);
  const vault = openVaultUrl(url, {
    reveal: run.reveal,
    processes: run.processes,
    baseDirectory: machine.directory,
    environment: machine.environment,
    signal: run.signal,
  });
  return {
    run,
    vault,
    close,
    engine: engineNamed,
    redact: (text) => machine.secrets.redact(text),
    identity: onceWarned(machine, async () =>
      identity === null ? null : identityFile(resolve(machine.directory, identity)),
    ),
  };
}

/** Finds the identity when it is first needed, and says once what is wrong with its file. */
function onceWarned(machine: Machine, find: () => Promise<FoundIdentity | null>): () => Promise<FoundIdentity | null> {
  let found: Promise<FoundIdentity | null> | null = null;
  return () => {
    found ??= find().then((identity) => {
      for (const warning of identity?.warnings ?? []) machine.log.warn(warning);
      return identity;
    });
    return found;
  };
}

async function openRun(machine: Machine): Promise<{ readonly run: RunContext; close(): Promise<void> }> {
  const scratch = await openScratch(machine.environment);
  for (const line of scratch.swept) machine.log.info(line);
  const processes = createProcesses(machine.environment, machine.signal, scratch.path);
  const run: RunContext = {
    processes,
    clock: machine.clock ?? machineClock,
    log: machine.log,
    progress: machine.progress,
    scratch: scratch.path,
    signal: machine.signal,
    reveal: (text) => machine.secrets.reveal(text),
    host: hostname(),
  };
  return { run, close: () => scratch.close() };
}

/** Absolute, whether they are there or not. */
function diskVaults({ plan }: LoadedPlan, base: string): readonly string[] {
  return Object.values(plan.vaults).flatMap((vault) => ('disk' in vault ? [resolve(base, vault.disk)] : []));
}

/** Paths in a plan count from the plan's own directory, wherever the command was called. */
function withAbsolutePaths(settings: SourceRef['settings'], base: string): SourceRef['settings'] {
  const absolute = (path: string): string => (isAbsolute(path) ? path : join(base, path));
  return {
    ...settings,
    ...(settings.sqlite ? { sqlite: { ...settings.sqlite, file: absolute(settings.sqlite.file) } } : {}),
    ...(settings.files ? { files: { ...settings.files, paths: settings.files.paths.map(absolute) } } : {}),
  };
}
