import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { build, type Metafile } from 'esbuild';
import { ALIASES, BUNDLING, entryOf, ROOT } from '#cloud/function-bundle';
import { type HostName, SETTINGS } from '#core/settings';

const LARGEST_BYTES = 768 * 1024;
const LONGEST_IMPORT_MILLISECONDS = 200;
/** Of the processor's time, as this machine may have other things to do; the best of so many. */
const IMPORTS = 5;

const HOSTS = (Object.keys(SETTINGS) as HostName[]).filter((host) => host !== 'worker');

describe('function bundles', () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-bundles-'));
  const inputs = new Map<string, Metafile['inputs']>();
  after(() => rmSync(directory, { recursive: true, force: true }));

  before(async () => {
    for (const host of HOSTS) {
      mkdirSync(join(directory, host));
      const { metafile } = await build({
        entryPoints: [entryOf(host)],
        outfile: join(directory, host, 'index.mjs'),
        bundle: true,
        platform: 'node',
        format: BUNDLING.format,
        target: BUNDLING.target,
        minify: BUNDLING.minify,
        mainFields: [...BUNDLING.mainFields],
        banner: { js: BUNDLING.banner },
        alias: { ...ALIASES },
        absWorkingDir: ROOT,
        metafile: true,
        logLevel: 'error',
      });
      const [output] = Object.values(metafile.outputs);
      const used = new Set(Object.keys(output?.inputs ?? {}));
      inputs.set(host, Object.fromEntries(Object.entries(metafile.inputs).filter(([file]) => used.has(file))));
      writeFileSync(join(directory, host, 'import.mjs'), MEASURE);
    }
  });

  for (const host of HOSTS) {
    test(`${host}: at most 768 KiB`, () => {
      const { size } = statSync(join(directory, host, 'index.mjs'));
      assert.ok(size <= LARGEST_BYTES, `${Math.ceil(size / 1024)} KiB`);
    });

    test(`${host}: loads with nothing but its own file and an empty environment, in 200 ms`, () => {
      const times = Array.from({ length: IMPORTS }, () => {
        const ended = spawnSync(process.execPath, ['import.mjs'], {
          cwd: join(directory, host),
          encoding: 'utf8',
          env: { PATH: '/usr/bin:/bin' },
        });
        assert.equal(ended.status, 0, ended.stderr);
        return Number(ended.stdout);
      });
      assert.ok(Math.min(...times) <= LONGEST_IMPORT_MILLISECONDS, `${times.join(', ')} ms`);
    });

    test(`${host}: brings no engine, no command line and no child process along`, () => {
      const foreign = Object.keys(inputs.get(host) ?? {}).filter((file) =>
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

const MEASURE = `const before = process.cpuUsage();
const { handler } = await import('./index.mjs');
const { user, system } = process.cpuUsage(before);
if (typeof handler !== 'function') throw new Error('no handler');
process.stdout.write(String(Math.round((user + system) / 1000)));
`;
