import type { LedgerEntry } from '#core/ledger';
import { type Manifest, manifestKey, signManifest } from '#core/manifest';
import type { Schedule, Source } from '#core/plan';
import type { Vault } from '#core/ports';
import { type Proof, proofKey, proofName, signProof } from '#core/proof';
import { timingText } from '#core/schedule';
import { expiresAt } from '#core/tiers';
import { backup } from '#jobs/backup';
import type { BackupRun } from '#jobs/backup-run';
import { manifestAt, placesOf } from '#jobs/catalog';
import type { SimulatedWorld } from '#test/examples/simulated-world';
import type { YearRun } from '#test/examples/year';
import { appendLedger } from '#vault/ledger-store';

/** A backup some real job has made, to make others like it. */
export interface Sample {
  readonly manifest: Manifest;
  readonly volumes: readonly { readonly name: string; readonly body: Uint8Array }[];
}

/** The real job, as the schedule would call it at this time: capture, seal, store, prove. */
export async function realRun(run: YearRun, world: SimulatedWorld): Promise<BackupRun> {
  world.clock.set(run.at);
  const trigger = { by: 'schedule', schedule: run.schedule, scheduledAt: run.at } as const;
  return backup({ source: run.source, tier: null, point: null, reason: null, trigger }, world.environment);
}

export async function sampleOf(run: BackupRun, world: SimulatedWorld): Promise<Sample> {
  const { source, tier, id, vaults } = run;
  if (tier === null || id === null) throw new Error(`nothing was stored: ${run.error?.message}`);
  const vault = world.vault(vaults[0] as string);
  const manifest = await manifestAt(vault, { source, tier, id });
  const folder = `backups/${source}/${tier}/${id}`;
  const names = manifest.artifacts.flatMap((artifact) => artifact.volumes.map((volume) => volume.name));
  const volumes = await Promise.all(names.map(async (name) => ({ name, body: await vault.get(`${folder}/${name}`) })));
  return { manifest, volumes };
}

/**
 * Stores what a run would have: the sample's bytes under another id, with a manifest and a proof of their own, through
 * the vault. Nothing is captured or restored.
 * @param inLedger writes the entries of the run and its proof too: what `watch` goes by
 */
export async function storeLike(
  sample: Sample,
  run: YearRun,
  lease: number,
  world: SimulatedWorld,
  inLedger = false,
): Promise<void> {
  world.clock.set(run.at);
  const { manifest, proof } = recordsOf(sample.manifest, run, lease, world);
  for (const name of run.vaults) {
    const vault = world.vault(name);
    for (const volume of sample.volumes)
      await vault.putOnce(manifestKey(manifest).replace(/manifest\.json$/, volume.name), volume.body);
    await vault.putOnce(manifestKey(manifest), Buffer.from(JSON.stringify(manifest)));
    if (proof) await vault.putOnce(proofKey(proof), Buffer.from(JSON.stringify(proof)));
    if (inLedger) await tell(run, manifest, proof, vault, world);
  }
}

async function tell(
  { source, schedule, at, tier, id, vaults: [home] }: YearRun,
  manifest: Manifest,
  proof: Proof | null,
  vault: Vault,
  world: SimulatedWorld,
): Promise<void> {
  const bytes = manifest.artifacts.flatMap(({ volumes }) => volumes).reduce((sum, one) => sum + one.bytes, 0);
  const { clock, host } = world.environment.run;
  const common = { id, manifest: manifest.sha256, host };
  const details: LedgerEntry['details'] =
    vault.name === home
      ? {
          tier,
          bytes,
          snapshotAt: manifest.snapshotAt,
          seconds: 1,
          trigger: 'schedule',
          schedule,
          scheduledAt: at.toISOString(),
        }
      : { vault: home as string, tier, bytes };
  const event = vault.name === home ? 'backup' : 'copied-from';
  await appendLedger(vault, source, { ...common, event, details }, clock);
  if (!proof) return;
  const { proof: name, sha256, outcome, reason, vault: testedIn, seconds } = proof;
  const told = { proof: name, sha256, outcome, reason, testedIn, seconds };
  await appendLedger(vault, source, { ...common, event: 'proof', details: told }, clock);
}

/** What a run on change writes down that found nothing changed. */
export async function noteUnchanged(source: string, at: Date, world: SimulatedWorld): Promise<void> {
  world.clock.set(at);
  const { schedule } = world.plan.sources[source] as Source;
  const home = world.vault(schedule[0]?.to[0] as string);
  const newest = (await placesOf(home, source)).at(-1);
  const trigger = { trigger: 'schedule', schedule: timingText(schedule[0] as Schedule), scheduledAt: at.toISOString() };
  const entry = { event: 'unchanged', id: newest?.id ?? null, manifest: null, host: 'the-year' } as const;
  await appendLedger(home, source, { ...entry, details: { at: at.toISOString(), ...trigger } }, world.clock);
}

function recordsOf(
  like: Manifest,
  run: YearRun,
  lease: number,
  { plan }: SimulatedWorld,
): { readonly manifest: Manifest; readonly proof: Proof | null } {
  const { sha256: _own, ...unsigned } = like;
  const tier = plan.tiers[run.tier];
  const at = run.at.toISOString();
  const { tier: likeTier, id: likeId } = like;
  const manifest = signManifest({
    ...unsigned,
    id: run.id,
    tier: run.tier,
    trigger: { by: 'schedule', schedule: run.schedule, scheduledAt: at },
    snapshotAt: at,
    startedAt: at,
    finishedAt: at,
    expires: (tier && expiresAt(tier, run.at)?.toISOString()) ?? null,
    lease,
    ledgerHead: null,
    restore: { script: like.restore.script.replaceAll(`${likeTier}/${likeId}`, `${run.tier}/${run.id}`) },
  });
  if (run.proof === 'unproven') return { manifest, proof: null };
  const proof = signProof({
    format: 1,
    source: run.source,
    id: run.id,
    tier: run.tier,
    proof: proofName(run.at, run.proof, `${run.source}|${run.id}`),
    outcome: run.proof,
    reason: run.proof === 'proven' ? null : 'the program that would load it is gone',
    differences: [],
    snapshotAt: at,
    startedAt: at,
    finishedAt: at,
    seconds: 1,
    host: manifest.host,
    vault: run.vaults[0] as string,
    manifest: manifest.sha256,
  });
  return { manifest, proof };
}
