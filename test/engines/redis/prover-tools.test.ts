import { strict as assert } from 'node:assert';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { HoldfastError } from '#core/errors';
import type { Fingerprint } from '#engines/redis/fingerprint';
import { proverTools } from '#engines/redis/load';
import { openRun } from '#test/contracts/run-context';

type Version = Fingerprint['server'];

/** The paths chosen on a machine that has these servers and nothing else. */
async function chosen(installed: readonly Version[], backup: Version, target: Version | null): Promise<string[]> {
  const bin = await mkdtemp(join(tmpdir(), 'hf-tools-'));
  const opened = await openRun();
  try {
    for (const { flavour, version } of installed)
      for (const program of ['server', 'check-rdb']) {
        const path = join(bin, `${flavour}-${program}`);
        const says = version === 'broken' ? 'exit 1' : `echo "${flavour}-${program} v=${version}"`;
        await writeFile(path, `#!/bin/sh\n${says}\n`);
        await chmod(path, 0o755);
      }
    const { server, checker } = await proverTools({ server: backup } as Fingerprint, bin, opened.run, target);
    return [server, checker].map(({ path }) => path.slice(bin.length + 1));
  } finally {
    await opened.close();
    await rm(bin, { recursive: true });
  }
}

const redis = (version: string): Version => ({ flavour: 'redis', version });
const valkey = (version: string): Version => ({ flavour: 'valkey', version });

test('a backup is proven by a server of its own flavour where there is one', async () => {
  const both = [redis('8.0.2'), valkey('8.1.1')];
  assert.deepEqual(await chosen(both, valkey('8.1.1'), null), ['valkey-server', 'valkey-check-rdb']);
  assert.deepEqual(await chosen(both, redis('7.0.15'), null), ['redis-server', 'redis-check-rdb']);
  assert.deepEqual(await chosen([redis('7.2.4')], valkey('8.1.1'), null), ['redis-server', 'redis-check-rdb']);
});

test('I11: a restore into a server is compared by one that reads the RDB of both', async () => {
  const both = [redis('8.0.2'), valkey('8.1.1')];
  assert.deepEqual(await chosen(both, valkey('8.1.1'), redis('8.0.2')), ['redis-server', 'redis-check-rdb']);
  assert.deepEqual(await chosen(both, redis('7.0.15'), valkey('8.1.1')), ['redis-server', 'redis-check-rdb']);
});

test('I11: where none does, nothing is sent: it could not be compared', async () => {
  await assert.rejects(chosen([redis('7.0.15')], redis('7.0.15'), redis('8.0.2')), (error) => {
    assert.ok(error instanceof HoldfastError);
    assert.equal(error.exit, 6);
    assert.match(error.message, /redis-server 7\.0\.15 here cannot read the RDB of a redis 8\.0\.2/);
    assert.match(error.hint ?? '', /install redis-server 8\.0\.2/);
    return true;
  });
});

test('peers 3H: none, or one that does not run here, is no verdict on the backup', async () => {
  for (const installed of [[], [redis('broken')]])
    await assert.rejects(
      chosen(installed, redis('7.0.15'), null),
      (error) => error instanceof HoldfastError && error.exit === 6 && /apt-get|install/.test(error.hint ?? ''),
    );
});
