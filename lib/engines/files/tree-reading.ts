import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { Cancelled, CaptureIncomplete, SourceUnsupported } from '#core/errors';
import type { Command, Ended, RunContext } from '#core/ports';
import { type ByteString, shown, utf8Of } from '#engines/files/byte-string';
import { HardLinks, type LinkHead } from '#engines/files/hard-links';
import { Tape } from '#engines/files/tape';
import type { TarEntry } from '#engines/files/tar-header';
import { TarParser } from '#engines/files/tar-parser';
import { readTarWords, type TarWords } from '#engines/files/tar-words';
import { endMark, hardLinkMember } from '#engines/files/tar-writer';

/**
 * Sparse files stay sparse, hard links stay links, owners are numbers, and of the times only that of the last change of
 * content is kept. Header names are fixed, or tar would put its process id into each.
 */
const CREATE: readonly string[] = [
  '--create',
  '--format=posix',
  '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime',
  '--numeric-owner',
  '--sparse',
  // See HardLinks: told by Holdfast, not by tar.
  '--hard-dereference',
  '--xattrs',
  '--acls',
  '--no-recursion',
  '--null',
  '--no-unquote',
  '--verbatim-files-from',
  '--files-from=-',
  '--blocking-factor=128',
  '--file=-',
];

export interface TreeReadingEvents<Item> {
  /** A member, whole. `sha256` is of the bytes as they went into the archive. */
  entry(entry: TarEntry, sha256: string | null, item: Item): void;
  /** A name that tar was given and that was not there any more when tar came to it. */
  vanished(item: Item): void;
}

export interface TreeReading {
  /** The archive, once. Throws before its end when it is not whole. */
  readonly bytes: AsyncGenerator<Buffer>;
  /** What tar said; after `bytes` came to its end. */
  words(): TarWords;
}

/**
 * Lets tar make an archive of the names given, and reads along: what the events tell is of the archive's own bytes, not
 * of a second look at the files. tar answers in the order in which it was asked, so what did not come is known too.
 * @param base absolute; @param batches names relative to it, each directory before what is in it
 * @throws CaptureIncomplete (out of `bytes`) a file could not be read, or the archive is damaged
 */
export function readTree<Item extends { readonly path: ByteString }>(
  run: RunContext,
  base: ByteString,
  batches: AsyncIterable<readonly Item[]> | Iterable<readonly Item[]>,
  events: TreeReadingEvents<Item>,
): TreeReading {
  const links = new HardLinks(base);
  const asked = new Queue<Asked<Item>>();
  /** Members of Holdfast's own, and the offsets in tar's archive before which they go. */
  let own: { readonly at: number; readonly member: Buffer }[] = [];
  let current: Asked<Item> | null = null;
  let missing = 0;
  let words: TarWords | null = null;

  /** What was asked for before the member that now comes at `at`: it is a further name of a file, or it vanished. */
  function settle({ item, link }: Asked<Item>, at: number): void {
    if (!isAgain(link)) {
      missing++;
      events.vanished(item);
      return;
    }
    const head = link.again.entry;
    if (head === null)
      throw new CaptureIncomplete(`the other name of ${shown(item.path)} vanished while it was read`, {
        hint: 'run it again, or name the place where files come and go under `exclude`',
      });
    if (!links.isWhatWasRead(link.again))
      throw new CaptureIncomplete(
        `${shown(head.path)} was replaced while it was read, and ${shown(item.path)} is another name of what it was before`,
        { hint: 'run it again, or stop the writer by a `before` hook' },
      );
    own.push({ at, member: hardLinkMember(item.path, head) });
    const { mode, uid, gid, mtime } = head;
    events.entry(
      {
        path: item.path,
        kind: 'hard',
        mode,
        uid,
        gid,
        mtime,
        size: 0,
        stored: 0,
        sparse: false,
        target: head.path,
        device: null,
      },
      null,
      item,
    );
  }

  const parser = new TarParser({
    begin(entry, start) {
      current = null;
      while (current === null) {
        const next = asked.shift();
        if (next === undefined)
          throw new CaptureIncomplete(`tar put ${shown(entry.path)} into the archive, which it was not asked for`);
        if (next.item.path === entry.path && !isAgain(next.link)) current = next;
        else settle(next, start);
      }
    },
    end(entry, sha256) {
      const { item, link } = current as Asked<Item>;
      if (link && 'first' in link) link.first.entry = entry;
      events.entry(entry, sha256, item);
    },
  });

  async function* names(): AsyncGenerator<Buffer> {
    for await (const batch of batches) {
      let text = '';
      for (const item of batch) {
        const link = links.look(item.path);
        asked.push({ item, link });
        if (!isAgain(link)) text += `${item.path}\0`;
      }
      if (text !== '') yield Buffer.from(text, 'latin1');
    }
  }

  async function* bytes(): AsyncGenerator<Buffer> {
    const tape = new Tape();
    let length = 0;
    function* decided(): Generator<Buffer> {
      for (const { at, member } of own) {
        yield* tape.before(at);
        yield member;
      }
      own = [];
      yield* tape.before(parser.decided);
    }
    // A walk that fails fails the pipeline: `done` rejects with the walk's error.
    const tar = run.processes.pipe([createCommand(base)], { stdin: Readable.from(names(), { objectMode: false }) });
    try {
      for await (const chunk of tar.stdout as AsyncIterable<Buffer>) {
        tape.add(chunk);
        for (let at = parser.push(chunk); at < chunk.length; at = parser.push(chunk, at)) {
          await turn();
          stopIfAborted(run.signal);
        }
        for (const piece of decided()) {
          length += piece.length;
          yield piece;
        }
      }
      const [ended] = await tar.done;
      parser.finish();
      for (let last = asked.shift(); last !== undefined; last = asked.shift()) settle(last, parser.decided);
      for (const piece of decided()) {
        length += piece.length;
        yield piece;
      }
      words = judge(ended as Ended, missing);
      yield endMark(length);
    } finally {
      tar.stop();
    }
  }

  return {
    bytes: bytes(),
    words() {
      if (words === null) throw new Error('asked for tar’s words before its end');
      return words;
    },
  };
}

/** Long loops without a child would not notice. */
export function stopIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new Cancelled('stopped while reading files', { cause: signal.reason });
}

function createCommand(base: ByteString): Command {
  const directory = utf8Of(base);
  if (directory === null)
    throw new SourceUnsupported(`the directory ${shown(base)} has a name that is not UTF-8`, {
      hint: 'names inside the listed paths may be of any bytes, those on the way to them may not: rename it',
    });
  return { program: 'tar', args: [`--directory=${directory}`, ...CREATE], okCodes: [0, 1, 2] };
}

/**
 * tar says 2 both for a file that was deleted in between, which is no fault, and for one that it could not read, which
 * is. Only when each of its words is understood, and they account for each name that did not come, is it whole.
 */
function judge(ended: Ended, missing: number): TarWords {
  const words = readTarWords(ended.stderr);
  const fatal = words.others.filter((line) => !/: Warning: /.test(line));
  if (ended.code === 2 && fatal.length > 0)
    throw new CaptureIncomplete(
      `could not read everything: ${fatal.slice(0, 20).join('; ')}${fatal.length > 20 ? `; and ${fatal.length - 20} more` : ''}`,
      { hint: 'run as a user who may read these files, or name them under `exclude`' },
    );
  const explained = ended.code === 0 ? 0 : words.vanished;
  if (missing !== explained || (ended.code === 2 && (words.cut || missing === 0)))
    throw new CaptureIncomplete(
      `${missing} files did not get into the archive, of which tar explains ${explained} as deleted while it worked`,
      { hint: 'name places where files come and go under `exclude`, or stop the writer by a `before` hook' },
    );
  return words;
}

interface Asked<Item> {
  readonly item: Item;
  readonly link: ReturnType<HardLinks['look']>;
}

function isAgain(link: ReturnType<HardLinks['look']>): link is { readonly again: LinkHead } {
  return link !== null && 'again' in link;
}

/** First in, first out, without moving what waits. */
class Queue<Item> {
  #items: Item[] = [];
  #head = 0;

  push(item: Item): void {
    this.#items.push(item);
  }

  shift(): Item | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#head++;
    if (this.#head >= 4096 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
