import * as z from 'zod';
import { RecordInvalid } from '#core/errors';
import { canonicalJson, keyPart, matchesOwnHash, sha256Hex } from '#core/manifest';

/**
 * The ledger's entries and the chain they make (I15). One chain per vault and source, from 1 without gaps; each entry
 * carries its own hash and that of the one before. Evident, not impossible: who can rewrite the whole vault can
 * rewrite the chain, but not the head that manifests and messages carry elsewhere.
 */

export const LEDGER_EVENTS = [
  'backup',
  'failed',
  'unchanged',
  'proof',
  'restore',
  'copied-from',
  'retained',
  'hold',
  'release',
  'pause',
  'resume',
  'ack',
  'alert-opened',
  'alert-repeated',
  'alert-closed',
  'adopted',
  'drill',
] as const;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const unsigned = z.strictObject({
  format: z.literal(1),
  seq: z.int().min(1).max(9_999_999_999),
  at: z.iso.datetime(),
  source: keyPart,
  /** The vault's name in the plan of whoever wrote the entry. */
  vault: z.string(),
  event: z.enum(LEDGER_EVENTS),
  /** The backup it is about. */
  id: z.string().nullable(),
  host: z.string(),
  /** Hash of that backup's manifest. */
  manifest: sha256.nullable(),
  /** What else there is to say, by event. Never a secret. */
  details: z.record(z.string(), z.json()),
  /** Of the entry before; null for the first. */
  previous: sha256.nullable(),
});
const entrySchema = unsigned.extend({
  /** Of the canonical JSON of everything else. */
  sha256,
});

export type LedgerEntry = z.output<typeof entrySchema>;
export type LedgerFields = Pick<
  LedgerEntry,
  'at' | 'source' | 'vault' | 'event' | 'id' | 'host' | 'manifest' | 'details'
>;

/** Where a chain ends: enough to notice later that its tail was cut off or rewritten. */
export interface LedgerHead {
  readonly seq: number;
  readonly sha256: string;
}

export function ledgerFolder(source: string): string {
  return `ledger/${source}/`;
}

/** `ledger/events/0000000042.json` */
export function ledgerKey(source: string, seq: number): string {
  return `${ledgerFolder(source)}${String(seq).padStart(10, '0')}.json`;
}

/** The entry that follows `previous`, or the first. */
export function nextEntry(previous: LedgerHead | null, fields: LedgerFields): LedgerEntry {
  const entry = unsigned.parse({
    ...fields,
    format: 1,
    seq: (previous?.seq ?? 0) + 1,
    previous: previous?.sha256 ?? null,
  });
  return { ...entry, sha256: sha256Hex(canonicalJson(entry)) };
}

/**
 * Reads an entry back from where it lay.
 * @throws RecordInvalid not JSON, of a newer format, not by the schema, edited, or in the place of another
 */
export function readEntry(text: string, key: string): LedgerEntry {
  const hint = 'compare another copy of the vault; `holdfast ledger verify` tells what else changed';
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new RecordInvalid(`${key} is not JSON: it was damaged or edited`, { cause, hint });
  }
  const format = (json as { format?: unknown } | null)?.format;
  if (typeof format === 'number' && format > 1)
    throw new RecordInvalid(`${key} has format ${format}, this Holdfast reads format 1`, {
      hint: 'use a newer Holdfast',
    });
  const parsed = entrySchema.safeParse(json);
  if (!parsed.success)
    throw new RecordInvalid(`${key} is not a ledger entry: ${z.prettifyError(parsed.error).split('\n')[0]}`, {
      hint: matchesOwnHash(json) ? 'nobody edited it: a newer Holdfast wrote it, use that one' : hint,
    });
  if (hashOf(parsed.data) !== parsed.data.sha256)
    throw new RecordInvalid(`${key} does not match its own hash: it was edited after it was written`, { hint });
  const expected = ledgerKey(parsed.data.source, parsed.data.seq);
  if (expected !== key) throw new RecordInvalid(`${key} is the entry of ${expected}: it was moved`, { hint });
  return parsed.data;
}

/**
 * What is wrong with a chain, in words; empty = nothing.
 * @param entries all of them, from the first, in the order in which they were found
 * @param options.head a head carried outside the ledger (a manifest, a message): the chain must still reach it
 */
export function verifyChain(
  entries: Iterable<LedgerEntry>,
  options: { readonly source?: string; readonly head?: LedgerHead | null } = {},
): readonly string[] {
  const { head = null } = options;
  const findings: string[] = [];
  let previous: LedgerHead = { seq: 0, sha256: '' };
  let source = options.source;
  let headSeen = head === null || head.seq === 0;
  for (const entry of entries) {
    source ??= entry.source;
    if (entry.source !== source) findings.push(`entry ${entry.seq} is of source ${entry.source}, not of ${source}`);
    if (hashOf(entry) !== entry.sha256) findings.push(`entry ${entry.seq} was edited: it does not match its own hash`);
    if (entry.seq <= previous.seq)
      findings.push(`entry ${entry.seq} stands after entry ${previous.seq}: it is there twice or out of order`);
    else if (entry.seq > previous.seq + 1)
      findings.push(`${missing(previous.seq + 1, entry.seq - 1)}: the chain has a gap`);
    else if (entry.previous !== (previous.seq === 0 ? null : previous.sha256))
      findings.push(
        `entry ${entry.seq} does not follow from entry ${previous.seq}: one of them was replaced after it was written`,
      );
    if (head && entry.seq === head.seq) {
      headSeen = true;
      if (entry.sha256 !== head.sha256)
        findings.push(`entry ${entry.seq} is not the one that a manifest recorded as the ledger's head`);
    }
    previous = { seq: entry.seq, sha256: entry.sha256 };
  }
  if (!headSeen && head)
    findings.push(
      head.seq > previous.seq
        ? `the tail is cut off: the ledger ends at entry ${previous.seq}, a manifest recorded entry ${head.seq}`
        : `entry ${head.seq}, which a manifest recorded as the ledger's head, is missing`,
    );
  return findings;
}

function hashOf(entry: LedgerEntry): string {
  const { sha256: _own, ...rest } = entry;
  return sha256Hex(canonicalJson(rest));
}

function missing(first: number, last: number): string {
  return first === last ? `entry ${first} is missing` : `entries ${first} to ${last} are missing`;
}
