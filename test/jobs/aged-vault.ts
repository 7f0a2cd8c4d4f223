import { backupFolder, isoTime, type Manifest, manifestKey, sha256Hex, signManifest } from '#core/manifest';
import type { Tier } from '#core/plan';
import type { Vault } from '#core/ports';
import { type ProofOutcome, proofKey, proofName, signProof } from '#core/proof';
import { expiresAt } from '#core/tiers';
import { appendLedger } from '#vault/ledger-store';

/** A backup as a run of that day would have left it: records as the jobs write them, artifacts of a few bytes. */
export interface Aged {
  /** `2026-11-21T02:00:00Z` */
  readonly at: string | Date;
  readonly tier: string;
  /** What the plan said when it was made; null = it promised no end. */
  readonly keep: Tier['keep'] | null;
  /** Null = nobody tried. */
  readonly proof?: ProofOutcome | null;
  readonly kind?: Manifest['kind'];
  readonly base?: string | null;
  readonly rows?: number;
  readonly identity?: Manifest['identity'];
  readonly point?: string;
  readonly plan?: Manifest['plan'];
  /** Four hex digits at the end of its id. */
  readonly suffix?: string;
  /** Bytes stored, when it matters how many. */
  readonly bytes?: number;
}

export function idAt(at: string | Date, suffix = '0000'): string {
  return `${new Date(at).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z-${suffix}`;
}

/** Writes it as its run would: artifact, manifest, ledger entry, proof. */
export async function addAged(vault: Vault, source: string, aged: Aged): Promise<Manifest> {
  const manifest = agedManifest(source, aged);
  const body = bodyOf(aged);
  await vault.putOnce(`${backupFolder(manifest)}/snapshot.db.zst`, body);
  await vault.putOnce(manifestKey(manifest), Buffer.from(JSON.stringify(manifest)));
  const clock = { now: () => new Date(aged.at), sleep: async () => undefined };
  const entry = { id: manifest.id, manifest: manifest.sha256, host: 'old' };
  await appendLedger(
    vault,
    source,
    { event: 'backup', ...entry, details: { tier: aged.tier, bytes: body.length, snapshotAt: manifest.snapshotAt } },
    clock,
  );
  const outcome = aged.proof === undefined ? 'proven' : aged.proof;
  if (outcome === null) return manifest;
  const proof = agedProof(manifest, outcome, vault.name);
  await vault.putOnce(proofKey(proof), Buffer.from(JSON.stringify(proof)));
  const details = { proof: proof.proof, sha256: proof.sha256, outcome, reason: null, testedIn: vault.name, seconds: 1 };
  await appendLedger(vault, source, { event: 'proof', ...entry, details }, clock);
  return manifest;
}

function bodyOf({ at, suffix, bytes }: Aged): Buffer {
  const words = `bytes of ${idAt(at, suffix)}`;
  return bytes === undefined ? Buffer.from(words) : Buffer.alloc(bytes, words);
}

export function agedManifest(source: string, aged: Aged): Manifest {
  const at = new Date(aged.at);
  const expires = aged.keep === null ? null : expiresAt({ keep: aged.keep }, at);
  const bytes = bodyOf(aged);
  return signManifest({
    format: 1,
    plan: aged.plan ?? { name: 'aged', sha256: sha256Hex('aged') },
    source,
    engine: 'sqlite',
    identity: aged.identity ?? { path: '/srv/app.db' },
    tools: {},
    id: idAt(at, aged.suffix),
    kind: aged.kind ?? 'full',
    base: aged.base ?? null,
    tier: aged.tier,
    trigger: { by: 'schedule', schedule: '0 2 * * *', scheduledAt: isoTime(at) },
    snapshotAt: isoTime(at),
    startedAt: isoTime(at),
    finishedAt: isoTime(at),
    host: 'old',
    reason: null,
    point: aged.point ?? null,
    artifacts: [
      {
        name: 'snapshot.db',
        volumes: [{ name: 'snapshot.db.zst', bytes: bytes.length, sha256: sha256Hex(bytes) }],
        plain: { bytes: bytes.length, sha256: null },
      },
    ],
    fingerprint: {
      digest: 'sqlite1',
      measures: { rows: aged.rows ?? 1000, bytes: 1_000_000 },
      content: {},
      sha256: sha256Hex('{}'),
    },
    probes: [],
    expires: expires && isoTime(expires),
    after: null,
    encryption: { method: 'none', recipients: [] },
    lease: 1,
    ledgerHead: null,
    warnings: [],
    restore: { script: 'exit 1' },
  });
}

export function agedProof(manifest: Manifest, outcome: ProofOutcome, vault: string) {
  const at = new Date(manifest.snapshotAt);
  return signProof({
    format: 1,
    source: manifest.source,
    id: manifest.id,
    tier: manifest.tier,
    proof: proofName(at, outcome, manifest.id),
    outcome,
    reason: outcome === 'proven' ? null : 'as the test says',
    differences: [],
    snapshotAt: manifest.snapshotAt,
    startedAt: manifest.snapshotAt,
    finishedAt: manifest.snapshotAt,
    seconds: 1,
    host: 'old',
    vault,
    manifest: manifest.sha256,
  });
}
