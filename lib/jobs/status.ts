import { HoldfastError } from '#core/errors';
import { isoTime, type Manifest } from '#core/manifest';
import { firstDueRun, judge, objectivesOf } from '#core/objectives';
import type { Source } from '#core/plan';
import type { Vault } from '#core/ports';
import { type ProofOutcome, type ProofState, stateOf } from '#core/proof';
import { manifestAt, outcomesOf, placesOf, proofAt } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { readVaultIdentity } from '#vault/identity';
import { readLedger } from '#vault/ledger-store';

export interface SourceStatus {
  readonly source: string;
  readonly healthy: boolean;
  readonly newestProven: { readonly id: string; readonly snapshotAt: string; readonly vault: string } | null;
  /** Since the source last equalled a proven backup. */
  readonly ageSeconds: number | null;
  readonly rpoSeconds: number;
  readonly rpoIsDefault: boolean;
  /** What the newest proof took: measured, not promised. */
  readonly restoreSeconds: number | null;
  readonly rtoSeconds: number | null;
  readonly unprovenByChoice: boolean;
  readonly problems: readonly string[];
  /** Worth saying, and no reason to be unhealthy. */
  readonly notes: readonly string[];
}

export interface VaultStatus {
  readonly name: string;
  readonly url: string;
  readonly reachable: boolean;
  readonly freeBytes: number | null;
  readonly problem: string | null;
}

export interface Status {
  readonly healthy: boolean;
  readonly sources: readonly SourceStatus[];
  readonly vaults: readonly VaultStatus[];
}

/**
 * How things stand, from the vaults alone. Reads from the newest backwards and stops at the first proven backup, so
 * that it stays quick over ten thousand backups: it never reads all manifests.
 */
export async function status(sources: readonly string[], environment: JobEnvironment): Promise<Status> {
  const { vaults, since } = await vaultStates(sources, environment);
  const lines: SourceStatus[] = [];
  for (const name of sources) lines.push(await sourceStatus(name, vaults, since, environment));
  return {
    healthy: lines.every((line) => line.healthy) && vaults.every((vault) => vault.problem === null),
    sources: lines,
    vaults,
  };
}

async function vaultStates(
  sources: readonly string[],
  environment: JobEnvironment,
): Promise<{ readonly vaults: VaultStatus[]; readonly since: Date }> {
  const { plan } = environment.plan;
  const used = new Set(sources.flatMap((name) => plan.sources[name]?.schedule.flatMap((one) => one.to) ?? []));
  const states: VaultStatus[] = [];
  let since = environment.run.clock.now();
  for (const name of used) {
    let url = '';
    try {
      const vault = environment.vault(name);
      url = vault.url;
      const { created } = await readVaultIdentity(vault, plan.name);
      if (new Date(created) < since) since = new Date(created);
      states.push({ name, url, reachable: true, freeBytes: await vault.free(), problem: null });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      states.push({ name, url, reachable: false, freeBytes: null, problem: error.message });
    }
  }
  return { vaults: states, since };
}

interface Found {
  readonly vault: string;
  readonly proven: { readonly id: string; readonly snapshotAt: Date; readonly seconds: number | null } | null;
  readonly newest: { readonly id: string; readonly proof: ProofState; readonly snapshotAt: Date } | null;
  readonly unchangedAt: Date | null;
}

async function sourceStatus(
  name: string,
  vaults: readonly VaultStatus[],
  /** Since when the plan is at work: nothing rings before its first due run. */
  since: Date,
  environment: JobEnvironment,
): Promise<SourceStatus> {
  const { plan } = environment.plan;
  const settings = plan.sources[name] as Source;
  const objectives = objectivesOf(settings);
  const names = [...new Set(settings.schedule.flatMap((one) => one.to))];
  const found: Found[] = [];
  const problems: string[] = [];
  for (const vault of vaults.filter((one) => one.reachable && names.includes(one.name))) {
    try {
      found.push(await newestIn(environment.vault(vault.name), name, settings, objectives.rpoSeconds, environment));
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      problems.push(`vault ${vault.name}: ${error.message}`);
    }
  }
  for (const vault of vaults.filter((one) => !one.reachable && names.includes(one.name)))
    problems.push(`vault ${vault.name} is not there: its copies are unknown`);
  const best = found
    .filter((one) => one.proven !== null)
    .sort((a, b) => (a.proven?.snapshotAt.getTime() ?? 0) - (b.proven?.snapshotAt.getTime() ?? 0))
    .at(-1);
  const newest = found
    .flatMap((one) => (one.newest ? [one.newest] : []))
    .sort((a, b) => a.snapshotAt.getTime() - b.snapshotAt.getTime())
    .at(-1);
  const unchangedAt = found
    .flatMap((one) => (one.unchangedAt ? [one.unchangedAt] : []))
    .sort((a, b) => a.getTime() - b.getTime());
  const judgement = judge(
    settings,
    {
      firstDue: firstDueRun(settings, plan.timezone, since),
      newestProven: best?.proven ?? null,
      unchangedAt: unchangedAt.at(-1) ?? null,
      newest: newest ?? null,
      reason: null,
      restoreSeconds: best?.proven?.seconds ?? null,
    },
    environment.run.clock.now(),
  );
  problems.push(...judgement.findings.filter((finding) => finding.rings).map((finding) => finding.message));
  // A whole copy elsewhere keeps the source healthy in age; the damaged one has to be told all the same.
  for (const one of found)
    if (one.newest && one.newest !== newest && one.newest.proof === 'disproven')
      problems.push(`vault ${one.vault}: its newest backup ${one.newest.id} is disproven`);
  return {
    source: name,
    healthy: problems.length === 0,
    newestProven:
      best?.proven && settings.prove !== 'never'
        ? { id: best.proven.id, snapshotAt: isoTime(best.proven.snapshotAt), vault: best.vault }
        : null,
    ageSeconds: judgement.ageSeconds === null ? null : Math.round(judgement.ageSeconds),
    rpoSeconds: objectives.rpoSeconds,
    rpoIsDefault: objectives.rpoIsDefault,
    restoreSeconds: best?.proven?.seconds ?? null,
    rtoSeconds: objectives.rtoSeconds !== null && Number.isFinite(objectives.rtoSeconds) ? objectives.rtoSeconds : null,
    unprovenByChoice: settings.prove === 'never',
    problems,
    notes: judgement.findings.filter((finding) => !finding.rings).map((finding) => finding.message),
  };
}

/** Windows that grow: nearly always the first one, twice the RPO, holds what is looked for. */
async function newestIn(
  vault: Vault,
  source: string,
  settings: Source,
  rpoSeconds: number,
  environment: JobEnvironment,
): Promise<Found> {
  const now = environment.run.clock.now().getTime();
  const first = Math.min(Math.max(2 * rpoSeconds, 86_400), 366 * 86_400);
  for (const window of [first, 16 * first, null]) {
    const since = window === null ? null : new Date(now - window * 1000);
    const places = await placesOf(vault, source, since);
    const outcomes = await outcomesOf(vault, source, since);
    const states = places.map((place) => ({ place, proofs: outcomes.get(place.id) ?? [] }));
    const proven = states.filter(({ proofs }) => counts(proofs, settings)).at(-1);
    const last = states.at(-1);
    if (!proven && window !== null) continue;
    if (!last) return { vault: vault.name, proven: null, newest: null, unchangedAt: null };
    const newest = {
      id: last.place.id,
      proof: stateOf(last.proofs.map((proof) => proof.outcome)),
      snapshotAt: new Date((await manifestAt(vault, last.place)).snapshotAt),
    };
    if (!proven) return { vault: vault.name, proven: null, newest, unchangedAt: null };
    const manifest = await manifestAt(vault, proven.place);
    const key = proven.proofs.filter((proof) => proof.outcome === 'proven').at(-1)?.key;
    const proof = key === undefined ? null : await proofAt(vault, key);
    return {
      vault: vault.name,
      proven: { id: manifest.id, snapshotAt: new Date(manifest.snapshotAt), seconds: proof?.seconds ?? null },
      newest: newest ?? null,
      unchangedAt: settings.files?.onChange ? await unchangedSince(vault, manifest) : null,
    };
  }
  throw new Error('the last window has no bound');
}

/** `prove: never` counts what is stored and compared; the word proven never appears for it. */
function counts(proofs: readonly { readonly outcome: ProofOutcome }[], settings: Source): boolean {
  const state = stateOf(proofs.map((proof) => proof.outcome));
  return state === 'proven' || (settings.prove === 'never' && state === 'unproven');
}

/** When a run last found the source equal to this very backup. */
async function unchangedSince(vault: Vault, { source, id, ledgerHead }: Manifest): Promise<Date | null> {
  let at: Date | null = null;
  for await (const entry of readLedger(vault, source, { after: ledgerHead?.seq ?? 0 }))
    if (entry.event === 'unchanged' && entry.id === id) at = new Date(entry.at);
  return at;
}
