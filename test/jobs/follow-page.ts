import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Block {
  /** What stands after the fence: `sh`, `sh tools`, `text`. */
  readonly info: string;
  readonly text: string;
}

/** Fenced blocks as CommonMark reads them, closed by a fence at least as long; and the lines outside of them. */
export function readPage(page: string): { readonly blocks: readonly Block[]; readonly outside: readonly string[] } {
  const blocks: Block[] = [];
  const outside: string[] = [];
  let open: { fence: number; info: string; lines: string[] } | null = null;
  for (const line of page.split('\n')) {
    const [, fence = '', rest = ''] = /^(`{3,})(.*)$/.exec(line) ?? [];
    if (!open && fence !== '' && !rest.includes('`')) open = { fence: fence.length, info: rest.trim(), lines: [] };
    else if (open && fence.length >= open.fence && rest.trim() === '') {
      blocks.push({ info: open.info, text: open.lines.map((one) => `${one}\n`).join('') });
      open = null;
    } else (open?.lines ?? outside).push(line);
  }
  if (open) throw new Error(`a fence of the page is never closed: ${open.lines.slice(0, 3).join('\n')}`);
  return { blocks, outside };
}

export function blocksOf(page: string): readonly Block[] {
  return readPage(page).blocks;
}

export interface Followed {
  readonly code: number | null;
  /** stdout and stderr, as a terminal shows them. */
  readonly said: string;
}

/**
 * Does what the page says: its own `sh` blocks, as they stand, in one shell with an empty environment and the machine's
 * programs. Not those that would install packages or make this machine a server.
 * @param home a directory of the test's own
 * @param edit what the reader corrects: the right side of `export NAME=`, by name and what stands there; null = as it is
 */
export function followPage(
  page: string,
  home: string,
  edit: (name: string, there: string) => string | null,
): Promise<Followed> {
  const script = blocksOf(page)
    .filter(({ info }) => info === 'sh')
    .map(({ text }) =>
      text.replace(/^export ([A-Z_]+)=(.*)$/gm, (line, name: string, there: string) => {
        const value = edit(name, there);
        return value === null ? line : `export ${name}='${value.replaceAll("'", "'\\''")}'`;
      }),
    )
    .join('\n');
  mkdirSync(home, { recursive: true });
  const file = join(home, 'followed.sh');
  writeFileSync(file, `exec 2>&1\n${script}`);
  return new Promise((done) => {
    const env = { HOME: home, PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin' };
    execFile('/bin/bash', [file], { cwd: home, env, maxBuffer: 64 << 20, timeout: 300_000 }, (error, stdout) =>
      done({ code: error ? Number(error.code ?? -1) : 0, said: stdout }),
    );
  });
}
