import { compactTime, type Manifest, manifestKey, sha256Hex, signManifest } from '#core/manifest';
import { proofKey, proofName, signProof } from '#core/proof';
import { realClock } from '#test/contracts/run-context';
import type { MemoryVault } from '#test/vault/memory-vault';

/** Backups of a plan `many` that no job has made: manifests and proofs, as many as a page or a listing wants to see. */

const DAY = 86_400_000;
export const NOW = new Date('2026-11-21T12:00:00Z');
export const clock = { ...realClock, now: () => NOW };

export function backup(source: string, daysAgo: number, more: Partial<Manifest> = {}): Manifest {
  const at = new Date(NOW.getTime() - daysAgo * DAY);
  const time = at.toISOString();
  return signManifest({
    format: 1,
    plan: { name: 'many', sha256: sha256Hex('plan') },
    source,
    engine: 'files',
    identity: { paths: '/srv' },
    tools: {},
    id: `${compactTime(at)}-00aa`,
    kind: 'full',
    base: null,
    tier: 'daily',
    trigger: { by: 'manual', schedule: null, scheduledAt: null },
    snapshotAt: time,
    startedAt: time,
    finishedAt: time,
    host: 'h',
    reason: null,
    point: null,
    artifacts: [
      {
        name: 'tree.tar',
        volumes: [{ name: 'tree.tar.zst', bytes: 1, sha256: sha256Hex('') }],
        plain: { bytes: 1, sha256: null },
      },
    ],
    fingerprint: { digest: 'files1', measures: { files: 1 }, content: null, sha256: sha256Hex('') },
    probes: [],
    expires: null,
    after: null,
    encryption: { method: 'none', recipients: [] },
    lease: 1,
    ledgerHead: null,
    warnings: [],
    restore: { script: 'true\n' },
    ...more,
  });
}

/** @param of what its proof speaks of; itself unless told */
export async function store(
  vault: MemoryVault,
  manifest: Manifest,
  outcome: 'proven' | 'disproven' | null,
  of = manifest,
) {
  await vault.putOnce(manifestKey(manifest), Buffer.from(JSON.stringify(manifest)));
  if (!outcome) return;
  const proof = signProof({
    format: 1,
    source: manifest.source,
    id: manifest.id,
    tier: manifest.tier,
    proof: proofName(new Date(manifest.finishedAt), outcome, manifest.id),
    outcome,
    reason: null,
    differences: [],
    snapshotAt: manifest.snapshotAt,
    startedAt: manifest.startedAt,
    finishedAt: manifest.finishedAt,
    seconds: 42,
    host: 'h',
    vault: 'memory',
    manifest: of.sha256,
  });
  await vault.putOnce(proofKey(proof), Buffer.from(JSON.stringify(proof)));
}
