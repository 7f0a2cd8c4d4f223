import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { App, Stack } from 'aws-cdk-lib';
import { DockerImageAsset } from 'aws-cdk-lib/aws-ecr-assets';
import { writeWorkerContext } from '#cloud/worker-bundle';
import { workerImage } from '#cloud/worker-image';
import { PlanInvalid } from '#core/errors';

const dir = mkdtempSync(join(tmpdir(), 'hf-image-'));
after(() => rmSync(dir, { recursive: true, force: true }));

/** What is in the image is looked at by itself. */
const context = { 'aws:cdk:bundling-stacks': [] };
const stack = (): Stack => new Stack(new App({ outdir: join(dir, 'out'), context }), 'Work');
const images = (of: Stack): number => of.node.children.filter((one) => one instanceof DockerImageAsset).length;
const url = '${DATABASE_URL}';

describe('the image of the worker', () => {
  test('its context is two programs and the Dockerfile, and the same twice', () => {
    const written = (): ReadonlyMap<string, string> => {
      writeWorkerContext(join(dir, 'context'));
      const names = readdirSync(join(dir, 'context')).sort();
      return new Map(names.map((name) => [name, readFileSync(join(dir, 'context', name), 'utf8')]));
    };
    const first = written();
    assert.deepEqual([...first.keys()], ['Dockerfile', 'sqlite-worker.mjs', 'worker.mjs']);
    const changed = statSync(join(dir, 'context/worker.mjs')).mtimeMs;
    assert.deepEqual(written(), first);
    assert.equal(statSync(join(dir, 'context/worker.mjs')).mtimeMs, changed, 'what is the same is not written again');
  });

  test('every program that the engines start from a file of their own is in it', () => {
    const text = readFileSync(join(dir, 'context/worker.mjs'), 'utf8');
    const named = [...text.matchAll(/["'`]([\w-]+(?:\.mjs|\$\{\w+\}))["'`],import\.meta/g)].map(([, name]) => name);
    assert.deepEqual(named, ['sqlite-worker${KIND}']);
    const beside = text.match(/new URL\([^;]{0,200}?import\.meta\.url\)|import\.meta\.(?:dir|file)name/g) ?? [];
    assert.equal(beside.length, 1, `looked for beside the bundle: ${beside}; add it to lib/cloud/worker-bundle`);
  });

  test('one for each major and set of packages, whatever their order', () => {
    const work = stack();
    const one = workerImage(work, { url, version: 16, packages: ['postgresql-16-pgvector', 'locales-all'] });
    assert.equal(workerImage(work, { url, version: '16', packages: ['locales-all', 'postgresql-16-pgvector'] }), one);
    assert.notEqual(workerImage(work, { url, version: '16.4' }), one);
    workerImage(work, { url, version: '17' });
    workerImage(work, undefined);
    assert.equal(images(work), 3);
  });

  test('what is no version and no package is refused, with what is', () => {
    for (const version of ['newest', '9', '1.7', '17; rm -rf /'])
      assert.throws(() => workerImage(stack(), { url, version }), {
        name: PlanInvalid.name,
        message: `postgres.version: got ${version}, want a major version such as 16`,
      });
    assert.throws(
      () => workerImage(stack(), { url, packages: ['postgis; curl x | sh'] }),
      /want names of Debian packages/,
    );
  });
});
