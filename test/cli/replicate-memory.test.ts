import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { good, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';

const MIB = 1024 * 1024;
const BACKUPS = 5;

describe('the memory of replicate', () => {
  let small: SmallPlan;
  let s3: S3ForTests;
  before(async () => {
    s3 = await s3ForTests();
    small = await smallPlan({ SPACES_KEY: s3.accessKeyId, SPACES_SECRET: s3.secretAccessKey });
    const there = `there: { s3: ${s3.bucket}, endpoint: "${s3.endpoint}", accessKeyId: "\${SPACES_KEY}", secretAccessKey: "\${SPACES_SECRET}" }`;
    small.plan({
      vaults: `{ here: { disk: ./vault, replica: { vault: there } }, ${there} }`,
      sources: [
        'tree: { files: { paths: [tree] }, prove: never, schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }] }',
      ],
    });
    await good(small.place.run('check', '--create'));
    // Three parts each: all of its buffers are in use.
    writeFileSync(small.place.path('tree', 'large.bin'), randomBytes(50 * MIB));
    for (let n = 0; n < BACKUPS; n++) await good(small.place.run('backup', 'tree'));
  });
  after(async () => {
    small?.place.remove();
    await s3?.close();
  });

  test('I8: five uploads of any size at a time stay under 256 MiB', async () => {
    const child = small.place.start(['replicate', '--json']);
    let [most, stdout] = [0, ''];
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    const timer = setInterval(() => {
      most = Math.max(most, peakOf(child.pid as number));
    }, 20);
    const code = await new Promise((done) => child.once('close', done));
    clearInterval(timer);
    assert.equal(code, 0, stdout);
    const { copies } = JSON.parse(stdout).result as { copies: { status: string; bytes: number }[] };
    assert.equal(copies.filter(({ status, bytes }) => status === 'copied' && bytes > 50 * MIB).length, BACKUPS);
    assert.ok(most > 100 * MIB, 'it was looked at while it worked');
    assert.ok(most < 256 * MIB, `${Math.round(most / MIB)} MiB`);
  });
});

/** Peak resident bytes so far; 0 when it has ended. */
function peakOf(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && (error as NodeJS.ErrnoException).code !== 'ESRCH')
      throw error;
    return 0;
  }
}
