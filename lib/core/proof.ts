import * as z from 'zod';
import { RecordInvalid } from '#core/errors';
import { backupId, canonicalJson, compactTime, keyPart, sha256Hex } from '#core/manifest';
import type { Source } from '#core/plan';

/** The record of one restore test (DESIGN section 1). `unproven` is what a backup is while it has none that decides. */

export const PROOF_OUTCOMES = ['proven', 'disproven', 'inconclusive'] as const;
export type ProofOutcome = (typeof PROOF_OUTCOMES)[number];
export type ProofState = ProofOutcome | 'unproven';

const DIFFERENCES_KEPT = 50;

/** Whether each backup of a source is proven as soon as it is stored; else by times of its own, or never. */
export function provesAtOnce({ prove = 'always' }: Pick<Source, 'prove'>): boolean {
  return prove === 'always' || (typeof prove === 'object' && prove.cron === undefined);
}

const unsigned = z.strictObject({
  format: z.literal(1),
  source: keyPart,
  id: backupId,
  tier: keyPart,
  proof: keyPart,
  outcome: z.enum(PROOF_OUTCOMES),
  /** Why it is not proven; null when it is. */
  reason: z.string().nullable(),
  differences: z.array(z.string()),
  snapshotAt: z.iso.datetime(),
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime(),
  /** Wall time of unsealing, loading and comparing: what a restore of this backup takes on this machine. */
  seconds: z.number().min(0),
  host: z.string(),
  /** The vault whose bytes were tested. */
  vault: z.string(),
  manifest: z.string().regex(/^[0-9a-f]{64}$/),
});
const proofSchema = unsigned.extend({ sha256: z.string().regex(/^[0-9a-f]{64}$/) });

export type Proof = z.output<typeof proofSchema>;

/**
 * The outcome is part of the name, so that a listing tells which backups are proven without reading every record;
 * whoever acts on one backup reads its record.
 */
export function proofName(startedAt: Date, outcome: ProofOutcome, seed: string): string {
  return `${compactTime(startedAt)}-${sha256Hex(seed).slice(0, 4)}-${outcome}`;
}

/** Null when the name is none of ours. */
export function outcomeInName(name: string): ProofOutcome | null {
  const found = /^\d{8}T\d{6}Z-[0-9a-f]{4}-(proven|disproven|inconclusive)\.json$/.exec(name);
  return found ? (found[1] as ProofOutcome) : null;
}

export function proofKey(proof: { readonly source: string; readonly id: string; readonly proof: string }): string {
  return `proofs/${proof.source}/${proof.id}/${proof.proof}.json`;
}

export function signProof(proof: z.output<typeof unsigned>): Proof {
  const kept = { ...proof, differences: proof.differences.slice(0, DIFFERENCES_KEPT) };
  return { ...kept, sha256: sha256Hex(canonicalJson(kept)) };
}

/** @throws RecordInvalid not by the schema, edited, or in the place of another */
export function readProof(text: string, key: string): Proof {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new RecordInvalid(`${key} is not JSON`, {
      cause,
      hint: 'it does not count as a proof; prove the backup again',
    });
  }
  const parsed = proofSchema.safeParse(json);
  if (!parsed.success)
    throw new RecordInvalid(`${key} is not a proof: ${z.prettifyError(parsed.error).split('\n')[0]}`, {
      hint: 'it does not count; prove the backup again',
    });
  const { sha256, ...rest } = parsed.data;
  if (sha256Hex(canonicalJson(rest)) !== sha256 || proofKey(rest) !== key || !rest.proof.endsWith(`-${rest.outcome}`))
    throw new RecordInvalid(`${key} was edited or moved after it was written`, {
      hint: 'it does not count; prove the backup again, and see `holdfast ledger verify`',
    });
  return parsed.data;
}

/**
 * What all attempts at one backup say together. A disproof is never outvoted by an older or a later success: bytes do
 * not heal, and whoever looks must be told.
 */
export function stateOf(outcomes: readonly ProofOutcome[]): ProofState {
  if (outcomes.includes('disproven')) return 'disproven';
  if (outcomes.includes('proven')) return 'proven';
  return outcomes.includes('inconclusive') ? 'inconclusive' : 'unproven';
}
