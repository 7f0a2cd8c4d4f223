import type { Difference, RunContext } from '#core/ports';
import { type ByteString, byteString, shown } from '#engines/files/byte-string';
import { rootsOf } from '#engines/files/roots';
import type { Selection } from '#engines/files/selection';
import type { TarEntry } from '#engines/files/tar-header';
import { type IndexEntry, readIndex } from '#engines/files/tree-index';
import { readTree } from '#engines/files/tree-reading';
import { Walk } from '#engines/files/walk';

/** Differences told; the rest is counted. */
const TOLD = 20;
const BATCH = 512;

/**
 * Compares an unpacked tree with the index: each member's kind, mode, owner (as root), time, size, sha256 and link
 * target, and that nothing more is there. The copy is read as the source was, by tar and hashed on the way.
 * @param folder absolute
 */
export async function compareTree(
  folder: string,
  indexPath: string,
  selection: Selection | null,
  run: RunContext,
): Promise<readonly Difference[]> {
  const differences = new Differences();
  const base = byteString(folder);
  let expected = 0;
  const owners = process.geteuid?.() === 0;

  function* batches(): Generator<readonly IndexEntry[]> {
    let batch: IndexEntry[] = [];
    let ordinal = 0;
    for (const entry of readIndex(indexPath)) {
      if (selection?.needs(ordinal++) ?? true) {
        batch.push(entry);
        if (entry.path !== '.') expected++;
      }
      if (batch.length < BATCH) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  }

  const reading = readTree<IndexEntry>(run, base, batches(), {
    entry: (entry, sha256, item) => compareEntry(item, entry, sha256, owners, differences),
    vanished: (item) => differences.add(`${shown(item.path)}: missing`),
  });
  for await (const _ of reading.bytes);
  for (const path of reading.words().changed) differences.add(`${shown(path)}: written to while it was compared`);

  const found = await countBelow(base);
  if (found > expected || (found !== expected && differences.count === 0))
    await tellExtra(base, indexPath, selection, differences);
  return differences.all();
}

function compareEntry(
  expected: IndexEntry,
  found: TarEntry,
  sha256: string | null,
  owners: boolean,
  differences: Differences,
): void {
  const differ = (what: string, was: string | number | null, is: string | number | null): void =>
    differences.add(`${shown(expected.path)}: ${what} ${was}, restored ${is}`);
  if (expected.kind !== found.kind) {
    differ('is a', WORDS[expected.kind], `as a ${WORDS[found.kind]}`);
    return;
  }
  if (expected.kind === 'file' && expected.size !== found.size) differ('size', expected.size, found.size);
  else if (expected.kind === 'file' && expected.sha256 !== sha256) differ('sha256', expected.sha256, sha256);
  if (expected.target !== found.target) differ('points to', shown(expected.target ?? ''), shown(found.target ?? ''));
  // A symbolic link has no mode of its own where the kernel follows POSIX; Linux always says 0777.
  if (expected.kind !== 'link' && expected.mode !== found.mode)
    differ('mode', expected.mode.toString(8), found.mode.toString(8));
  if (owners && (expected.uid !== found.uid || expected.gid !== found.gid))
    differ('owner', `${expected.uid}:${expected.gid}`, `${found.uid}:${found.gid}`);
  if (expected.mtime !== found.mtime) differ('time', expected.mtime, found.mtime);
  if (String(expected.device) !== String(found.device)) differ('device', String(expected.device), String(found.device));
}

const WORDS = {
  file: 'file',
  dir: 'directory',
  link: 'symbolic link',
  hard: 'hard link',
  fifo: 'fifo',
  char: 'character device',
  block: 'block device',
} as const;

class Differences {
  readonly #told: string[] = [];
  count = 0;

  add(difference: string): void {
    this.count++;
    if (this.#told.length < TOLD) this.#told.push(difference);
  }

  all(): readonly Difference[] {
    const more = this.count - this.#told.length;
    return more > 0 ? [...this.#told, `and ${more} more differences`] : this.#told;
  }
}

function walkBelow(base: ByteString): Walk {
  const { tree } = rootsOf([base]);
  const self = [...tree.below.values()][0] ?? tree;
  return new Walk(
    { base, tree: { listed: true, below: self.below } },
    { exclude: [], secrets: [], skip: new Set(), skipInside: new Map() },
  );
}

async function countBelow(base: ByteString): Promise<number> {
  let count = -1;
  for await (const batch of walkBelow(base).batches()) count += batch.length;
  return count;
}

/** Names what is there and should not be. Only when the counts differ, so it may hold every name of the index. */
async function tellExtra(
  base: ByteString,
  indexPath: string,
  selection: Selection | null,
  differences: Differences,
): Promise<void> {
  const known = new Set<ByteString>(['.']);
  let ordinal = 0;
  for (const entry of readIndex(indexPath)) if (selection?.needs(ordinal++) ?? true) known.add(entry.path);
  for await (const batch of walkBelow(base).batches())
    for (const { path } of batch) if (!known.has(path)) differences.add(`${shown(path)}: not in the backup, and there`);
}
