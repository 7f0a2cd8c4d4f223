import { closeSync, openSync, renameSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { CaptureIncomplete, messageOf, UnsafePath } from '#core/errors';
import type { FilesSettings } from '#core/plan';
import type { ArtifactBytes, Capture, CaptureResult, RunContext, SourceRef } from '#core/ports';
import { type ByteString, fsPath, joined, NameList, shown } from '#engines/files/byte-string';
import { DIGEST, type FilesFingerprint, INDEX, TREE } from '#engines/files/fingerprint';
import { restoreScript } from '#engines/files/restore-script';
import { findRoots, type Roots } from '#engines/files/roots';
import { tarVersion } from '#engines/files/tar-version';
import { type IndexTotals, IndexWriter, indexEntry, readIndex } from '#engines/files/tree-index';
import { TreeOrder } from '#engines/files/tree-order';
import { readTree, stopIfAborted } from '#engines/files/tree-reading';
import type { Walk, WalkItem } from '#engines/files/walk';
import { walkOf } from '#engines/files/walk-of';

export function settingsOf(source: SourceRef): FilesSettings {
  const { files } = source.settings;
  if (!files) throw new Error(`source ${source.name} came to the files engine and has no files`);
  return files;
}

export function identityOf(settings: FilesSettings): Readonly<Record<string, string>> {
  return { paths: [...settings.paths].sort().join(', ') };
}

/** One pass over a tree: the archive's bytes, and what they turned out to hold. */
export class TreeCapture {
  readonly #run: RunContext;
  readonly #roots: Roots;
  readonly #walk: Walk;
  readonly #index: IndexWriter;
  readonly #indexPath: string;
  readonly #order = new TreeOrder();
  readonly #vanished = new NameList();
  readonly #changed = new NameList();
  /** Files that tar took for one hole, because their file system says that they occupy nothing. */
  readonly #allHole: ByteString[] = [];
  #archive = 0;
  #totals: IndexTotals | null = null;

  /** @param indexPath a file that does not exist yet */
  constructor(run: RunContext, roots: Roots, walk: Walk, indexPath: string) {
    this.#run = run;
    this.#roots = roots;
    this.#walk = walk;
    this.#indexPath = indexPath;
    this.#index = new IndexWriter(indexPath);
  }

  /** The archive, once. Throws before its end when anything is not whole. */
  async *bytes(): AsyncGenerator<Buffer> {
    const listed = new Set(this.#roots.names);
    const reading = readTree<WalkItem>(this.#run, this.#roots.base, this.#walk.batches(), {
      entry: (entry, sha256, item) => {
        this.#inOrder(entry);
        // A map without pieces fits one block.
        if (entry.sparse && entry.stored <= 512 && entry.size > 0) this.#allHole.push(entry.path);
        this.#index.add(indexEntry(entry, sha256, item.way));
      },
      vanished: ({ path }) => {
        if (listed.has(path))
          throw new CaptureIncomplete(`${shown(path)}, a listed path, was deleted while it was read`);
        this.#vanished.add(path);
      },
    });
    try {
      for await (const chunk of reading.bytes) {
        this.#archive += chunk.length;
        yield chunk;
      }
      const { unreadable } = this.#walk.findings;
      if (unreadable.count > 0)
        throw new CaptureIncomplete(`could not read ${unreadable}`, {
          hint: 'run as a user who may read these, or name them under `exclude`',
        });
      for (const path of this.#allHole) await this.#mustBeZeros(path);
      this.#totals = this.#index.finish();
      const { changed } = reading.words();
      if (changed.length > 0) this.#markChanged(new Set(changed));
    } finally {
      this.#index.close();
    }
  }

  /** @throws CaptureIncomplete the archive was not read to its end */
  totals(): IndexTotals & { readonly archive: number } {
    if (!this.#totals) throw new CaptureIncomplete('the archive was not read to its end');
    return { ...this.#totals, archive: this.#archive };
  }

  /** Lets go of the index, also when the archive was never read. */
  close(): void {
    this.#index.close();
    rmSync(this.#indexPath, { force: true });
  }

  warnings(): readonly string[] {
    const { sockets, secrets, notEntered } = this.#walk.findings;
    const say = (list: NameList, words: string): string[] => (list.count > 0 ? [`${words}: ${list}`] : []);
    return [
      ...this.#roots.warnings,
      ...say(secrets, `left out by sanitise (${secrets.count})`),
      ...say(sockets, `sockets, which no archive can hold (${sockets.count})`),
      ...say(notEntered, 'not entered'),
      ...say(this.#vanished, `deleted while they were read, and not in the backup (${this.#vanished.count})`),
      ...say(
        this.#changed,
        `written to while they were read, so what is in the backup may be a mix (${this.#changed.count})`,
      ),
    ];
  }

  #inOrder(entry: Parameters<TreeOrder['check']>[0]): void {
    try {
      this.#order.check(entry);
    } catch (error) {
      if (!(error instanceof UnsafePath)) throw error;
      throw new CaptureIncomplete(`directories were moved or replaced while they were read: ${messageOf(error)}`, {
        hint: 'run it again, or stop the writer by a `before` hook',
        cause: error,
      });
    }
  }

  /** Some file systems say 0 blocks of a file that has data but was not yet written out; tar then archives a hole. */
  async #mustBeZeros(path: ByteString): Promise<void> {
    let file: Awaited<ReturnType<typeof open>>;
    try {
      file = await open(fsPath(joined(this.#roots.base, path)), 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    try {
      const piece = Buffer.allocUnsafe(1024 * 1024);
      const zeros = Buffer.alloc(piece.length);
      for (;;) {
        stopIfAborted(this.#run.signal);
        const { bytesRead } = await file.read(piece, 0, piece.length, null);
        if (bytesRead === 0) return;
        if (piece.compare(zeros, 0, bytesRead, 0, bytesRead) !== 0)
          throw new CaptureIncomplete(
            `${shown(path)} has data that its file system did not own up to; tar took it for a hole`,
            {
              hint: 'run it again in a minute, or `sync` by a `before` hook',
            },
          );
      }
    } finally {
      await file.close();
    }
  }

  /** Known only when tar has ended, so the index is written once more; rare. */
  #markChanged(changed: ReadonlySet<ByteString>): void {
    const unmarked = `${this.#indexPath}.unmarked`;
    renameSync(this.#indexPath, unmarked);
    const marked = new IndexWriter(this.#indexPath);
    try {
      for (const entry of readIndex(unmarked)) {
        // A directory "changes" whenever a file in it comes or goes: that is no damage.
        const isChanged = entry.kind === 'file' && changed.has(entry.path);
        if (isChanged) this.#changed.add(entry.path);
        marked.add(isChanged ? { ...entry, changed: true } : entry);
      }
      this.#totals = marked.finish();
    } finally {
      marked.close();
      rmSync(unmarked);
    }
  }
}

/** @throws SourceUnreachable, SourceRefused, SourceUnsupported */
export async function capture(source: SourceRef, run: RunContext): Promise<Capture> {
  const settings = settingsOf(source);
  const roots = await findRoots(settings.paths);
  const version = await tarVersion(run);
  const snapshotAt = run.clock.now();
  const indexPath = join(run.scratch, INDEX);
  const tree = new TreeCapture(run, roots, await walkOf(source, roots, run), indexPath);
  let indexDescriptor: number | null = null;
  let indexRead = false;

  async function openTree(): Promise<ArtifactBytes> {
    const whole = Promise.withResolvers<void>();
    // Awaited only after the last byte; a stream that fails before has told its reader already.
    whole.promise.catch(() => undefined);
    async function* told(): AsyncGenerator<Buffer> {
      try {
        yield* tree.bytes();
        whole.resolve();
      } catch (error) {
        whole.reject(error);
        throw error;
      } finally {
        whole.reject(new CaptureIncomplete('the reader of the archive went away before its end'));
      }
    }
    return { bytes: Readable.from(told(), { objectMode: false, highWaterMark: 256 * 1024 }), whole: whole.promise };
  }

  async function openIndex(): Promise<ArtifactBytes> {
    tree.totals();
    indexDescriptor = openSync(indexPath, 'r');
    indexRead = true;
    return { bytes: indexDescriptor, whole: Promise.resolve() };
  }

  return {
    snapshotAt,
    identity: identityOf(settings),
    tools: { tar: version },
    artifacts: [
      { name: TREE, open: openTree },
      { name: INDEX, open: openIndex },
    ],
    async finish(): Promise<CaptureResult> {
      const { sha256, content, entries, files, bytes, devices, archive } = tree.totals();
      if (!indexRead) throw new CaptureIncomplete('the index of the archive was not read');
      const fingerprint: FilesFingerprint = {
        base: shown(roots.base),
        entries,
        files,
        bytes,
        archive,
        devices,
        index: sha256,
        content,
      };
      return {
        digest: DIGEST,
        fingerprint,
        measures: { files, bytes },
        probes: [],
        // Of `/` itself there is a member too, and nothing to count.
        restoreScript: restoreScript(roots.names.includes('.') ? entries - 1 : entries),
        warnings: tree.warnings(),
      };
    },
    async close() {
      if (indexDescriptor !== null) closeSync(indexDescriptor);
      indexDescriptor = null;
      tree.close();
    },
  };
}

/** Whether what the plan names holds the same as when `content` was taken: paths, modes, owners, contents, link targets. */
export async function contentIs(content: string, source: SourceRef, run: RunContext): Promise<boolean> {
  const settings = settingsOf(source);
  const roots = await findRoots(settings.paths);
  const indexPath = join(run.scratch, `unchanged-${INDEX}`);
  const tree = new TreeCapture(run, roots, await walkOf(source, roots, run), indexPath);
  try {
    // Read and hashed, and then let go of.
    for await (const _ of tree.bytes());
    return tree.totals().content === content;
  } finally {
    tree.close();
  }
}
