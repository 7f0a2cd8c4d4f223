import { mkdirSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

/**
 * Writes `dist/cli/`: the command line as one file, which starts in less than half the time that its sources take.
 * `bin/holdfast` runs it as long as no source is newer, and the sources themselves otherwise. One file, so that a
 * `serve` of months never looks for a piece that the next bundle has taken away.
 */
const ROOT = fileURLToPath(new URL('../', import.meta.url));
// As deep below the root as `lib/cli`, which finds package.json, the schema and bin/ by its own place.
const FOLDER = join(ROOT, 'dist/cli');

const began = new Date();
const { outputFiles } = buildSync({
  absWorkingDir: ROOT,
  // `lib/engines/sqlite` starts the second one as a child, from beside itself.
  entryPoints: { 'sqlite-worker': 'lib/engines/sqlite/worker.ts', holdfast: 'bin/holdfast.ts' },
  outdir: FOLDER,
  outExtension: { '.js': '.cjs' },
  write: false,
  bundle: true,
  platform: 'node',
  target: 'node24',
  // As an ES module it would load every part of Node.js that any command wants, at each start.
  format: 'cjs',
  define: { 'import.meta.url': 'fileOfBundle', 'import.meta.dirname': '__dirname' },
  banner: { js: "const fileOfBundle = require('node:url').pathToFileURL(__filename).href;" },
  mainFields: ['module', 'main'],
  // Names stay as they are: `--debug` prints a stack.
  minifyWhitespace: true,
  minifySyntax: true,
});
mkdirSync(FOLDER, { recursive: true });
for (const { path, contents } of outputFiles) {
  const file = join(FOLDER, basename(path));
  const beside = `${file}.${process.pid}`;
  writeFileSync(beside, contents);
  // As old as the sources it was read from: one that changed meanwhile is newer.
  utimesSync(beside, began, began);
  renameSync(beside, file);
}
