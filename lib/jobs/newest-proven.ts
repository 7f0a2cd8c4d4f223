import { messageOf, RecordInvalid } from '#core/errors';
import type { Manifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { type ProofState, stateOf } from '#core/proof';
import { type BackupPlace, manifestAt, outcomesOf, placesAsMade, proofAt } from '#jobs/catalog';

const DAY = 86_400;

export interface NewestProven {
  /** Null when none is. */
  readonly manifest: Manifest | null;
  /** What its newest proof took; null when none proves it (`unprovenToo`). */
  readonly seconds: number | null;
  /** Newer ones, and why they do not count, oldest first. */
  readonly newer: readonly { readonly id: string; readonly proof: ProofState }[];
  /** Records that were passed over, in words. */
  readonly problems: readonly string[];
}

/**
 * The newest backup of a source that a record proves, of these very bytes. Reads from the newest backwards and stops at
 * the first, in windows that grow, so that a long history costs nothing.
 * @param spanSeconds how far back it ought to be found
 * @param unprovenToo also one that nobody tried to prove (`prove: never`)
 */
export async function newestProven(
  vault: Vault,
  source: string,
  now: Date,
  spanSeconds: number,
  unprovenToo: boolean,
): Promise<NewestProven> {
  const first = Math.min(Math.max(2 * spanSeconds, DAY), 366 * DAY);
  for (const window of [first, 16 * first]) {
    const found = await newestSince(vault, source, now, new Date(now.getTime() - window * 1000), unprovenToo);
    if (found.manifest) return found;
  }
  return newestSince(vault, source, now, null, unprovenToo);
}

async function newestSince(
  vault: Vault,
  source: string,
  now: Date,
  since: Date | null,
  unprovenToo: boolean,
): Promise<NewestProven> {
  const places = await placesAsMade(vault, source, now, since);
  const outcomes = await outcomesOf(vault, source, since);
  const newer: { id: string; proof: ProofState }[] = [];
  const problems: string[] = [];
  for (const place of places.toReversed()) {
    const proofs = outcomes.get(place.id) ?? [];
    const state = stateOf(proofs.map(({ outcome }) => outcome));
    if (state === 'proven' || (unprovenToo && state === 'unproven')) {
      const keys = proofs.filter(({ outcome }) => outcome === 'proven').map(({ key }) => key);
      const read = await recordsOf(vault, place, keys);
      if (typeof read !== 'string') return { ...read, newer: newer.reverse(), problems };
      problems.push(read);
    }
    newer.push({ id: place.id, proof: state === 'proven' ? 'unproven' : state });
  }
  return { manifest: null, seconds: null, newer: newer.reverse(), problems };
}

/** A name says `proven`; only a record that says so of this very manifest counts. Else why not, in words. */
async function recordsOf(
  vault: Vault,
  place: BackupPlace,
  proofs: readonly string[],
): Promise<{ readonly manifest: Manifest; readonly seconds: number | null } | string> {
  try {
    const manifest = await manifestAt(vault, place);
    for (const key of proofs.toReversed()) {
      const proof = await proofAt(vault, key);
      if (proof.manifest === manifest.sha256) return { manifest, seconds: proof.seconds };
    }
    return proofs.length === 0
      ? { manifest, seconds: null }
      : `${place.id} has proofs of another manifest: they do not count`;
  } catch (error) {
    if (error instanceof RecordInvalid) return messageOf(error);
    throw error;
  }
}
