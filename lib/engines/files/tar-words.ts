import { type ByteString, byteString } from '#engines/files/byte-string';

/** What tar said on stderr, sorted. Its names are as bytes. */
export interface TarWords {
  /** Written to, grown or shrunk while tar read it. */
  readonly changed: readonly ByteString[];
  /** Gone before tar came to it. */
  readonly vanished: number;
  /** Anything else: permissions, read errors, a kind tar cannot keep. */
  readonly others: readonly string[];
  /** Only the end of what it said is here. */
  readonly cut: boolean;
}

/** Processes keep the last 64 KiB of stderr. */
const KEPT = 64 * 1024;

/** @param stderr of GNU tar under LC_ALL=C.UTF-8 */
export function readTarWords(stderr: string): TarWords {
  const changed: ByteString[] = [];
  const others: string[] = [];
  let vanished = 0;
  const cut = Buffer.byteLength(stderr) >= KEPT;
  const lines = stderr.split('\n').filter((line) => line !== '');
  if (cut) lines.shift();
  for (const line of lines) {
    const said = /^(?:\S*\/)?g?tar: (.*)$/s.exec(line)?.[1] ?? line;
    const change = /^(.*): (?:file changed as we read it|File shrank by \d+ bytes; padding with zeros)$/s.exec(said);
    if (change) changed.push(unescaped(change[1] as string));
    else if (
      // Not a directory: another thing took the place of the directory it was in.
      /: Cannot (?:stat|open|readlink): (?:No such file or directory|Not a directory)$|: File removed before we read it$/s.test(
        said,
      )
    )
      vanished++;
    else if (!/^Exiting with failure status due to previous errors$|^Error is not recoverable/.test(said))
      others.push(said);
  }
  return { changed: [...new Set(changed)], vanished, others, cut };
}

/** Undoes tar's `escape` quoting: `\n`, `\\`, `\303`. */
function unescaped(name: string): ByteString {
  const plain: Readonly<Record<string, string>> = {
    a: '\x07',
    b: '\b',
    f: '\f',
    n: '\n',
    r: '\r',
    t: '\t',
    v: '\v',
    '\\': '\\',
    '?': '\x7f',
  };
  return byteString(name).replace(/\\([0-7]{3}|.)/gs, (_, what: string) =>
    /^[0-7]{3}$/.test(what) ? String.fromCharCode(Number.parseInt(what, 8)) : (plain[what] ?? what),
  );
}
