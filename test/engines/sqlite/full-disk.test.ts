import { strict as assert } from 'node:assert';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openRun } from '#test/contracts/run-context';
import { inFolder } from '#test/engines/sqlite/temporary';

test('peers 3A: a full disk is a lack of space, says so, and leaves neither half a backup nor half a restore', async () => {
  await inFolder(async (folder) => {
    const opened = await openRun();
    try {
      const full = join(folder, 'full');
      mkdirSync(full);
      // A mount namespace of its own: the small file system is gone with the process.
      const { stdout } = await opened.run.processes.run({
        program: 'unshare',
        args: [
          process.getuid?.() === 0 ? '-m' : '-Urm',
          'sh',
          '-euc',
          'mount -t tmpfs -o size=1m none "$1"; shift; exec "$@"',
          'sh',
          full,
          process.execPath,
          '--disable-warning=ExperimentalWarning',
          fileURLToPath(new URL('full-disk.ts', import.meta.url)),
          full,
          folder,
        ],
      });
      const outcomes = JSON.parse(stdout);
      assert.ok(outcomes.bytes > 1_200_000, stdout);
      assert.match(outcomes.capture, /^space-lacking: .* free in .*, the snapshot needs 1\.\d MB \/ make room/);
      assert.match(outcomes.snapshot, /^space-lacking: no space is left while writing .*copy\.db \/ make room/);
      assert.match(outcomes.load, /^space-lacking: no space is left/);
      assert.match(outcomes['load from a stream'], /^space-lacking: no space is left/);
      assert.match(outcomes.restore, /^space-lacking: no space is left/);
      assert.equal(outcomes['target kept'], true);
      assert.deepEqual(outcomes.left, ['copy.db', 'target', 'target/app.db']);
    } finally {
      await opened.close();
    }
  });
});
