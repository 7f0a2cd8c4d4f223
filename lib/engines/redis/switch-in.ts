import { lstat, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { compactTime } from '#core/manifest';
import { AOF_DIRECTORY, ARTIFACT, OLD_AOF } from '#engines/redis/layout';

/**
 * Puts what is finished in `stage` into the target by renaming. What a server would read there is kept beside under a
 * name that no server looks at, and goes back if anything fails. The AOF directory first, both ways: whatever is cut
 * off here, a server never starts with old commands over new keys.
 * @returns where the old files now are
 */
export async function switchIn(stage: string, target: string, now: Date): Promise<readonly string[]> {
  const moved: { readonly from: string; readonly to: string }[] = [];
  const move = async (from: string, to: string): Promise<void> => {
    await rename(from, to);
    moved.push({ from, to });
  };
  const kept: string[] = [];
  try {
    for (const name of [OLD_AOF, AOF_DIRECTORY, ARTIFACT]) {
      const path = join(target, name);
      if (!(await exists(path))) continue;
      const aside = await freeName(`${path}.before-${compactTime(now)}`);
      await move(path, aside);
      kept.push(aside);
    }
    for (const name of [AOF_DIRECTORY, ARTIFACT]) await move(join(stage, name), join(target, name));
  } catch (error) {
    for (const { from, to } of moved.reverse()) await rename(to, from);
    throw error;
  }
  const directory = await open(target, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
  return kept;
}

async function freeName(wanted: string): Promise<string> {
  for (let number = 1; ; number++) {
    const name = number === 1 ? wanted : `${wanted}.${number}`;
    if (!(await exists(name))) return name;
  }
}

export async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false;
      throw error;
    },
  );
}
