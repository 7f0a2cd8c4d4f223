import type { Plan, Tier, VaultSettings } from '#core/plan';
import { type PlanPath, type PlanProblem, shown, unknownName } from '#core/plan-problem';
import { EVERY_ALLOWED, isEvery } from '#core/schedule';
import { tiersOf } from '#core/tiers';

type S3Vault = Extract<VaultSettings, { s3: string }>;

const DAY = 86_400;
/** When an archive tier does not say `after:` (DESIGN section 4). */
const ARCHIVE_AFTER_SECONDS = 30 * DAY;

/** Seconds after which a backup of this tier needs a thaw to be read; null for classes that need none. */
export function archivedAfterSeconds(tier: Tier): number | null {
  if (tier.class !== 'archive' && tier.class !== 'deep-archive') return null;
  return tier.after?.seconds ?? ARCHIVE_AFTER_SECONDS;
}

/** The tiers whose backups land in a vault. */
function tiersIn(plan: Plan, vault: string): ReadonlyMap<string, Tier> {
  const schedules = Object.values(plan.sources).flatMap((source) => source.schedule);
  const names = schedules.filter(({ to }) => to.includes(vault)).flatMap(tiersOf);
  return new Map(
    names.filter((name) => Object.hasOwn(plan.tiers, name)).map((name) => [name, plan.tiers[name] as Tier]),
  );
}

export function* vaultProblems(plan: Plan): Iterable<PlanProblem> {
  const places = new Map<string, string>();
  for (const [name, vault] of Object.entries(plan.vaults)) {
    const path = ['vaults', name];
    const place =
      'disk' in vault ? plainPath(vault.disk) : `${vault.endpoint ?? ''} ${vault.s3} ${plainPath(vault.prefix ?? '')}`;
    const twin = places.get(place);
    if (twin !== undefined) yield { path, got: `the place of vault ${twin}`, want: 'a place of its own' };
    places.set(place, name);
    yield* replicaProblems(plan, name, vault, [...path, 'replica']);
    if ('s3' in vault) yield* s3Problems(plan, name, vault, path);
  }
}

/** `./v/` and `v` are one place. */
function plainPath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  return `${path.startsWith('/') ? '/' : ''}${parts.join('/')}`;
}

function* s3Problems(plan: Plan, name: string, vault: S3Vault, path: PlanPath): Iterable<PlanProblem> {
  if ((vault.accessKeyId === undefined) !== (vault.secretAccessKey === undefined)) {
    const [has, lacks] = vault.accessKeyId ? ['accessKeyId', 'secretAccessKey'] : ['secretAccessKey', 'accessKeyId'];
    yield {
      path: [...path, has as string],
      atKey: true,
      got: `${has} alone`,
      want: `${lacks} too, or neither of them`,
    };
  }
  if (vault.lockFor && !vault.lock) {
    yield { path: [...path, 'lockFor'], got: vault.lockFor.text, want: 'lock: governance or compliance beside it' };
  }
  if (!vault.lock) return;
  const tiers = [...tiersIn(plan, name)];
  const isKeptForever = ([, tier]: readonly [string, Tier]) => 'seconds' in tier.keep && tier.keep.seconds === Infinity;
  for (const [tier, { keep }] of tiers) {
    if (!('seconds' in keep)) continue;
    // A lock ends a day before its tier's promise does.
    if (keep.seconds <= DAY) {
      const got = `${vault.lock}, and tier ${tier} keeps ${keep.text}`;
      yield {
        path: [...path, 'lock'],
        got,
        want: `a tier that keeps longer than 1d, or a vault without a lock for it`,
      };
    } else if (vault.lockFor && vault.lockFor.seconds > keep.seconds && !tiers.some(isKeptForever)) {
      const got = `${vault.lockFor.text}, and tier ${tier} keeps ${keep.text}`;
      yield { path: [...path, 'lockFor'], got, want: `at most ${keep.text}: a lock may not outlast its tier` };
    }
  }
}

function* replicaProblems(plan: Plan, name: string, vault: VaultSettings, path: PlanPath): Iterable<PlanProblem> {
  const { replica } = vault;
  if (!replica) return;
  if (replica.vault === undefined) {
    if (!('s3' in vault) || (replica.region === undefined && replica.account === undefined)) {
      const want = 's3' in vault ? '{ region }, { account } or { vault }' : '{ vault: NAME }';
      yield { path, got: shown(path, replica), want };
    } else if (replica.account === undefined && replica.region === vault.region) {
      const at = [...path, 'region'];
      yield {
        path: at,
        got: shown(at, replica.region),
        want: 'another region than the vault’s own, or another account',
      };
    }
    return;
  }
  const at = [...path, 'vault'];
  if (replica.region !== undefined || replica.account !== undefined) {
    yield { path, got: 'vault beside region or account', want: 'one of them: the other vault says where it is' };
  }
  if (replica.vault === name) yield { path: at, got: 'the vault itself', want: 'another one' };
  yield* unknownName(at, replica.vault, plan.vaults, 'vault');
  const other = Object.hasOwn(plan.vaults, replica.vault) ? plan.vaults[replica.vault] : undefined;
  if (replica.vault !== name && other && 's3' in vault && 's3' in other && sameRegion(vault, other)) {
    yield { path: at, got: `${replica.vault}, in the same region ${vault.region}`, want: 'a vault in another region' };
  }
}

function sameRegion(a: S3Vault, b: S3Vault): boolean {
  // Other keys may mean another account, which is apart enough.
  return (
    a.region !== undefined && a.region === b.region && a.endpoint === b.endpoint && a.accessKeyId === b.accessKeyId
  );
}

export function* tierProblems(plan: Plan): Iterable<PlanProblem> {
  for (const [name, tier] of Object.entries(plan.tiers)) {
    const path = ['tiers', name];
    if (tier.every && !isEvery(tier.every)) {
      yield { path: [...path, 'every'], got: tier.every.text, want: EVERY_ALLOWED };
    }
    const archived = archivedAfterSeconds(tier);
    if (archived === null) {
      if (tier.after) {
        yield { path: [...path, 'after'], got: tier.after.text, want: 'class: archive or deep-archive beside it' };
      }
    } else if ('seconds' in tier.keep && tier.keep.seconds <= archived) {
      const got = `${tier.class} after ${tier.after?.text ?? '30d'} of a tier that keeps ${tier.keep.text}`;
      const want = `after: less than ${tier.keep.text}, or another class`;
      yield { path: [...path, 'class'], got, want };
    }
  }
}
