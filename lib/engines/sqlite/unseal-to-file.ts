import { closeSync, fsyncSync, openSync } from 'node:fs';
import { Cancelled, CommandFailed, SpaceLacking } from '#core/errors';
import type { OpenBackup, RunContext } from '#core/ports';
import { ARTIFACT } from '#engines/sqlite/capture';

/**
 * Writes the snapshot into a new file, synced.
 * @throws Disproven the stored bytes are wrong; SpaceLacking; whatever reading the vault throws
 */
export async function unsealToFile(backup: OpenBackup, path: string, run: RunContext): Promise<void> {
  const descriptor = openSync(path, 'wx', 0o600);
  try {
    const plain = await backup.open(ARTIFACT);
    // Judged below, after the writing end, whose trouble (no space) breaks this one too.
    const whole = plain.whole.then(
      () => null,
      (error: unknown) => ({ error }),
    );
    try {
      await run.processes.pipe([{ program: 'cat', args: [] }], { stdin: plain.bytes, stdout: descriptor }).done;
    } catch (error) {
      plain.stop();
      const failed = await whole;
      if (error instanceof CommandFailed && /no space left|quota exceeded/i.test(error.stderr))
        throw new SpaceLacking(`no space is left while writing ${path}`, {
          hint: 'make room there, or point TMPDIR (or the target) at a larger disk',
          cause: error,
        });
      throw failed && !(error instanceof Cancelled) ? failed.error : error;
    }
    const failed = await whole;
    if (failed) throw failed.error;
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
