import { PlanInvalid } from '#core/errors';
import { type ByteString, utf8Of } from '#engines/files/byte-string';

/**
 * The subset of gitignore's patterns that `exclude` knows:
 * - without a slash (but at the end), it is matched against the base name at any depth: `*.tmp`, `node_modules`;
 * - with a slash, from each listed path downwards: `/build`, `cache/old`, `**` + `/x/y`;
 * - a slash at the end = directories only; a directory that matches is left out with all it holds;
 * - `*` and `?` do not match a slash, `**` between slashes matches any number of directories, `[a-z]` `[!a-z]`, `\` escapes.
 * No `!` (taking back in). Names are compared as they are: case counts, and é has two forms.
 */
export interface Pattern {
  /** `path` is relative to the listed path, base name included. */
  matches(path: ByteString, isDirectory: boolean): boolean;
}

export interface PatternOptions {
  readonly ignoreCase?: boolean;
  /** What the pattern came from, for the error. */
  readonly what: string;
}

/** @throws PlanInvalid a pattern that means something else than in gitignore, or nothing */
export function compilePattern(pattern: string, options: PatternOptions): Pattern {
  const wrong = (why: string): PlanInvalid =>
    new PlanInvalid(`${options.what}: got ${JSON.stringify(pattern)}, ${why}`, {
      hint: 'want patterns such as "*.tmp", "cache/", "/build" or "**/node_modules/"',
    });
  if (pattern.startsWith('!')) throw wrong('patterns that take back in are not supported');
  const directoriesOnly = pattern.endsWith('/');
  const body = directoriesOnly ? pattern.slice(0, -1) : pattern;
  if (body === '' || body.includes('//') || body.includes('\0')) throw wrong('which matches nothing');
  const anchored = body.includes('/');
  const parts = (body.startsWith('/') ? body.slice(1) : body).split('/');
  if (parts.some((part) => part === '..' || part === '.')) throw wrong('"." and ".." are not allowed in it');
  let source = '';
  for (const [index, part] of parts.entries()) {
    const last = index === parts.length - 1;
    if (part === '**' && parts.length > 1) source += last ? '.+' : '(?:[^/]+/)*';
    else source += partSource(part, wrong) + (last ? '' : '/');
  }
  let expression: RegExp;
  try {
    expression = new RegExp(`^(?:${source})$`, `us${options.ignoreCase ? 'i' : ''}`);
  } catch {
    throw wrong('which is not a pattern');
  }
  return {
    matches(path, isDirectory) {
      if (directoriesOnly && !isDirectory) return false;
      const subject = anchored ? path : path.slice(path.lastIndexOf('/') + 1);
      return expression.test(utf8Of(subject) ?? subject);
    },
  };
}

export function hasWildcard(pattern: string): boolean {
  return /[*?[\\]/.test(pattern);
}

function partSource(part: string, wrong: (why: string) => Error): string {
  let source = '';
  const chars = Array.from(part);
  for (let index = 0; index < chars.length; index++) {
    const char = chars[index] as string;
    if (char === '*') source += '[^/]*';
    else if (char === '?') source += '[^/]';
    else if (char === '\\') {
      const next = chars[++index];
      if (next === undefined) throw wrong('a backslash ends it');
      source += literal(next);
    } else if (char === '[') {
      const from = chars[index + 1] === '!' || chars[index + 1] === '^' ? index + 2 : index + 1;
      // A closing bracket that comes first stands for itself.
      const close = chars.indexOf(']', from + 1);
      if (close < 0) throw wrong('a [ in it is never closed');
      const inside = chars
        .slice(from, close)
        .map((inner) => (inner === '-' ? '-' : literal(inner)))
        .join('');
      source += `(?!/)[${from === index + 2 ? '^' : ''}${inside}]`;
      index = close;
    } else source += literal(char);
  }
  return source;
}

function literal(char: string): string {
  return /[\^$\\.*+?()[\]{}|/]/.test(char) ? `\\${char}` : char === '-' ? '\\x2d' : char;
}
