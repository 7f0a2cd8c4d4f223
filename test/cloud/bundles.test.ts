import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { bundleFunctions, FUNCTIONS } from '#cloud/function-bundle';

const LARGEST_BYTES = 768 * 1024;
const LONGEST_IMPORT_MILLISECONDS = 200;
/** Of the processor's time, as this machine may have other things to do; the best of so many counts. */
const IMPORTS = 5;
/** What `WORK` takes on the machine for which that holds. A slower one may take longer. */
const WORK_MILLISECONDS = 45;

describe('function bundles', () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-bundles-'));
  const inputs = new Map<string, readonly string[]>();
  after(() => rmSync(directory, { recursive: true, force: true }));

  before(() => {
    writeFileSync(join(directory, 'work.mjs'), WORK);
    const { outputFiles, metafile } = bundleFunctions();
    for (const host of FUNCTIONS) {
      mkdirSync(join(directory, host));
      const bundled = outputFiles.find(({ path }) => path.endsWith(`/${host}/index.mjs`));
      writeFileSync(join(directory, host, 'index.mjs'), bundled?.contents ?? '');
      const [, output] = Object.entries(metafile.outputs).find(([path]) => path.endsWith(`/${host}/index.mjs`)) ?? [];
      inputs.set(host, Object.keys(output?.inputs ?? {}));
      writeFileSync(join(directory, host, 'import.mjs'), MEASURE);
    }
  });

  for (const host of FUNCTIONS) {
    test(`${host}: at most 768 KiB`, () => {
      const { size } = statSync(join(directory, host, 'index.mjs'));
      assert.ok(size <= LARGEST_BYTES, `${Math.ceil(size / 1024)} KiB`);
    });

    test(`${host}: loads with nothing but its own file and an empty environment, in 200 ms`, () => {
      const milliseconds = best(join(directory, host, 'import.mjs'), LONGEST_IMPORT_MILLISECONDS);
      if (milliseconds <= LONGEST_IMPORT_MILLISECONDS) return;
      const slowness = Math.max(1, best(join(directory, 'work.mjs'), WORK_MILLISECONDS) / WORK_MILLISECONDS);
      assert.ok(
        milliseconds <= LONGEST_IMPORT_MILLISECONDS * slowness,
        `${milliseconds} ms, ${slowness} times as slow`,
      );
    });

    test(`${host}: brings no engine, no command line and no child process along`, () => {
      const foreign = (inputs.get(host) ?? []).filter((file) =>
        [
          /^lib\/(cli|cloud)\//,
          /^node_modules\/(commander|yaml|nodemailer|aws-cdk)/,
          // RUNBOOK.md knows each engine's words; the engines themselves are for tasks.
          /^lib\/engines\/\w+\/(engine|capture|load|restore|check)\.ts$/,
          /^lib\/host\/(processes|world|worker-.*)\.ts$/,
        ].some((pattern) => pattern.test(file)),
      );
      assert.deepEqual(foreign, []);
    });
  }
});

/**
 * Milliseconds, as the script itself tells them.
 * @param enough no better one is looked for
 */
function best(script: string, enough: number): number {
  const options = { cwd: dirname(script), encoding: 'utf8', env: { PATH: '/usr/bin:/bin' } } as const;
  let milliseconds = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < IMPORTS && milliseconds > enough; tries++) {
    const ended = spawnSync(process.execPath, [script], options);
    assert.equal(ended.status, 0, ended.stderr);
    milliseconds = Math.min(milliseconds, Number(ended.stdout));
  }
  return milliseconds;
}

const WORK = `const before = process.cpuUsage();
const { createHash } = await import('node:crypto');
const hash = createHash('sha256');
const words = Array.from({ length: 60_000 }, (_, index) => \`word \${(index * 7919) % 60_000}\`);
hash.update(JSON.stringify(JSON.parse(JSON.stringify(words)).sort()));
hash.digest();
const { user, system } = process.cpuUsage(before);
process.stdout.write(String(Math.round((user + system) / 1000)));
`;

const MEASURE = `const before = process.cpuUsage();
const { handler } = await import('./index.mjs');
const { user, system } = process.cpuUsage(before);
if (typeof handler !== 'function') throw new Error('no handler');
process.stdout.write(String(Math.round((user + system) / 1000)));
`;
