import { KeyMissing, messageOf, RecordInvalid } from '#core/errors';
import { type LedgerEntry, verifyChain } from '#core/ledger';
import type { Manifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { proofKey } from '#core/proof';
import { collect, manifestAt, outcomesOf, placesOf, proofAt } from '#jobs/catalog';
import { readLedger } from '#vault/ledger-store';

export interface LedgerReport {
  readonly source: string;
  readonly vault: string;
  readonly entries: number;
  readonly head: { readonly seq: number; readonly sha256: string } | null;
  /** Empty = the chain is whole and agrees with every manifest and proof. */
  readonly findings: readonly string[];
}

/**
 * I15: the chain itself, then each manifest and proof against its entry, then the tail against the head that the
 * manifests carry. Evident, not impossible: who can rewrite the whole vault can rewrite the ledger with it.
 */
export async function verifyLedger(vault: Vault, source: string): Promise<LedgerReport> {
  const findings: string[] = [];
  const manifests: Manifest[] = [];
  for (const place of await placesOf(vault, source)) {
    const manifest = await readOr(findings, () => manifestAt(vault, place));
    if (manifest) manifests.push(manifest);
  }
  const onInvalid = (error: RecordInvalid): void => {
    findings.push(error.message);
  };
  const entries: readonly LedgerEntry[] = await collect(readLedger(vault, source, { onInvalid }));
  const heads = manifests.flatMap((manifest) =>
    manifest.ledgerHead ? [{ id: manifest.id, ...manifest.ledgerHead }] : [],
  );
  const ours = new Set(entries.filter((entry) => entry.event === 'backup').map((entry) => entry.id));
  // A copy carries the head of the chain it was made under, which is another vault's.
  const head =
    heads
      .filter((one) => ours.has(one.id))
      .sort((a, b) => a.seq - b.seq)
      .at(-1) ?? null;
  findings.push(...verifyChain(entries, { source, head }));

  const told = new Map(entries.filter((entry) => entry.manifest !== null).map((entry) => [entry.id, entry.manifest]));
  for (const manifest of manifests) {
    const recorded = told.get(manifest.id);
    if (recorded === undefined)
      findings.push(
        `backup ${manifest.id} has no ledger entry: the run ended right after its commit, or the entry was removed`,
      );
    else if (recorded !== manifest.sha256)
      findings.push(`the manifest of ${manifest.id} is not the one the ledger recorded`);
  }
  // An entry with a proof's name tells of that proof: its backup has one of its own.
  const stored = entries.filter((entry) => entry.event === 'backup' || entry.event === 'copied-from');
  for (const one of stored.filter((entry) => entry.details['proof'] === undefined))
    if (
      !manifests.some((manifest) => manifest.id === one.id) &&
      !entries.some((entry) => entry.event === 'retained' && entry.id === one.id)
    )
      findings.push(`backup ${one.id} is in the ledger (entry ${one.seq}), its manifest is gone`);

  const proofHashes = new Map(
    entries
      .filter((entry) => entry.event === 'proof' || entry.event === 'copied-from')
      .map((entry) => [`${entry.id}/${String(entry.details['proof'])}`, entry.details['sha256']]),
  );
  const outcomes = await outcomesOf(vault, source);
  for (const [id, records] of outcomes) {
    for (const { key } of records) {
      const proof = await readOr(findings, () => proofAt(vault, key));
      if (!proof) continue;
      const recorded = proofHashes.get(`${id}/${proof.proof}`);
      if (recorded === undefined) findings.push(`proof ${key} has no ledger entry`);
      else if (recorded !== proof.sha256) findings.push(`proof ${key} is not the one the ledger recorded`);
    }
  }
  findings.push(...proofsGone(entries, outcomes));
  const last = entries.at(-1);
  return {
    source,
    vault: vault.name,
    entries: entries.length,
    head: last ? { seq: last.seq, sha256: last.sha256 } : null,
    findings,
  };
}

/** Proofs end with their backups, and with nothing else. */
function* proofsGone(
  entries: readonly LedgerEntry[],
  present: ReadonlyMap<string, readonly { readonly key: string }[]>,
): Iterable<string> {
  const retained = new Set(entries.flatMap(({ event, id }) => (event === 'retained' && id !== null ? [id] : [])));
  const keys = new Set([...present.values()].flatMap((records) => records.map(({ key }) => key)));
  for (const { event, id, seq, source, details } of entries) {
    if (event !== 'proof' || id === null || retained.has(id) || typeof details['proof'] !== 'string') continue;
    if (!keys.has(proofKey({ source, id, proof: details['proof'] })))
      yield `the proof of ${id} that the ledger tells of (entry ${seq}, ${details['proof']}) is gone`;
  }
}

async function readOr<T>(findings: string[], read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof RecordInvalid) && !(error instanceof KeyMissing)) throw error;
    findings.push(messageOf(error));
    return null;
  }
}
