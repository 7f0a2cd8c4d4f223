import { Readable } from 'node:stream';
import { Cancelled, CaptureIncomplete, KeyExists } from '#core/errors';
import { keepOptions } from '#core/keeping';
import {
  type Artifact,
  backupFolder,
  isoTime,
  MANIFEST_LIMIT,
  type Manifest,
  manifestKey,
  sha256Hex,
  signManifest,
} from '#core/manifest';
import type { LoadedPlan } from '#core/plan-load';
import { isWhole } from '#core/plan-value';
import type { ArtifactSource, Capture, CaptureResult, KeepOptions, RunContext, Vault } from '#core/ports';
import { restoreScript } from '#core/restore-script';
import { expiresAt } from '#core/tiers';
import type { JobEnvironment } from '#jobs/environment';
import type { Sealing } from '#vault/encryption';
import { seal, sealedName } from '#vault/seal';

/** A fingerprint longer than this is sealed as an artifact, so that the manifest stays under its limit. */
const FINGERPRINT_INLINE = 40 * 1024;
const FINGERPRINT_ARTIFACT = 'fingerprint.json';

export interface BackupPlan {
  readonly source: string;
  readonly engine: Manifest['engine'];
  readonly id: string;
  readonly tier: string;
  readonly trigger: Manifest['trigger'];
  readonly reason: string | null;
  readonly point: string | null;
  readonly startedAt: Date;
  readonly lease: number;
  readonly ledgerHead: Manifest['ledgerHead'];
  readonly warnings: readonly string[];
}

export interface StoredArtifacts {
  readonly artifacts: readonly Artifact[];
  readonly result: CaptureResult;
  readonly fingerprint: Manifest['fingerprint'];
}

/**
 * Reads every artifact of the capture through seal into the vault, then asks the capture for its evidence. What it
 * stored without a manifest is no backup; when it throws, that stays where it lies (I13).
 */
export async function storeArtifacts(
  capture: Capture,
  backup: Pick<BackupPlan, 'source' | 'tier' | 'id'>,
  plan: LoadedPlan,
  vault: Vault,
  sealing: Sealing,
  run: RunContext,
): Promise<StoredArtifacts> {
  const folder = backupFolder(backup);
  const artifacts: Artifact[] = [];
  const lacking = new Set<string>();
  const keep: KeepOptions = {
    ...keepOf(backup, capture, plan, vault, run),
    onLess: ({ what }) => lacking.add(what),
  };
  const store = async (artifact: ArtifactSource): Promise<void> => {
    artifacts.push(await storeArtifact(artifact, folder, vault, keep, sealing, run));
  };
  for (const artifact of capture.artifacts) await store(artifact);
  const result = await capture.finish();
  const text = JSON.stringify(result.fingerprint);
  const inline = text.length <= FINGERPRINT_INLINE;
  if (!inline) await store(textArtifact(FINGERPRINT_ARTIFACT, text));
  return {
    artifacts,
    result: { ...result, warnings: [...result.warnings, ...lacking] },
    fingerprint: {
      digest: result.digest,
      measures: { ...result.measures },
      content: inline ? JSON.parse(text) : null,
      sha256: sha256Hex(text),
    },
  };
}

/** What the plan asks of the vault for this backup's objects. */
function keepOf(
  { tier }: Pick<BackupPlan, 'tier'>,
  { snapshotAt }: Pick<Capture, 'snapshotAt'>,
  { plan }: LoadedPlan,
  vault: Vault,
  run: RunContext,
): KeepOptions {
  const settings = plan.tiers[tier];
  return keepOptions(plan, vault.name, tier, settings ? expiresAt(settings, snapshotAt) : null, run.clock.now());
}

async function storeArtifact(
  artifact: ArtifactSource,
  folder: string,
  vault: Vault,
  keep: KeepOptions,
  sealing: Sealing,
  run: RunContext,
): Promise<Artifact> {
  run.progress.stage(`storing ${artifact.name} in ${vault.name}`, null);
  const plain = await artifact.open();
  const sealed = seal(plain, sealing, run.processes, run.signal);
  // The sealed stream errors when a child fails, so that the store aborts; a store that fails ends the children.
  const storing = vault.store(folder, sealedName(artifact.name, sealing.method), sealed.bytes, {
    ...keep,
    signal: run.signal,
    onBytes: (bytes) => run.progress.advance(bytes),
  });
  storing.catch(() => sealed.stop());
  // Both to their ends: which of the two is told of the failure first is chance, which of them knows why is not.
  const [stored, counted] = await Promise.allSettled([storing, sealed.done]);
  if (counted.status === 'rejected' && !(counted.reason instanceof Cancelled)) throw counted.reason;
  if (stored.status === 'rejected') throw stored.reason;
  if (counted.status === 'rejected') throw counted.reason;
  return {
    name: artifact.name,
    volumes: [...stored.value],
    plain: { bytes: counted.value.plainBytes, sha256: null },
  };
}

/** The commit point (I1). The caller has confirmed its lease just before. */
export async function commitManifest(
  backup: BackupPlan,
  stored: StoredArtifacts,
  capture: Pick<Capture, 'identity' | 'tools' | 'snapshotAt'>,
  { plan, run, redact }: Pick<JobEnvironment, 'plan' | 'run' | 'redact'>,
  sealing: Sealing,
  vault: Vault,
): Promise<Manifest> {
  const tier = plan.plan.tiers[backup.tier];
  const expires = tier ? expiresAt(tier, capture.snapshotAt) : null;
  const manifest = signManifest({
    format: 1,
    plan: { name: plan.plan.name, sha256: plan.sha256 },
    source: backup.source,
    engine: backup.engine,
    identity: capture.identity,
    tools: { ...capture.tools },
    id: backup.id,
    kind: 'full',
    base: null,
    tier: backup.tier,
    trigger: backup.trigger,
    snapshotAt: isoTime(capture.snapshotAt),
    startedAt: isoTime(backup.startedAt),
    finishedAt: isoTime(run.clock.now()),
    host: run.host,
    reason: backup.reason,
    point: backup.point,
    artifacts: [...stored.artifacts],
    fingerprint: stored.fingerprint,
    probes: [...stored.result.probes],
    expires: expires ? isoTime(expires) : null,
    after: tier?.after && Number.isFinite(tier.after.seconds) ? tier.after.seconds : null,
    encryption: { method: sealing.method, recipients: [...sealing.fingerprints] },
    lease: backup.lease,
    ledgerHead: backup.ledgerHead,
    warnings: [...backup.warnings, ...stored.result.warnings].map(redact),
    restore: {
      script: restoreScript(
        { source: backup.source, tier: backup.tier, id: backup.id, engine: backup.engine, encryption: sealing },
        stored.artifacts,
        stored.result.restoreScript,
      ),
    },
  });
  const bytes = Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`);
  if (bytes.length > MANIFEST_LIMIT)
    throw new CaptureIncomplete(
      `the manifest of ${backup.source} would be ${bytes.length} bytes, the limit is ${MANIFEST_LIMIT}`,
      { source: backup.source, hint: 'shorten the probes: their answers are part of the manifest' },
    );
  await vault.putOnce(manifestKey(backup), bytes, keepOf(backup, capture, plan, vault, run));
  return manifest;
}

/** Secrets unresolved; the same plan is stored once. What is only a piece of it was stored by who cut it out. */
export async function storePlan(plan: LoadedPlan, vault: Vault): Promise<void> {
  if (!isWhole(plan)) return;
  try {
    await vault.putOnce(`plans/${plan.sha256}.yaml`, Buffer.from(plan.text));
  } catch (error) {
    if (!(error instanceof KeyExists)) throw error;
  }
}

function textArtifact(name: string, text: string): ArtifactSource {
  return {
    name,
    open: async () => ({ bytes: Readable.from([Buffer.from(text)]), whole: Promise.resolve() }),
  };
}
