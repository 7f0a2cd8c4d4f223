import { HoldfastError, UsageError } from '#core/errors';
import type { Manifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import type { ProofState } from '#core/proof';
import { listBackups, sourcesIn } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { readVaultIdentity } from '#vault/identity';

export interface ListedLine {
  readonly source: string;
  readonly id: string;
  readonly kind: Manifest['kind'];
  readonly tier: string;
  readonly vault: string;
  readonly snapshotAt: string;
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly bytes: number;
  readonly proof: ProofState;
  readonly expires: string | null;
  /** What it holds, by the manifest: totals (`rows`, `keys`, `files`, `bytes`), and the largest tables and databases. */
  readonly measures: Readonly<Record<string, number>>;
}

export interface Listed {
  readonly backups: readonly ListedLine[];
  readonly warnings: readonly string[];
  /** A vault that could not be listed: what is shown is then not all there is (I14). Of several, the others are warnings. */
  readonly error: HoldfastError | null;
  /** How many vaults could be listed. */
  readonly vaults: number;
}

/** Backups past `expires` are hidden: their promise is over, and they may be half gone. */
export async function listed(
  ask: { readonly sources: readonly string[]; readonly since: Date | null; readonly from: string | null },
  environment: JobEnvironment,
): Promise<Listed> {
  const { plan } = environment.plan;
  const vaults = ask.from === null ? Object.keys(plan.vaults) : [ask.from];
  const backups: ListedLine[] = [];
  const warnings: string[] = [];
  const found = new Set(Object.keys(plan.sources));
  let error: HoldfastError | null = null;
  let reached = 0;
  for (const name of vaults) {
    try {
      const vault = environment.vault(name);
      await readVaultIdentity(vault, plan.name);
      const there = await sourcesIn(vault);
      for (const source of there) found.add(source);
      for (const source of ask.sources.length > 0 ? ask.sources.filter((one) => there.includes(one)) : there)
        await addLines(vault, source, ask.since, environment.run.clock.now(), backups, warnings);
      reached += 1;
    } catch (thrown) {
      if (!(thrown instanceof HoldfastError) || thrown instanceof UsageError) throw thrown;
      if (error) warnings.push(thrown.message);
      error ??= thrown;
    }
  }
  for (const source of ask.sources)
    if (!found.has(source) && !error)
      throw new UsageError(`no source "${source}" in the plan or its vaults, want one of ${[...found].join(', ')}`);
  backups.sort((a, b) =>
    a.snapshotAt < b.snapshotAt ? -1 : a.snapshotAt > b.snapshotAt ? 1 : a.vault < b.vault ? -1 : 1,
  );
  return { backups, warnings, error, vaults: reached };
}

async function addLines(
  vault: Vault,
  source: string,
  since: Date | null,
  now: Date,
  backups: ListedLine[],
  warnings: string[],
): Promise<void> {
  const listing = await listBackups(vault, source, since);
  warnings.push(...listing.warnings);
  for (const { manifest, proof } of listing.backups) {
    if (manifest.expires !== null && Date.parse(manifest.expires) < now.getTime()) continue;
    const { id, kind, tier, snapshotAt, startedAt, finishedAt, expires } = manifest;
    const bytes = manifest.artifacts.flatMap((one) => one.volumes).reduce((sum, volume) => sum + volume.bytes, 0);
    backups.push({
      source,
      id,
      kind,
      tier,
      vault: vault.name,
      snapshotAt,
      startedAt,
      finishedAt,
      bytes,
      proof,
      expires,
      measures: manifest.fingerprint.measures,
    });
  }
}
