import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { Cancelled, CaptureIncomplete, SourceUnsupported } from '#core/errors';
import type { Command, Ended, RunContext } from '#core/ports';
import { type ByteString, shown, utf8Of } from '#engines/files/byte-string';
import type { TarEntry } from '#engines/files/tar-header';
import { TarParser } from '#engines/files/tar-parser';
import { readTarWords, type TarWords } from '#engines/files/tar-words';

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
  '--xattrs',
  '--acls',
  '--no-recursion',
  '--null',
  '--no-unquote',
  '--verbatim-files-from',
  '--files-from=-',
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
  const asked = new Queue<Item>();
  let missing = 0;
  const miss = (item: Item): void => {
    missing++;
    events.vanished(item);
  };
  const parser = new TarParser({
    end(entry, sha256) {
      let item = asked.shift();
      while (item !== undefined && item.path !== entry.path) {
        miss(item);
        item = asked.shift();
      }
      if (item === undefined)
        throw new CaptureIncomplete(`tar put ${shown(entry.path)} into the archive, which it was not asked for`);
      events.entry(entry, sha256, item);
    },
  });
  let words: TarWords | null = null;

  async function* names(): AsyncGenerator<Buffer> {
    for await (const batch of batches) {
      let text = '';
      for (const item of batch) {
        asked.push(item);
        text += `${item.path}\0`;
      }
      yield Buffer.from(text, 'latin1');
    }
  }

  async function* bytes(): AsyncGenerator<Buffer> {
    // A walk that fails fails the pipeline: `done` rejects with the walk's error.
    const tar = run.processes.pipe([createCommand(base)], { stdin: Readable.from(names(), { objectMode: false }) });
    try {
      for await (const chunk of tar.stdout as AsyncIterable<Buffer>) {
        for (let at = parser.push(chunk); at < chunk.length; at = parser.push(chunk, at)) {
          await turn();
          stopIfAborted(run.signal);
        }
        yield chunk;
      }
      const [ended] = await tar.done;
      parser.finish();
      for (let item = asked.shift(); item !== undefined; item = asked.shift()) miss(item);
      words = judge(ended as Ended, missing);
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
