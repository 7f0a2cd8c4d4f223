import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs';
import { loadPlan } from '#core/plan-load';
import type { HostName } from '#core/settings';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Outside of a function's own output, which several functions would write at once. */
const PLANS = join(ROOT, 'cdk.out', 'plans');

/** How every function is bundled: with `mainFields` and native ESM half of it is shaken away. */
export const BUNDLING = {
  format: OutputFormat.ESM,
  target: 'node24',
  minify: true,
  mainFields: ['module', 'main'],
  banner: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
} as const;

/** What a function needs no copy of, and what stands there instead. */
export const ALIASES: Readonly<Record<string, string>> = {
  '@aws-sdk/credential-provider-node': join(ROOT, 'lib/host/lambda-credentials.ts'),
};

export function entryOf(host: Exclude<HostName, 'worker'>): string {
  return join(ROOT, 'functions', host, 'handler.ts');
}

/** Reads and checks the plan now, so that no function has to; writes what they read instead (`BUNDLED_PLAN`). */
export function bundledPlanFile(planFile: string): string {
  const { text, value, sha256 } = loadPlan(readFileSync(planFile, 'utf8'), planFile);
  mkdirSync(PLANS, { recursive: true });
  const file = join(PLANS, `${sha256}.json`);
  writeFileSync(file, JSON.stringify({ text, value }));
  return file;
}
