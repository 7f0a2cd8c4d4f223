import { UnsafePath, UsageError } from '#core/errors';
import { type ByteString, byteString, shown } from '#engines/files/byte-string';
import { compilePattern, hasWildcard } from '#engines/files/patterns';
import { readIndex } from '#engines/files/tree-index';
import { wrongWith } from '#engines/files/tree-order';

/**
 * Which members of an archive a restore is about, by their position in the index: two bits for each, so that a million
 * of them cost a quarter of a megabyte.
 */
export class Selection {
  readonly #chosen: Uint8Array;
  readonly #needed: Uint8Array;
  count = 0;

  constructor(entries: number) {
    this.#chosen = new Uint8Array(Math.ceil(entries / 8));
    this.#needed = new Uint8Array(Math.ceil(entries / 8));
  }

  /** Asked for by the user. */
  chosen(ordinal: number): boolean {
    return ((this.#chosen[ordinal >> 3] as number) & (1 << (ordinal & 7))) !== 0;
  }

  /** To be unpacked: chosen, a directory on the way to one, or what a chosen hard link is linked to. */
  needs(ordinal: number): boolean {
    return ((this.#needed[ordinal >> 3] as number) & (1 << (ordinal & 7))) !== 0;
  }

  choose(ordinal: number): void {
    this.#chosen[ordinal >> 3] = (this.#chosen[ordinal >> 3] as number) | (1 << (ordinal & 7));
    this.need(ordinal);
  }

  need(ordinal: number): void {
    if (this.needs(ordinal)) return;
    this.count++;
    this.#needed[ordinal >> 3] = (this.#needed[ordinal >> 3] as number) | (1 << (ordinal & 7));
  }
}

interface Wish {
  readonly text: string;
  met: boolean;
  matches(path: ByteString, isDirectory: boolean): boolean;
}

/**
 * @param only exact paths, directories (with all in them) or patterns; absolute ones are meant as on the source
 * @throws UsageError one that nothing in the backup answers to
 * @throws UnsafePath one with `..`
 */
export function select(indexPath: string, entries: number, only: readonly string[], base: string): Selection {
  const wishes = only.map((text) => wishOf(text, base));
  const selection = new Selection(entries);
  const linkTargets = new Set<ByteString>();
  const top: string[] = [];
  walkIndex(indexPath, (entry, ordinal, ancestors) => {
    if (!entry.path.includes('/') && top.length < 10) top.push(shown(entry.path));
    let wanted = ancestors.some((ancestor) => ancestor.chosen);
    for (const wish of wishes) {
      if (entry.way || !wish.matches(entry.path, entry.kind === 'dir')) continue;
      wish.met = true;
      wanted = true;
    }
    if (!wanted) return false;
    selection.choose(ordinal);
    for (const ancestor of ancestors) selection.need(ancestor.ordinal);
    if (entry.kind === 'hard') linkTargets.add(entry.target as ByteString);
    return true;
  });
  const unmet = wishes.filter((wish) => !wish.met).map((wish) => wish.text);
  if (unmet.length > 0)
    throw new UsageError(
      `--only: nothing in the backup answers to ${unmet.join(', ')}; at its top it holds ${top.join(', ')}`,
      {
        hint: 'give a path as it stands in the backup, one as it was on the source, or a pattern such as "**/*.json"',
      },
    );
  if (linkTargets.size > 0)
    walkIndex(indexPath, (entry, ordinal, ancestors) => {
      if (!linkTargets.has(entry.path)) return false;
      selection.need(ordinal);
      for (const ancestor of ancestors) selection.need(ancestor.ordinal);
      return false;
    });
  return selection;
}

interface Ancestor {
  readonly prefix: ByteString;
  readonly ordinal: number;
  readonly chosen: boolean;
}

function walkIndex(
  indexPath: string,
  visit: (
    entry: ReturnType<typeof readIndex> extends Generator<infer E> ? E : never,
    ordinal: number,
    ancestors: readonly Ancestor[],
  ) => boolean,
): void {
  const ancestors: Ancestor[] = [];
  let ordinal = 0;
  for (const entry of readIndex(indexPath)) {
    while (ancestors.length > 0 && !entry.path.startsWith((ancestors.at(-1) as Ancestor).prefix)) ancestors.pop();
    const chosen = visit(entry, ordinal, ancestors);
    if (entry.kind === 'dir') ancestors.push({ prefix: entry.path === '.' ? '' : `${entry.path}/`, ordinal, chosen });
    ordinal++;
  }
}

function wishOf(text: string, base: string): Wish {
  const inBase = base === '/' ? '/' : `${base}/`;
  const relative = (text.startsWith(inBase) ? text.slice(inBase.length) : text)
    .replace(/^(?:\.\/)+/, '')
    .replace(/\/+$/, '');
  if (relative === '') return { text, met: false, matches: () => true };
  const wrong = wrongWith(byteString(relative));
  if (wrong !== null)
    throw new UnsafePath(`--only: got ${JSON.stringify(text)}, and ${wrong}`, {
      hint: `give a path below ${base}`,
    });
  const exact = byteString(relative);
  const pattern = hasWildcard(relative) ? compilePattern(relative, { what: '--only' }) : null;
  return {
    text,
    met: false,
    matches: (path, isDirectory) => path === exact || (pattern?.matches(path, isDirectory) ?? false),
  };
}
