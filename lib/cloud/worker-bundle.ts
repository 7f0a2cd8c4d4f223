import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Programs of the image by their names there. `lib/engines/sqlite` starts the second one as a child, from beside itself. */
const PROGRAMS = {
  worker: 'containers/worker/main.ts',
  'sqlite-worker': 'lib/engines/sqlite/worker.ts',
} as const;

/**
 * Writes the Docker context of the worker's image into a directory: its programs with everything they import, and the
 * Dockerfile. Nothing else, so that an edit of a document or a test rebuilds no image.
 */
export function writeWorkerContext(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const { outputFiles } = buildSync({
    absWorkingDir: ROOT,
    entryPoints: { ...PROGRAMS },
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    // Names stay as they are: a stack trace in a task's log is all there is to go by.
    minifyWhitespace: true,
    minifySyntax: true,
    mainFields: ['module', 'main'],
    // Some dependencies are CommonJS, and require what Node has built in.
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
  for (const { path, contents } of outputFiles) replace(join(folder, basename(path)), contents);
  replace(join(folder, 'Dockerfile'), readFileSync(join(ROOT, 'containers/worker/Dockerfile')));
}

/** In one step, and only when it differs: another synthesis may be reading the directory at this moment. */
function replace(file: string, contents: Uint8Array): void {
  if (existsSync(file) && readFileSync(file).equals(contents)) return;
  const beside = `${file}.${process.pid}`;
  writeFileSync(beside, contents);
  renameSync(beside, file);
}
