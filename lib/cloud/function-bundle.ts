import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, type BuildResult, buildSync } from 'esbuild';
import { loadPlan } from '#core/plan-load';
import { BUNDLED_PLAN, type HostName, SETTINGS } from '#core/settings';

export type FunctionName = Exclude<HostName, 'worker'>;

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const FUNCTIONS = (Object.keys(SETTINGS) as HostName[]).filter((host) => host !== 'worker');

const BUNDLING = {
  absWorkingDir: ROOT,
  entryPoints: FUNCTIONS.map((name) => ({ in: join(ROOT, 'functions', name, 'handler.ts'), out: `${name}/index` })),
  outdir: join(ROOT, 'cdk.out'),
  outExtension: { '.js': '.mjs' },
  write: false,
  metafile: true,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  minify: true,
  // With native ESM half of it is shaken away. The SDK of the bundle, not whatever the runtime has this month.
  mainFields: ['module', 'main'],
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  // What a function needs no copy of, and what stands there instead.
  alias: { '@aws-sdk/credential-provider-node': join(ROOT, 'lib/host/lambda-credentials.ts') },
} satisfies BuildOptions;

/** One file for each function. All at once: what they share is read once. */
export function bundleFunctions(): BuildResult<typeof BUNDLING> {
  return buildSync(BUNDLING);
}

let bundles: ReadonlyMap<string, Uint8Array> | null = null;

/**
 * Writes what a function's directory holds: its one file, and the plan beside it, for people and as it reads it itself
 * (`BUNDLED_PLAN`): read and checked now, so that no function has to.
 */
export function writeFunction(name: FunctionName, planFile: string, folder: string): void {
  bundles ??= new Map(bundleFunctions().outputFiles.map(({ path, contents }) => [basename(dirname(path)), contents]));
  writeFileSync(join(folder, 'index.mjs'), bundles.get(name) as Uint8Array);
  copyFileSync(planFile, join(folder, 'holdfast.yaml'));
  const { text, value } = loadPlan(readFileSync(planFile, 'utf8'), planFile);
  writeFileSync(join(folder, BUNDLED_PLAN), JSON.stringify({ text, value }));
}
