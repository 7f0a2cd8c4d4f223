import { mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, buildSync } from 'esbuild';

/**
 * Writes `dist/cli/`: the command line as one file, which starts in less than half the time that its sources take.
 * `bin/holdfast` runs it as long as no source is newer, and the sources themselves otherwise. One file, so that a
 * `serve` of months never looks for a piece that the next bundle has taken away.
 */
const ROOT = fileURLToPath(new URL('../', import.meta.url));
// As deep below the root as `lib/cli`, which finds package.json, the schema and bin/ by its own place.
const FOLDER = join(ROOT, 'dist/cli');

const began = new Date();
const SHARED = {
  bundle: true,
  platform: 'node',
  target: 'node24',
  mainFields: ['module', 'main'],
  minifySyntax: true,
} satisfies BuildOptions;
const { outputFiles } = build();
mkdirSync(FOLDER, { recursive: true });
for (const { path, contents } of outputFiles) {
  const file = join(FOLDER, basename(path));
  const beside = `${file}.${process.pid}`;
  writeFileSync(beside, contents);
  // As old as the sources it was read from: one that changed meanwhile is newer.
  utimesSync(beside, began, began);
  renameSync(beside, file);
}

/**
 * In two steps: what is loaded when it is needed becomes a piece each, without what nobody asks of it, and the pieces
 * become one file. In one step each of 900 modules would stay whole and be loaded by itself: 10 ms more, with S3 20.
 */
function build() {
  const pieces = mkdtempSync(join(tmpdir(), 'holdfast-bundle-'));
  try {
    buildSync({
      ...SHARED,
      absWorkingDir: ROOT,
      // `lib/engines/sqlite` starts the second one as a child, from beside itself.
      entryPoints: { 'sqlite-worker': 'lib/engines/sqlite/worker.ts', holdfast: 'bin/holdfast.ts' },
      outdir: pieces,
      splitting: true,
      format: 'esm',
    });
    return buildSync({
      ...SHARED,
      // Names of modules count from here: the same sources give the same bundle.
      absWorkingDir: pieces,
      entryPoints: ['sqlite-worker.js', 'holdfast.js'],
      outdir: FOLDER,
      outExtension: { '.js': '.cjs' },
      write: false,
      // As an ES module it would load every part of Node.js that any command wants, at each start.
      format: 'cjs',
      define: { 'import.meta.url': 'fileOfBundle', 'import.meta.dirname': '__dirname' },
      banner: { js: "const fileOfBundle = require('node:url').pathToFileURL(__filename).href;" },
      // Names stay as they are: `--debug` prints a stack.
      minifyWhitespace: true,
    });
  } finally {
    rmSync(pieces, { recursive: true });
  }
}
