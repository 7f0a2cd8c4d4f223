import { replicaBucketName } from '#core/bucket-replication';
import type { EngineGuide } from '#core/engine-guide';
import { HoldfastError, messageOf, PlanInvalid, RecordInvalid } from '#core/errors';
import type { Manifest } from '#core/manifest';
import { inlineCode } from '#core/markdown';
import { objectivesOf } from '#core/objectives';
import { type EngineName, engineOf, type Plan, type Source, type VaultSettings } from '#core/plan';
import { loadPlan } from '#core/plan-load';
import type { Clock, Vault } from '#core/ports';
import type { RunbookBucket, RunbookFacts, RunbookKey, RunbookSource, RunbookVault } from '#core/runbook';
import { redact } from '#core/secrets';
import { restorerName, secretName } from '#core/settings';
import { type ArchivedByPlan, archivedByPlan } from '#core/thaw';
import { placesOfSources } from '#core/where';
import { filesGuide } from '#engines/files/runbook';
import { postgresGuide } from '#engines/postgres/runbook';
import { redisGuide } from '#engines/redis/runbook';
import { sqliteGuide } from '#engines/sqlite/runbook';
import { readBareVault } from '#jobs/bare-vault';
import { sourcesIn } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { type NewestProven, newestProven } from '#jobs/newest-proven';
import { readVaultIdentity } from '#vault/identity';

const GUIDES: Readonly<Partial<Record<EngineName, (manifest: Manifest) => EngineGuide>>> = {
  postgres: postgresGuide,
  redis: redisGuide,
  sqlite: sqliteGuide,
  files: filesGuide,
};

/** Sources looked at together: each is a handful of small requests. */
const AT_ONCE = 8;
/** Where no plan tells how old a backup may be. */
const DEFAULT_SPAN = 7 * 86_400;

/** What all vaults told, once; pages for one vault or for all of them are cut from it. */
export interface Gathered {
  readonly plan: string;
  readonly key: RunbookKey;
  readonly vaults: readonly RunbookVault[];
  /** By vault name, then source. */
  readonly found: ReadonlyMap<string, ReadonlyMap<string, NewestProven>>;
  /** Of the plan, in its order; then those that left it. */
  readonly sources: readonly { readonly name: string; readonly settings: Source | null }[];
  readonly notes: readonly string[];
  /** When the plan has a copy moved to an archive class; null = never, or no plan is known. */
  archived(vault: string, manifest: Manifest): ArchivedByPlan | null;
}

/** Vaults that some source is written to; a vault that is away is named, not counted as empty (I14). */
export async function gather(environment: JobEnvironment): Promise<Gathered> {
  const { plan } = environment.plan;
  const names = new Set(Object.values(plan.sources).flatMap(({ schedule }) => schedule.flatMap(({ to }) => to)));
  const vaults: RunbookVault[] = [];
  const found = new Map<string, ReadonlyMap<string, NewestProven>>();
  for (const name of Object.keys(plan.vaults).filter((one) => names.has(one))) {
    const settings = plan.vaults[name] as VaultSettings;
    let url = addressOf(settings);
    try {
      const vault = environment.vault(name);
      url = vault.url;
      await readVaultIdentity(vault, plan.name);
      found.set(name, await foundIn(vault, plan, environment.run.clock));
      vaults.push(vaultFacts(name, url, settings, plan, null));
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      vaults.push(vaultFacts(name, url, settings, plan, environment.redact(error.message)));
    }
  }
  return {
    plan: plan.name,
    key: keyOf(plan),
    vaults,
    found,
    sources: sourcesOf(plan, found),
    notes: [],
    archived: (vault, manifest) => archivedByPlan(plan, vault, manifest),
  };
}

/** The worst day: no plan but what the vault itself keeps. */
export async function gatherBare(vault: Vault, clock: Clock, endpoint: string | null): Promise<Gathered> {
  const bare = await readBareVault(vault);
  const found = new Map([['vault', await foundIn(vault, null, clock)]]);
  const notes = [
    'written without a plan, from one vault alone: copies in other vaults are not on it',
    ...bare.warnings,
  ];
  const newest = [...(found.get('vault')?.values() ?? [])]
    .flatMap(({ manifest }) => (manifest ? [manifest] : []))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .at(-1);
  const plan = newest ? await planOf(vault, newest.plan.sha256, notes) : null;
  const [, bucket, prefix = ''] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(vault.url) ?? [];
  const [named, settings] = Object.entries(plan?.vaults ?? {}).find(([, one]) => addressOf(one) === vault.url) ?? [];
  const known = settings && 's3' in settings ? settings : null;
  return {
    plan: bare.plan ?? newest?.plan.name ?? 'unknown',
    key: plan ? keyOf(plan) : { saidToBe: null, recipients: [], secret: null },
    vaults: [
      {
        name: 'vault',
        url: vault.url,
        bucket:
          bucket === undefined
            ? null
            : known && plan
              ? bucketFacts({ ...known, endpoint: known.endpoint ?? endpoint ?? undefined }, plan)
              : { name: bucket, prefix, region: null, endpoint, deployed: null },
        problem: null,
      },
    ],
    found,
    sources: sourcesOf(plan, found),
    notes,
    archived: (_vault, manifest) => (plan && named ? archivedByPlan(plan, named, manifest) : null),
  };
}

/**
 * A page's facts. Each source is told from `inVault` where that holds a proven backup of it, else from the vault whose
 * proven one is the newest.
 */
export function factsFor(gathered: Gathered, inVault: string | null, writtenAt: Date): RunbookFacts {
  const notes = [...gathered.notes];
  const sources = gathered.sources.map(({ name, settings }): RunbookSource => {
    const byVault = gathered.vaults.flatMap((vault) => {
      const one = gathered.found.get(vault.name)?.get(name);
      return one ? [{ vault: vault.name, one }] : [];
    });
    const proven = byVault.flatMap(({ vault, one }) => (one.manifest ? [{ vault, one, manifest: one.manifest }] : []));
    const newestFirst = proven.toSorted((a, b) =>
      a.manifest.id === b.manifest.id ? 0 : a.manifest.id < b.manifest.id ? 1 : -1,
    );
    const chosen = proven.find(({ vault }) => vault === inVault) ?? newestFirst[0];
    const told = chosen ?? byVault.find(({ vault }) => vault === inVault) ?? byVault[0];
    const guide = chosen ? guideOf(chosen.manifest, notes) : null;
    return {
      source: name,
      address: settings ? addressOfSource(settings) : null,
      backup:
        chosen && guide
          ? {
              manifest: chosen.manifest,
              vault: chosen.vault,
              proven: chosen.one.seconds !== null,
              seconds: chosen.one.seconds,
              guide,
              archived: gathered.archived(chosen.vault, chosen.manifest),
            }
          : null,
      newer: told?.one.newer ?? [],
      copies: newestFirst.filter((one) => one !== chosen).map(({ vault, manifest }) => ({ vault, id: manifest.id })),
      afterRestore: (settings?.afterRestore ?? []).map((command) => redact(command, [])),
      problems: byVault.flatMap(({ vault, one }) => one.problems.map((problem) => `vault ${vault}: ${problem}`)),
    };
  });
  const { plan, key, vaults } = gathered;
  return { plan, writtenAt, inVault, key, vaults, sources, notes };
}

/** A fingerprint that this version cannot read costs the words around the script, not the script. */
function guideOf(manifest: Manifest, notes: string[]): EngineGuide {
  const { engine, source } = manifest;
  try {
    const guide = GUIDES[engine];
    if (guide) return guide(manifest);
    notes.push(`${source}: this version has no words for restores of ${engine}, only the script`);
  } catch (error) {
    if (!(error instanceof RecordInvalid)) throw error;
    notes.push(`${source}: ${error.message}`);
  }
  return {
    packages: [],
    beforeInstall: [],
    afterInstall: [],
    target: ['where to restore to; the first lines of the script say what it wants.'],
    exampleTarget: `"$PWD/${source}"`,
    makeTarget: null,
    look: null,
    expect: Object.entries(manifest.fingerprint.measures).map(([name, count]) => `${count} ${name}`),
    after: [],
    putInPlace: null,
    notCompared: [],
  };
}

async function foundIn(vault: Vault, plan: Plan | null, clock: Clock): Promise<Map<string, NewestProven>> {
  const names = await sourcesIn(vault);
  const found = new Map<string, NewestProven>();
  for (let at = 0; at < names.length; at += AT_ONCE) {
    const batch = names.slice(at, at + AT_ONCE);
    const results = await Promise.all(
      batch.map((name) => {
        const settings = plan?.sources[name];
        const span = settings ? objectivesOf(settings).rpoSeconds : DEFAULT_SPAN;
        return newestProven(vault, name, clock.now(), span, settings?.prove === 'never');
      }),
    );
    for (const [index, result] of results.entries()) found.set(batch[index] as string, result);
  }
  return found;
}

function sourcesOf(plan: Plan | null, found: Gathered['found']): Gathered['sources'] {
  const planned = Object.entries(plan?.sources ?? {});
  const known = new Set(planned.map(([name]) => name));
  const left = [...new Set([...found.values()].flatMap((one) => [...one.keys()]))].filter((name) => !known.has(name));
  return [
    ...planned.map(([name, settings]) => ({ name, settings })),
    ...left.sort().map((name) => ({ name, settings: null })),
  ];
}

/** As the vault keeps it; one that this version cannot read is said, not fatal. */
async function planOf(vault: Vault, sha256: string, notes: string[]): Promise<Plan | null> {
  const key = `plans/${sha256}.yaml`;
  try {
    return loadPlan(Buffer.from(await vault.get(key)).toString('utf8'), key).plan;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const why = error instanceof PlanInvalid ? 'this version cannot read it' : messageOf(error);
    notes.push(`the plan of the newest backup, ${key}, told nothing: ${why}`);
    return null;
  }
}

function keyOf(plan: Plan): RunbookKey {
  const { encryption, cloud } = plan;
  if (encryption === 'none') return { saidToBe: null, recipients: [], secret: null };
  const { identity, recipients } = encryption;
  const saidToBe = !identity
    ? null
    : 'file' in identity
      ? `the key file is ${inlineCode(identity.file)}, counted from the plan's own directory, on the machine that proves`
      : 'env' in identity
        ? `the key is in the environment variable ${inlineCode(identity.env)} of the machine that proves`
        : `the key is the secret ${inlineCode(identity.secret)}`;
  const runsThere = placesOfSources(plan).some(({ where }) => where === 'cloud');
  const secret =
    cloud && runsThere && identity && 'env' in identity
      ? { name: secretName(plan.name, identity.env), region: cloud.region }
      : null;
  return { saidToBe, recipients, secret };
}

function vaultFacts(
  name: string,
  url: string,
  settings: VaultSettings,
  plan: Plan,
  problem: string | null,
): RunbookVault {
  return { name, url, bucket: 's3' in settings ? bucketFacts(settings, plan) : null, problem };
}

function bucketFacts(settings: Extract<VaultSettings, { s3: string }>, { name, cloud }: Plan): RunbookBucket {
  const { s3, prefix = '', region = null, endpoint = null, existing, replica } = settings;
  if (!cloud || endpoint !== null) return { name: s3, prefix, region, endpoint, deployed: null };
  return {
    name: s3,
    prefix,
    region: region ?? cloud.region,
    endpoint,
    deployed: {
      restorer: restorerName(name),
      account: cloud.account ?? null,
      restorers: cloud.restorers ?? [],
      replica:
        replica?.region === undefined
          ? null
          : {
              bucket: replicaBucketName(settings),
              region: replica.region,
              account: replica.account ?? null,
              ofOwner: existing === true,
            },
    },
  };
}

function addressOf(settings: VaultSettings): string {
  if ('disk' in settings) return settings.disk;
  return `s3://${settings.s3}${settings.prefix === undefined ? '' : `/${settings.prefix}`}`;
}

/** `${NAME}`s as they stand; a password that was written out is not. */
function addressOfSource(settings: Source): string {
  const engine = engineOf(settings);
  const address =
    settings.postgres?.url ??
    settings.redis?.url ??
    settings.sqlite?.file ??
    settings.files?.paths.join(', ') ??
    settings.git?.repository ??
    engine;
  return redact(address, []);
}
