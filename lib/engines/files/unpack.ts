import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { Readable } from 'node:stream';
import { CaptureIncomplete, Disproven, messageOf, RecordInvalid } from '#core/errors';
import type { Command, OpenBackup, RunContext } from '#core/ports';
import { shown } from '#engines/files/byte-string';
import { type FilesFingerprint, INDEX, TREE } from '#engines/files/fingerprint';
import { LONGEST_PATH } from '#engines/files/hard-links';
import type { Selection } from '#engines/files/selection';
import { Tape } from '#engines/files/tape';
import type { TarEntry } from '#engines/files/tar-header';
import { TarParser } from '#engines/files/tar-parser';
import { endMark } from '#engines/files/tar-writer';
import { type IndexEntry, readIndex } from '#engines/files/tree-index';
import { TreeOrder } from '#engines/files/tree-order';

/**
 * Brings the index out of the backup and looks at each line: nothing is unpacked from a backup whose index is damaged
 * or names a path outside.
 * @param path a file that does not exist yet
 * @returns the bytes of the longest path in it
 * @throws UnsafePath
 * @throws Disproven the index is not the one that the capture wrote
 */
export async function fetchIndex(backup: OpenBackup, fingerprint: FilesFingerprint, path: string): Promise<number> {
  const plain = await backup.open(INDEX);
  const descriptor = openSync(path, 'wx', 0o600);
  const hash = createHash('sha256');
  try {
    for await (const chunk of plain.bytes as AsyncIterable<Buffer>) {
      hash.update(chunk);
      for (let at = 0; at < chunk.length; ) at += writeSync(descriptor, chunk, at);
    }
    await plain.whole;
  } finally {
    plain.stop();
    closeSync(descriptor);
  }
  const order = new TreeOrder();
  let entries = 0;
  let longest = 0;
  try {
    for (const entry of readIndex(path)) {
      order.check(entry);
      longest = Math.max(longest, entry.path.length);
      entries++;
    }
  } catch (error) {
    if (error instanceof RecordInvalid) throw new Disproven(`the index is damaged: ${error.message}`, { cause: error });
    throw error;
  }
  if (hash.digest('hex') !== fingerprint.index || entries !== fingerprint.entries)
    throw new Disproven(
      `the index is not the one that was captured: it has ${entries} lines of ${fingerprint.entries}, or another sha256`,
    );
  return longest;
}

/** Why paths of up to `longest` bytes cannot lie below a directory; null when they can. tar could make them, and nobody remove them. */
export function tooLongBelow(folder: string, longest: number): string | null {
  const bytes = Buffer.byteLength(folder) + 1 + longest;
  return bytes <= LONGEST_PATH
    ? null
    : `a path of the backup has ${longest} bytes, below ${folder} it would have ${bytes}, and ${LONGEST_PATH} are allowed`;
}

/**
 * Unpacks the tree, or the members selected, into an empty directory. Only bytes of members that were looked at, and
 * that are what the index says, reach tar.
 * @throws UnsafePath a member outside, or of a kind that Holdfast never writes
 * @throws Disproven the archive is not the one of the index
 * @throws CommandFailed tar could not write
 */
export async function unpackTree(
  backup: OpenBackup,
  indexPath: string,
  selection: Selection | null,
  into: string,
  run: RunContext,
): Promise<void> {
  const plain = await backup.open(TREE);
  const gate = new Gate(readIndex(indexPath), selection);
  const tar = run.processes.pipe([extractCommand(into)], {
    stdin: Readable.from(gate.pass(plain.bytes as AsyncIterable<Buffer>), { objectMode: false }),
    stdout: 'pipe',
  });
  tar.stdout?.resume();
  try {
    await tar.done;
    await plain.whole;
  } catch (error) {
    // That stored bytes differ explains a damaged archive better than tar or the index can, so it goes first.
    if (gate.sourceEnded) await plain.whole;
    throw error instanceof CaptureIncomplete
      ? new Disproven(`the archive is damaged: ${messageOf(error)}`, { cause: error })
      : error;
  } finally {
    tar.stop();
    plain.stop();
    gate.close();
  }
}

function extractCommand(into: string): Command {
  const root = process.geteuid?.() === 0;
  return {
    program: 'tar',
    args: [
      '--extract',
      '--preserve-permissions',
      '--numeric-owner',
      root ? '--same-owner' : '--no-same-owner',
      '--xattrs',
      // Capabilities and the like lie outside the user's own attributes, and only root may set them.
      ...(root ? ['--xattrs-include=*'] : []),
      '--acls',
      `--directory=${into}`,
      '--file=-',
    ],
  };
}

/** Lets through what the index names, in its order, and of that what is selected. */
class Gate {
  readonly #expected: Generator<IndexEntry>;
  readonly #selection: Selection | null;
  readonly #order = new TreeOrder();
  readonly #parser: TarParser;
  /** Offsets from which on bytes pass, or do not. */
  #marks: { readonly at: number; readonly pass: boolean }[] = [];
  #ordinal = 0;
  /** The archive's bytes came to their end, good or not. */
  sourceEnded = false;

  constructor(expected: Generator<IndexEntry>, selection: Selection | null) {
    this.#expected = expected;
    this.#selection = selection;
    this.#parser = new TarParser({ begin: (entry, start) => this.#begin(entry, start), end: () => {} }, false);
  }

  async *pass(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const tape = new Tape();
    let passing = true;
    for await (const chunk of this.#noticingTheEnd(bytes)) {
      tape.add(chunk);
      this.#parser.push(chunk);
      for (const mark of this.#marks) {
        for (const piece of tape.before(mark.at)) if (passing) yield piece;
        passing = mark.pass;
      }
      this.#marks = [];
      for (const piece of tape.before(this.#parser.decided)) if (passing) yield piece;
    }
    this.#parser.finish();
    if (!this.#expected.next().done)
      throw new CaptureIncomplete(`the archive has ${this.#ordinal} members, the index has more`);
    yield endMark(0);
  }

  close(): void {
    this.#expected.return(undefined);
  }

  /** Not `bytes.errored`: a stream that its reader left has that too. */
  async *#noticingTheEnd(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const iterator = bytes[Symbol.asyncIterator]();
    for (;;) {
      let next: IteratorResult<Buffer>;
      try {
        next = await iterator.next();
      } catch (error) {
        this.sourceEnded = true;
        throw error;
      }
      if (next.done) break;
      yield next.value;
    }
    this.sourceEnded = true;
  }

  #begin(entry: TarEntry, start: number): void {
    this.#order.check(entry);
    const expected = this.#expected.next().value as IndexEntry | undefined;
    if (
      expected === undefined ||
      expected.path !== entry.path ||
      expected.kind !== entry.kind ||
      expected.target !== entry.target ||
      expected.size !== entry.size
    )
      throw new CaptureIncomplete(
        `its member ${this.#ordinal + 1} is ${shown(entry.path)} (${entry.kind}), the index says ${expected ? `${shown(expected.path)} (${expected.kind})` : 'nothing more'}`,
      );
    const pass = this.#selection?.needs(this.#ordinal) ?? true;
    const last = this.#marks.at(-1);
    if (!last || last.pass !== pass) this.#marks.push({ at: start, pass });
    this.#ordinal++;
  }
}
