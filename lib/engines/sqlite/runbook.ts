import { basename } from 'node:path';
import type { EngineGuide } from '#core/engine-guide';
import type { Manifest } from '#core/manifest';
import { inlineCode } from '#core/markdown';
import { hereDocument, shellWord } from '#core/shell';
import { readFingerprint } from '#engines/sqlite/fingerprint';
import { FILE_EXTENSIONS } from '#engines/sqlite/restore-script';

const TABLES_SHOWN = 200;

export function sqliteGuide(manifest: Manifest): EngineGuide {
  const { content, measures } = manifest.fingerprint;
  const print = content === null ? null : readFingerprint(content);
  const { source } = manifest;
  const path = manifest.identity['path'] ?? `${source}.db`;
  const tables = (print?.tables ?? []).filter(({ rows }) => rows !== null).slice(0, TABLES_SHOWN);
  const counts = tables.map(({ name }) => `select count(*), ${text(name)} from ${quoted(name)};`);
  const probes = manifest.probes.map(({ name, query }) => `select ${text(`probe ${name}:`)};\n${query}\n;`);
  const script = hereDocument('sqlite3 -readonly "$TARGET"', [...counts, ...probes].join('\n'));
  const answer = [
    ...tables.map(({ name, rows }) => `${rows}|${name}`),
    ...manifest.probes.flatMap((probe) => [
      `probe ${probe.name}:`,
      ...probe.answer.map((row) => row.map((cell) => cell ?? '').join('|')),
    ]),
  ].join('\n');
  return {
    packages: ['sqlite3'],
    beforeInstall: [],
    afterInstall: [],
    target: [
      `The file to make, ending in ${FILE_EXTENSIONS.join(', ')}; or a directory for it. Nothing there is overwritten.`,
    ],
    exampleTarget: `"$PWD"/${shellWord(fileName(path))}`,
    makeTarget: null,
    look: counts.length + probes.length === 0 ? null : { script, answer },
    expect: [
      'the script compares the sha256 of the whole file with the snapshot: `restored …` means equal, byte for byte',
      `tables: ${measures['tables'] ?? 'unknown'}, rows: ${measures['rows'] ?? 'unknown'}`,
    ],
    after: [
      `It was ${inlineCode(path)}. Stop the application, move the old file away **together with** its \`-wal\`, \`-shm\` and \`-journal\`, then put this one there, with the application's user as its owner. A stale \`-wal\` beside it would be played into it.`,
    ],
    putInPlace: null,
    notCompared: (print?.unchecked ?? []).map((what) => `only the application can check: ${inlineCode(what)}`),
  };
}

/** One that the script takes for a file, whatever the source's is called. */
function fileName(path: string): string {
  const name = basename(path);
  return FILE_EXTENSIONS.some((extension) => name.endsWith(extension)) ? name : `${name}.db`;
}

function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
