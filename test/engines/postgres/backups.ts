import { strict as assert } from 'node:assert';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Difference, RestoredCopy, RunContext, SourceRef } from '#core/ports';
import { postgres } from '#engines/postgres/engine';
import { openRun } from '#test/contracts/run-context';
import { type StoredBackup, storeCapture } from '#test/contracts/stored-backup';

const execute = promisify(execFile);

/** A run of its own, ended afterwards. */
export async function inRun<T>(work: (run: RunContext) => Promise<T>): Promise<T> {
  const opened = await openRun();
  try {
    return await work(opened.run);
  } finally {
    await opened.close();
  }
}

/** Captured and stored, for as long as `work` lasts. */
export async function withBackup<T>(
  source: SourceRef,
  work: (stored: StoredBackup, run: RunContext) => Promise<T>,
  during: () => Promise<void> = async () => undefined,
): Promise<T> {
  return inRun(async (run) => {
    const capture = await postgres.capture(source, run);
    let stored: StoredBackup | null = null;
    try {
      await during();
      stored = await storeCapture(capture, source, run);
    } finally {
      await capture.close();
    }
    try {
      return await work(stored, run);
    } finally {
      await stored.remove();
    }
  });
}

/** Loads into the scratch cluster, changes, compares. */
export async function differences(
  stored: StoredBackup,
  source: SourceRef,
  run: RunContext,
  change: (copy: RestoredCopy) => Promise<void> = async () => undefined,
): Promise<readonly Difference[]> {
  const copy = await postgres.load(stored.backup(run, { through: 'child' }), source, run);
  try {
    await change(copy);
    return await copy.compare();
  } finally {
    await copy.close();
  }
}

/** Loads, sees that the copy is equal, changes it, compares. */
export async function differencesAfter(
  stored: StoredBackup,
  source: SourceRef,
  run: RunContext,
  change: (copy: RestoredCopy) => Promise<unknown>,
): Promise<readonly Difference[]> {
  return differences(stored, source, run, async (copy) => {
    assert.deepEqual(await copy.compare(), []);
    await change(copy);
  });
}

/** The manifest's script as a person would run it. */
export async function runScript(stored: StoredBackup, target: string): Promise<void> {
  const script = `set -eu\nplain() { cat "$VAULT/$1"; }\n${stored.result.restoreScript}`;
  await execute('sh', ['-eu', '-c', script], {
    env: { PATH: process.env['PATH'], VAULT: stored.folder, TARGET: target },
  });
}

/** SQL at any address; unaligned rows. */
export async function sqlAt(where: string, text: string): Promise<string> {
  const { stdout } = await execute('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', where, '-c', text]);
  return stdout.trimEnd();
}

/** Two long texts: says only which lines differ. */
export function assertSameLines(actual: string, expected: string): void {
  if (actual === expected) return;
  const [left, right] = [actual.split('\n'), expected.split('\n')];
  const at = left.findIndex((line, index) => line !== right[index]);
  assert.fail(
    `line ${at + 1} of ${left.length}/${right.length}: got ${JSON.stringify(left.slice(at, at + 4))}, want ${JSON.stringify(right.slice(at, at + 4))}`,
  );
}
