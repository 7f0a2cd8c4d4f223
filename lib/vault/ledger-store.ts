import { KeyExists, KeyMissing, RecordInvalid, VaultRefused } from '#core/errors';
import {
  type LedgerEntry,
  type LedgerFields,
  type LedgerHead,
  ledgerFolder,
  ledgerKey,
  nextEntry,
  readEntry,
} from '#core/ledger';
import { canonicalJson, isoTime, sha256Hex } from '#core/manifest';
import type { Clock, Vault, VaultEntry } from '#core/ports';
import { getRecord } from '#vault/record';

/** Entries read ahead of the reader: a round trip to S3 is some 20 ms, an entry under a kilobyte. */
const READ_AHEAD = 16;
/** Somebody else's entry came first: more often than this in a row is not a race but a store that lies. */
const ATTEMPTS = 100;
/** Entries that others may have written between a look and the next one, with room to spare. */
const LOOKED_BACK = 32;

/**
 * Writes down what happened, as the next entry of the source's chain in this vault.
 * @throws VaultRefused the place of the next entry stays taken, however often it is read again
 */
export async function appendLedger(
  vault: Vault,
  source: string,
  fields: Omit<LedgerFields, 'at' | 'source' | 'vault'>,
  clock: Clock,
): Promise<LedgerEntry> {
  return (await append(vault, source, fields, null, clock)) as LedgerEntry;
}

/**
 * The same, unless one of the chain's newest entries says it already: of several that want to write one thing down at
 * the same moment, one does. What lies further back the caller has read before.
 * @returns null: it was said before
 * @throws VaultRefused as `appendLedger`
 */
export async function appendLedgerOnce(
  vault: Vault,
  source: string,
  fields: Omit<LedgerFields, 'at' | 'source' | 'vault'>,
  isSame: (entry: LedgerEntry) => boolean,
  clock: Clock,
): Promise<LedgerEntry | null> {
  return append(vault, source, fields, isSame, clock);
}

async function append(
  vault: Vault,
  source: string,
  fields: Omit<LedgerFields, 'at' | 'source' | 'vault'>,
  isSame: ((entry: LedgerEntry) => boolean) | null,
  clock: Clock,
): Promise<LedgerEntry | null> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const head = await ledgerHead(vault, source);
    // All up to the head are read, and the place after it is taken by one alone.
    if (isSame && head && (await isSaid(vault, source, head.seq, isSame))) return null;
    const entry = nextEntry(head, { ...fields, at: isoTime(clock.now()), source, vault: vault.name });
    const key = ledgerKey(source, entry.seq);
    const body = Buffer.from(`${canonicalJson(entry)}\n`);
    try {
      await vault.putOnce(key, body);
      return entry;
    } catch (error) {
      if (!(error instanceof KeyExists)) throw error;
      // A put that was repeated after its answer got lost meets itself.
      if (body.equals(await vault.get(key))) return entry;
    }
    await clock.sleep(Math.random() * Math.min(10 * (attempt + 1), 200));
  }
  throw new VaultRefused(
    `the ledger of ${source} in ${vault.name} could not be appended to: ${ATTEMPTS} times another entry was first`,
    { source, hint: `look at the newest keys below ${ledgerFolder(source)} in ${vault.url}` },
  );
}

async function isSaid(
  vault: Vault,
  source: string,
  newest: number,
  isSame: (entry: LedgerEntry) => boolean,
): Promise<boolean> {
  // What was damaged says nothing; `ledger verify` tells of it.
  const options = { after: Math.max(0, newest - LOOKED_BACK), onInvalid: () => undefined };
  for await (const entry of readLedger(vault, source, options)) if (isSame(entry)) return true;
  return false;
}

/**
 * Number and hash of the newest entry; null when there is none. An entry that was damaged does not stop what comes
 * after it from being written down: the chain goes on from the hash of what lies there, and `ledger verify` says so.
 */
export async function ledgerHead(vault: Vault, source: string): Promise<LedgerHead | null> {
  const seq = await vault.lastNumber(ledgerFolder(source));
  if (seq === null) return null;
  const key = ledgerKey(source, seq);
  let bytes: Uint8Array = new Uint8Array();
  try {
    bytes = await getRecord(vault, key);
    return { seq, sha256: readEntry(Buffer.from(bytes).toString('utf8'), key).sha256 };
  } catch (error) {
    // Where nothing can be read, from the hash of nothing.
    if (error instanceof RecordInvalid) return { seq, sha256: sha256Hex(bytes) };
    throw error;
  }
}

export interface ReadLedgerOptions {
  /** Begins with the entry after this one. */
  readonly after?: number;
  /** Takes what cannot be read as an entry, and reading goes on; without it, that is thrown. */
  readonly onInvalid?: (error: RecordInvalid) => void;
}

/**
 * A source's entries in order, in bounded memory.
 * @throws RecordInvalid an entry that was damaged, edited or moved, unless `onInvalid` takes it
 */
export async function* readLedger(
  vault: Vault,
  source: string,
  options: ReadLedgerOptions = {},
): AsyncGenerator<LedgerEntry> {
  const { after = 0, onInvalid } = options;
  const listing = vault.list(ledgerFolder(source), after > 0 ? { after: ledgerKey(source, after) } : {});
  const read = async ({ key }: VaultEntry): Promise<LedgerEntry | RecordInvalid> => {
    try {
      return readEntry(Buffer.from(await getRecord(vault, key)).toString('utf8'), key);
    } catch (error) {
      if (error instanceof RecordInvalid) return error;
      throw error;
    }
  };
  for await (const entry of readAhead(listing, read)) {
    if (!(entry instanceof RecordInvalid)) yield entry;
    else if (onInvalid) onInvalid(entry);
    else throw entry;
  }
}

/**
 * The number of an entry that lies before this moment, as near to it as few requests find: reading on `after` it misses
 * nothing from then on. Clocks of several machines write the entries; what they may differ by is the caller's to add.
 */
export async function entryBefore(vault: Vault, source: string, moment: Date): Promise<number> {
  const at = async (seq: number): Promise<Date | null> => {
    try {
      const key = ledgerKey(source, seq);
      return new Date(readEntry(Buffer.from(await getRecord(vault, key)).toString('utf8'), key).at);
    } catch (error) {
      // One that cannot be read tells no time: it is taken for a later one, and so is read again.
      if (error instanceof RecordInvalid || error instanceof KeyMissing) return null;
      throw error;
    }
  };
  let before = 0;
  let after = ((await vault.lastNumber(ledgerFolder(source))) ?? 0) + 1;
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    const time = await at(middle);
    if (time !== null && time < moment) before = middle;
    else after = middle;
  }
  return before;
}

async function* readAhead<T, R>(items: AsyncIterable<T>, read: (item: T) => Promise<R>): AsyncGenerator<R> {
  const pending: Promise<R>[] = [];
  for await (const item of items) {
    const reading = read(item);
    // Thrown when its turn comes, or never, when the reader has gone.
    reading.catch(() => undefined);
    pending.push(reading);
    if (pending.length >= READ_AHEAD) yield await (pending.shift() as Promise<R>);
  }
  for (const reading of pending) yield await reading;
}
