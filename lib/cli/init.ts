import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { KeyExists, KeyMissing, messageOf, RecordInvalid, UsageError, VaultMissing } from '#core/errors';
import { type Manifest, sha256Hex } from '#core/manifest';
import { type EngineName, engineOf, type Plan } from '#core/plan';
import { draftPlan } from '#core/plan-draft';
import { loadPlan } from '#core/plan-load';
import { type DraftSource, slug, sourcesFrom } from '#core/plan-sources';
import type { Clock, Processes, Vault, VaultEntry } from '#core/ports';
import { references } from '#core/secrets';
import { discover } from '#host/discover';
import { readBareVault } from '#jobs/bare-vault';
import { newestBackup, sourcesIn } from '#jobs/catalog';
import { keygen, publicKeysOf } from '#vault/encryption';
import { createVaultIdentity, readVaultIdentity } from '#vault/identity';

export interface InitOptions {
  /** Absolute path of the plan to be; its directory is looked around in. */
  readonly file: string;
  /** Address of a vault whose newest plan is brought back instead. */
  readonly from: string | null;
  readonly name: string | null;
  /** Directory of the vault. */
  readonly vault: string | null;
}

export interface InitHost {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly processes: Processes;
  readonly clock: Clock;
  /** IANA name. */
  readonly timezone: string;
  /** Where the JSON Schema lies. */
  readonly schema: string;
  /** Below it a vault is made when none is named. */
  readonly vaults: string;
  /** Null when nobody sits there. */
  readonly ask: ((question: string, otherwise: string) => Promise<string>) | null;
  /** A directory, `file:///…` or `s3://…`. */
  openVault(address: string): Vault;
}

export interface InitResult {
  readonly plan: string;
  readonly name: string;
  readonly sources: readonly { readonly name: string; readonly engine: EngineName; readonly why: string }[];
  readonly vault: string;
  /** Null with `--from`: the key is brought back by hand. */
  readonly key: { readonly file: string; readonly publicKey: string; readonly made: boolean } | null;
  readonly notes: readonly string[];
  /** What to run next. */
  readonly next: readonly string[];
}

/**
 * Writes a plan for what it finds, or brings one back from a vault. Never overwrites.
 * @throws UsageError a plan is there already; VaultMissing, VaultForeign, BackupMissing
 */
export async function init(options: InitOptions, host: InitHost): Promise<InitResult> {
  if (existsSync(options.file)) {
    throw new UsageError(`${options.file} is there already, and a plan is never overwritten`, {
      hint: 'change it by hand and run holdfast check; or move it away first',
    });
  }
  return options.from === null ? await fresh(options, host) : await broughtBack(options, options.from, host);
}

async function fresh(options: InitOptions, host: InitHost): Promise<InitResult> {
  const directory = dirname(options.file);
  const keyFile = join(directory, 'holdfast.key');
  const found = await discover(directory, host.environment);
  const name = await chosenName(options, host);
  const disk =
    options.vault ?? (await host.ask?.('directory of the vault', join(host.vaults, name))) ?? join(host.vaults, name);
  const proposed = sourcesFrom(found);
  const runs = proposed.some((source) => source.lacks === null);
  const sources = await chosenSources(runs ? proposed : [everything(directory, disk), ...proposed], host);
  const known = await knownKey(keyFile, host);
  await makeVault(host.openVault(disk), name, host);
  const publicKeys = known ?? [await keygen(host.processes, keyFile)];
  const text = draftPlan({
    schema: host.schema,
    name,
    timezone: host.timezone,
    recipients: publicKeys,
    identityFile: './holdfast.key',
    vault: { name: 'local', disk },
    sources,
  });
  const { plan } = loadPlan(text, basename(options.file));
  await writeOnce(options.file, text);
  const git = existsSync(join(directory, '.git')) ? ['keep the key out of git: echo holdfast.key >> .gitignore'] : [];
  return {
    plan: options.file,
    name,
    sources: Object.entries(plan.sources).map(([source, settings]) => ({
      name: source,
      engine: engineOf(settings),
      why: sources.find((one) => one.name === source)?.why ?? '',
    })),
    vault: disk,
    key: { file: keyFile, publicKey: publicKeys.join(', '), made: known === null },
    notes: [...found.notes, ...sources.flatMap((one) => (one.lacks === null ? [] : [`${one.why}: ${one.lacks}`]))],
    next: [...git, 'holdfast check', 'holdfast backup --all'],
  };
}

async function chosenName(options: InitOptions, host: InitHost): Promise<string> {
  const otherwise = slug(basename(dirname(options.file)), 'plan');
  const name = options.name ?? (await host.ask?.('name of the plan', otherwise)) ?? otherwise;
  if (slug(name, '') === name) return name;
  throw new UsageError(`got the name "${name}", want lower-case letters, digits and dashes, at most 63`, {
    hint: `for example ${slug(name, otherwise)}`,
  });
}

/** What was left out stays in the plan as a comment. */
async function chosenSources(proposed: readonly DraftSource[], host: InitHost): Promise<readonly DraftSource[]> {
  const ready = proposed.filter((source) => source.lacks === null);
  if (!host.ask || ready.length < 2) return proposed;
  const list = ready.map(({ name, engine, why }, index) => `  ${index + 1}  ${name} (${engine}): ${why}`).join('\n');
  const answer = await host.ask(`found:\n${list}\nwhich of these, as numbers`, 'all');
  if (answer === 'all') return proposed;
  const numbers = answer.split(/[\s,]+/).filter(Boolean);
  const wrong = numbers.find((text) => !/^\d{1,4}$/.test(text) || ready[Number(text) - 1] === undefined);
  if (wrong !== undefined || numbers.length === 0) {
    throw new UsageError(`got "${wrong ?? answer}", want numbers from 1 to ${ready.length}, or all`, {
      hint: 'run holdfast init again; what is left out stays in the plan as a comment',
    });
  }
  const chosen = new Set(numbers.map((text) => ready[Number(text) - 1]));
  return proposed.map((source) =>
    chosen.has(source) || source.lacks !== null ? source : { ...source, lacks: 'left out by holdfast init' },
  );
}

/** Nothing that could run was found: the directory itself, so that the plan is one that runs. */
function everything(directory: string, vault: string): DraftSource {
  const below = relative(directory, vault);
  const inside = below !== '' && !below.startsWith('..') ? [`/${below}/`] : [];
  return {
    engine: 'files',
    name: 'files',
    why: 'nothing else was found, so this whole directory',
    lacks: null,
    paths: ['.'],
    exclude: ['node_modules/', '*.key', ...inside],
    configuration: false,
    service: null,
  };
}

/** @throws VaultForeign it is another plan's */
async function makeVault(vault: Vault, plan: string, host: InitHost): Promise<void> {
  try {
    await readVaultIdentity(vault, plan);
  } catch (error) {
    if (!(error instanceof VaultMissing)) throw error;
    try {
      await createVaultIdentity(vault, { plan, id: randomUUID(), created: host.clock.now() });
    } catch (second) {
      if (!(second instanceof KeyExists)) throw second;
      await readVaultIdentity(vault, plan);
    }
  }
}

/** The public keys of a key file that lies beside the plan already, or null. */
async function knownKey(file: string, host: InitHost): Promise<readonly string[] | null> {
  if (!existsSync(file)) return null;
  const publicKeys = await publicKeysOf({ file }, host.processes);
  if (publicKeys.length > 0) return publicKeys;
  throw new UsageError(`${file} is there already and is no age identity`, {
    hint: 'move it away, or write a plan by hand that names its public key',
  });
}

async function broughtBack(options: InitOptions, from: string, host: InitHost): Promise<InitResult> {
  const vault = host.openVault(from);
  const bare = await readBareVault(vault);
  const newest = await newestPlan(vault, host.clock.now());
  const bytes = await vault.get(newest.key);
  const text = Buffer.from(bytes).toString('utf8');
  const hash = /([0-9a-f]{64})\.yaml$/.exec(newest.key)?.[1];
  if (sha256Hex(text) !== hash) {
    throw new RecordInvalid(`${newest.key} in ${vault.url} is not what its name says: it was changed or damaged`, {
      hint: `look at it by hand before you trust it; other plans lie beside it in ${vault.url}`,
    });
  }
  const { plan } = loadPlan(text, `${vault.url}/${newest.key}`);
  await writeOnce(options.file, text);
  const variables = [...new Set(references(text).flatMap((one) => (one.kind === 'variable' ? [one.name] : [])))].sort();
  const key =
    plan.encryption !== 'none' && plan.encryption.identity && 'file' in plan.encryption.identity
      ? [`put the key file back: ${plan.encryption.identity.file}`]
      : [];
  return {
    plan: options.file,
    name: plan.name,
    sources: Object.entries(plan.sources).map(([name, settings]) => ({
      name,
      engine: engineOf(settings),
      why: `in the plan ${newest.why}`,
    })),
    vault: vault.url,
    key: null,
    notes: [
      ...bare.warnings,
      ...elsewhere(plan, vault, dirname(options.file)),
      ...(variables.length === 0
        ? []
        : [`the plan needs these in the environment or in .env: ${variables.join(', ')}`]),
    ],
    next: [...key, 'holdfast check', 'holdfast list'],
  };
}

interface StoredPlan {
  readonly key: string;
  /** How it was found to be the newest, in words. */
  readonly why: string;
}

/**
 * The plan by which the newest backup of any source was made: its manifest names it. The times of files say when they were
 * copied here, and a plan that was gone back to is not stored a second time. They decide where there is no backup yet.
 */
async function newestPlan(vault: Vault, now: Date): Promise<StoredPlan> {
  const files = new Map<string, VaultEntry>();
  for await (const entry of vault.list('plans/')) {
    const hash = /^plans\/([0-9a-f]{64})\.yaml$/.exec(entry.key)?.[1];
    if (hash !== undefined) files.set(hash, entry);
  }
  const manifests: Manifest[] = [];
  for (const source of await sourcesIn(vault)) {
    const newest = await newestBackup(vault, source, now).catch((error: unknown) => {
      if (error instanceof RecordInvalid || error instanceof KeyMissing) return null;
      throw error;
    });
    if (newest && files.has(newest.plan.sha256)) manifests.push(newest);
  }
  const made = manifests.toSorted((a, b) => (a.startedAt < b.startedAt ? -1 : 1)).at(-1);
  if (made) return { key: `plans/${made.plan.sha256}.yaml`, why: `of ${made.source} ${made.id}` };
  const stored = [...files.values()].toSorted((a, b) => a.modified.getTime() - b.modified.getTime()).at(-1);
  if (stored) return { key: stored.key, why: `of ${stored.modified.toISOString()}` };
  throw new UsageError(`the vault ${vault.url} holds no plan: no run has used it yet`, {
    hint: 'holdfast init without --from writes a new one',
  });
}

/** The plan knows vaults by where they were: this one has been moved, or was mounted elsewhere. */
function elsewhere(plan: Plan, { url }: Vault, directory: string): string[] {
  const disks = Object.entries(plan.vaults).flatMap(([name, settings]) =>
    'disk' in settings ? [{ name, disk: settings.disk, place: resolve(directory, settings.disk) }] : [],
  );
  if (url.startsWith('s3://') || disks.length === 0 || disks.some(({ place }) => place === url)) return [];
  const known = disks.map(({ name, disk }) => `${name} in ${disk}`).join(', ');
  return [`this vault was read from ${url}, and the plan has ${known}: correct vaults: before you run anything`];
}

async function writeOnce(file: string, text: string): Promise<void> {
  try {
    const handle = await open(file, 'wx');
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw new UsageError(`could not write ${file}: ${messageOf(cause)}`, {
      cause,
      hint: 'want a directory that exists and that you may write to, without a plan in it',
    });
  }
}
