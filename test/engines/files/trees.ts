import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { planSchema } from '#core/plan';
import type { SourceRef } from '#core/ports';

export const MARKER = 'a marker that stands as it is';

/** A directory for one test file; `remove` in its `after`. */
export function temporary(name: string): { readonly path: string; folder(): string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), `holdfast-${name}-`));
  let made = 0;
  return {
    path,
    folder() {
      made++;
      const folder = join(path, String(made));
      mkdirSync(folder);
      return folder;
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}

/** A source as the plan's schema makes it. */
export function filesSource(
  files: { paths: string[]; exclude?: string[]; sanitise?: boolean; onChange?: boolean },
  more: Record<string, unknown> = {},
): SourceRef {
  const plan = planSchema.parse({
    version: 1,
    name: 'test',
    encryption: 'none',
    vaults: { here: { disk: '/nowhere' } },
    tiers: { daily: { keep: '7d' } },
    sources: { tree: { files, schedule: [{ every: '1h', tier: 'daily', to: ['here'] }], ...more } },
  });
  const settings = plan.sources['tree'];
  assert.ok(settings);
  return { name: 'tree', settings };
}

/** Some of everything that is usual. */
export function fillTree(folder: string): void {
  mkdirSync(join(folder, 'docs/deep/er'), { recursive: true });
  mkdirSync(join(folder, 'empty'));
  writeFileSync(join(folder, 'readme.txt'), `${MARKER}\n`);
  writeFileSync(join(folder, 'nothing'), '');
  writeFileSync(join(folder, 'docs/deep/er/run.sh'), '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(join(folder, 'big.bin'), randomBytes(3_000_001));
  for (let index = 0; index < 200; index++)
    writeFileSync(join(folder, 'docs', `${index}.json`), JSON.stringify({ index, text: 'x'.repeat(index * 7) }));
  symlinkSync('../readme.txt', join(folder, 'docs/link'));
  symlinkSync('/nowhere/at all', join(folder, 'dangling'));
  linkSync(join(folder, 'readme.txt'), join(folder, 'docs/hard'));
  utimesSync(join(folder, 'docs/1.json'), new Date(), new Date('1965-03-02T01:02:03.250Z'));
}

/** Everything that a file system allows and programs forget. */
export function fillOddTree(folder: string): void {
  const bytes = (text: string): Buffer => Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(text, 'latin1')]);
  const names = [
    '-rf',
    '--checkpoint-action=exec=sh',
    ' ',
    'a b',
    "it's",
    '"quoted"',
    '$(id)',
    '*',
    '?',
    '[a]',
    '\\n',
    'back\\slash\\',
    'new\nline',
    'tab\t',
    '\x01control',
    'é'.normalize('NFC'),
    'é'.normalize('NFD'),
    '日本語 🦊',
    'x'.repeat(255),
    '…'.repeat(85),
    'trailing.',
    '~',
    '.hidden',
    'a:b',
    '%p',
    '#x',
    '@file',
    '..dots',
    '...',
  ];
  for (const name of names) writeFileSync(join(folder, name), name);
  writeFileSync(bytes('caf\xe9 \xff\xfe'), 'not utf-8');
  mkdirSync(bytes('dir \xe9'));
  writeFileSync(bytes('dir \xe9/in\nside \xe8'), 'not utf-8 either');
  symlinkSync(Buffer.from('target \xe9', 'latin1'), bytes('link \xe9'));
  let deep = folder;
  while (deep.length < 3500) {
    deep = join(deep, 'd'.repeat(200));
    mkdirSync(deep);
  }
  writeFileSync(join(deep, 'bottom'), 'deep');
  symlinkSync('loop', join(folder, 'loop'));
  symlinkSync('.', join(folder, 'self'));
  symlinkSync('x'.repeat(1000), join(folder, 'far'));
  writeFileSync(join(folder, 'setuid'), 'x', { mode: 0o755 });
  execFileSync('chmod', ['6755', join(folder, 'setuid')]);
  mkdirSync(join(folder, 'closed'), { mode: 0o500 });
  execFileSync('mkfifo', [join(folder, 'fifo')]);
  sparse(join(folder, 'hole only'), 5_000_000, []);
  sparse(join(folder, 'holes'), 40_000_000, [0, 4096 * 100, 20_000_000, 39_999_990]);
  lutimesSync(join(folder, 'loop'), new Date(), new Date('1950-01-01T00:00:00.5Z'));
  utimesSync(join(folder, '~'), new Date(), new Date('1901-12-14T00:00:00Z'));
}

/** A file of `size` bytes with a few bytes of data at each offset. */
export function sparse(path: string, size: number, offsets: readonly number[]): void {
  writeFileSync(path, '');
  truncateSync(path, size);
  for (const offset of offsets)
    execFileSync('dd', [`of=${path}`, 'bs=1', `seek=${offset}`, 'conv=notrunc', 'status=none'], { input: 'data' });
}

/** All that can be seen of a tree, made without Holdfast: equal trees, equal text. */
export function listTree(folder: string): string {
  const shell = (command: string): string =>
    execFileSync('sh', ['-c', command], { cwd: folder, encoding: 'latin1', maxBuffer: 1 << 28 });
  // Sizes of directories are the file system's business.
  return [
    shell(String.raw`find . ! -type d -printf '%P | %y %m %U:%G %T@ %s -> %l\0' | LC_ALL=C sort -z`),
    shell(String.raw`find . -mindepth 1 -type d -printf '%P | %y %m %U:%G %T@\0' | LC_ALL=C sort -z`),
    shell(`find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z`),
    ...hardLinks(shell(String.raw`find . -type f -links +1 -printf '%i %P\0'`)),
  ].join('\n');
}

/** Names that are one file, a line for each file. */
function hardLinks(found: string): readonly string[] {
  const groups = new Map<string, string[]>();
  for (const record of found.split('\0').filter(Boolean)) {
    const space = record.indexOf(' ');
    const names = groups.get(record.slice(0, space)) ?? [];
    groups.set(record.slice(0, space), [...names, record.slice(space + 1)]);
  }
  return [...groups.values()]
    .filter((names) => names.length > 1)
    .map((names) => names.sort().join(' = '))
    .sort();
}
