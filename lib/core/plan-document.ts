import {
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  visit,
  type YAMLError,
  type YAMLMap,
} from 'yaml';
import type { PlanPath } from '#core/plan-problem';

/** Where in a text, from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** What the YAML says, and where each part of it stands. */
export interface PlanDocument {
  readonly value: unknown;
  /** Of a value; of its key where the value is a map or a list, as that is where a reader looks. The nearest parent's when there is none. */
  at(path: PlanPath): Position;
  /** Of the key itself. */
  atKey(path: PlanPath): Position;
}

/** Something the text is not: YAML, or one map. No text of the file is in it. */
export interface YamlProblem extends Position {
  readonly got: string;
  readonly want: string;
}

const LONGEST_PLAN = 1024 * 1024;
/** Enough for shared settings; a text that unfolds into gigabytes needs more. */
const MOST_ALIASES = 100;

/** Reads the YAML text of a plan; the problems found when it is none. */
export function readPlanDocument(text: string): PlanDocument | readonly YamlProblem[] {
  const start = { line: 1, column: 1 };
  if (text.length > LONGEST_PLAN) {
    return [{ ...start, got: `${text.length} characters`, want: `a plan of at most ${LONGEST_PLAN}` }];
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true, stringKeys: true });
  const positionOf = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  // A warning is a tag or an alias that was not understood: then the value is not what the writer thinks it is.
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    return faults.map((fault) => ({ ...positionOf(fault.pos[0]), ...wordsOf(fault, text) }));
  }
  if (document.contents === null) return [{ ...start, got: 'an empty file', want: 'a plan: holdfast init writes one' }];
  if (!isMap(document.contents)) {
    const at = positionOf(document.contents.range?.[0] ?? 0);
    return [{ ...at, got: isSeq(document.contents) ? 'a list' : 'text', want: 'a map that begins with version: 1' }];
  }
  const orphans = orphanAliases(document);
  if (orphans.length > 0) return orphans.map((offset) => ({ ...positionOf(offset), ...ORPHAN_ALIAS }));
  const bad = unusableKey(document.contents);
  if (bad) return [{ ...positionOf(bad.offset), got: `the key ${bad.name}`, want: 'another name' }];
  try {
    const value: unknown = document.toJS({ maxAliasCount: MOST_ALIASES });
    return positioned(document, value, positionOf);
  } catch (thrown) {
    // The library's two ways of refusing aliases: too many, or one inside of what it names.
    if (!(thrown instanceof ReferenceError || thrown instanceof RangeError)) throw thrown;
    return [{ ...start, got: 'aliases that unfold without end', want: `at most ${MOST_ALIASES} uses of *aliases` }];
  }
}

function positioned(document: Document, value: unknown, positionOf: (offset: number) => Position): PlanDocument {
  /** The pair or list entry that the path ends at, or the deepest there is. */
  const find = (path: PlanPath): { pair: Pair | null; node: unknown; whole: boolean } => {
    let pair: Pair | null = null;
    let node: unknown = document.contents;
    for (const part of path) {
      const holder: unknown = resolved(document, node);
      const next = typeof part === 'number' && isSeq(holder) ? holder.items[part] : pairOf(document, holder, `${part}`);
      if (next === undefined || next === null) return { pair, node, whole: false };
      if (isPair(next)) {
        pair = next;
        node = next.value;
      } else {
        pair = null;
        node = next;
      }
    }
    return { pair, node, whole: true };
  };
  const atKey = (path: PlanPath): Position => {
    const { pair, node } = find(path);
    return positionOf(offsetOf(pair?.key) ?? offsetOf(node) ?? 0);
  };
  return {
    value,
    atKey,
    at: (path) => {
      const { node, whole } = find(path);
      const target = resolved(document, node);
      const offset = isScalar(target) && target.value !== null ? offsetOf(target) : null;
      return whole && offset !== null ? positionOf(offset) : atKey(path);
    },
  };
}

function resolved(document: Document, node: unknown): unknown {
  return isAlias(node) ? node.resolve(document) : node;
}

/** Also looks into what `<<` brings in. */
function pairOf(document: Document, holder: unknown, key: string): Pair | undefined {
  if (!isMap(holder)) return undefined;
  const own = holder.items.find((pair) => keyOf(pair) === key);
  if (own) return own;
  const merged = holder.items.find((pair) => keyOf(pair) === '<<');
  const bases = resolved(document, merged?.value);
  for (const base of isSeq(bases) ? bases.items : [bases]) {
    const found = pairOf(document, resolved(document, base), key);
    if (found) return found;
  }
  return undefined;
}

function keyOf(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
}

function offsetOf(node: unknown): number | null {
  const range = (node as { range?: readonly [number, number, number] | null } | null | undefined)?.range;
  return range ? range[0] : null;
}

const ORPHAN_ALIAS = { got: 'an alias without its anchor', want: 'quotes around a text that begins with * or &' };

/** Where a `*name` stands whose `&name` does not come before it. */
function orphanAliases(document: Document): number[] {
  const anchors = new Set<string>();
  const orphans: number[] = [];
  visit(document, {
    Node: (_key, node) => {
      if (isAlias(node)) {
        if (!anchors.has(node.source)) orphans.push(offsetOf(node) ?? 0);
      } else if (node.anchor !== undefined) anchors.add(node.anchor);
    },
  });
  return orphans;
}

/** `__proto__` would be dropped silently on its way through objects. */
function unusableKey(map: YAMLMap): { name: string; offset: number } | null {
  for (const pair of map.items) {
    if (keyOf(pair) === '__proto__') return { name: '__proto__', offset: offsetOf(pair.key) ?? 0 };
    const inner = childrenOf(pair.value).map(unusableKey).find(Boolean);
    if (inner) return inner;
  }
  return null;
}

function childrenOf(node: unknown): readonly YAMLMap[] {
  if (isMap(node)) return [node];
  return isSeq(node) ? node.items.flatMap(childrenOf) : [];
}

const EVEN = 'entries of one map or list below one another';

/** Our own words: the library's quote the text, and the text may be a password that begins with `*` or `!`. */
function wordsOf(fault: YAMLError, text: string): { got: string; want: string } {
  switch (fault.code) {
    case 'DUPLICATE_KEY': {
      const key = /^[A-Za-z0-9_-]{1,63}(?=\s*:)/.exec(text.slice(fault.pos[0]))?.[0];
      return { got: key ? `the key ${key} a second time` : 'a key a second time', want: 'each key once' };
    }
    case 'TAB_AS_INDENT':
      return { got: 'a tab', want: 'spaces: YAML does not indent with tabs' };
    case 'BAD_INDENT':
      return { got: 'a line that begins too far left or right, or a bracket left open before it', want: EVEN };
    case 'BLOCK_AS_IMPLICIT_KEY':
    case 'MULTILINE_IMPLICIT_KEY':
      return {
        got: 'a second ": " in one line',
        want: 'quotes around a text that contains ": ", or a line of its own',
      };
    case 'BAD_ALIAS':
      return ORPHAN_ALIAS;
    case 'TAG_RESOLVE_FAILED':
      return { got: 'an unknown tag', want: 'quotes around a text that begins with !' };
    case 'BAD_SCALAR_START':
      return { got: 'a text that begins with a sign of YAML’s own', want: 'quotes around it' };
    case 'BAD_DQ_ESCAPE':
      return { got: 'an unknown \\ in double quotes', want: "\\\\ for a backslash, or 'single quotes'" };
    case 'MISSING_CHAR':
      return { got: 'an entry without its end', want: 'a closing quote, bracket or comma, or ": " after a key' };
    case 'MULTIPLE_DOCS':
      return { got: 'a second document after ---', want: 'one plan in a file' };
    case 'NON_STRING_KEY':
      return { got: 'a key that is a map or a list', want: 'a name' };
    case 'RESOURCE_EXHAUSTION':
      return { got: 'a text nested too deep', want: 'a plan' };
    default:
      return {
        got: `what is not YAML (${fault.code.toLowerCase()})`,
        want: 'keys, colons and spaces as YAML has them',
      };
  }
}
