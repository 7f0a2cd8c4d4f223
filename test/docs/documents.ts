import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

export const ROOT = join(import.meta.dirname, '..', '..');

/** A page for people, by its path from the root. */
export interface Page {
  readonly file: string;
  readonly text: string;
}

export function pages(): readonly Page[] {
  return globSync(['*.md', 'docs/**/*.md', 'examples/**/*.md'], { cwd: ROOT })
    .sort()
    .map((file) => ({ file, text: readFileSync(join(ROOT, file), 'utf8') }));
}

export function page(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

interface Fence {
  readonly language: string;
  readonly text: string;
}

/** Fenced blocks, also those indented in a list. */
export function fencesOf(text: string): readonly Fence[] {
  return [...text.matchAll(/^( *)```(\w*)\n(.*?)^\1```$/gms)].map(([, , language = '', body = '']) => ({
    language,
    text: body,
  }));
}

/** `holdfast` calls of all `sh` blocks, words after the program's name, without comments and what follows a pipe. */
export function callsOf({ text }: Page): readonly (readonly string[])[] {
  const lines = fencesOf(text)
    .filter(({ language }) => language === 'sh')
    .flatMap((fence) => fence.text.replaceAll('\\\n', ' ').split('\n'))
    .map((line) => line.replace(/(^|\s)#.*$/, ''));
  return lines.flatMap((line) =>
    [...line.matchAll(/(?:^|[\s;&|(/])holdfast(?=\s|$)([^|;&>]*)/g)].map(([, rest = '']) =>
      rest.split(/\s+/).filter(Boolean),
    ),
  );
}

/** As GitHub makes them of headings. */
function anchorsOf(text: string): ReadonlySet<string> {
  const outside = text.replaceAll(/^( *)```.*?^\1```$/gms, '');
  return new Set(
    [...outside.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

/** Links of a page to files and headings that are not there. */
export function deadLinks({ file, text }: Page): readonly string[] {
  const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  return targets
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => {
      const [path = '', anchor] = target.split('#');
      const found = path === '' ? join(ROOT, file) : join(ROOT, dirname(file), path);
      if (!existsSync(found) || relative(ROOT, found).startsWith('..')) return true;
      return anchor !== undefined && !anchorsOf(readFileSync(found, 'utf8')).has(anchor);
    })
    .map((target) => `${file}: ${target}`);
}
