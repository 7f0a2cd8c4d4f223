import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, StateUnwritable } from '#core/errors';
import type { Notes } from '#core/ports';
import { stateFolder } from '#host/intents';

/**
 * One file for each note: `<state>/notes/<plan>/<name>.json`, mode 0600; `<state>` as for intents. A note that is not
 * there, or that cannot be read, is null: what it said can be found out again, or was only a convenience.
 */
export function fileNotes(environment: Readonly<Record<string, string | undefined>>, plan: string): Notes {
  const folder = join(stateFolder(environment), 'notes', plan);
  return {
    async read(name) {
      try {
        return JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8')) as unknown;
      } catch (error) {
        if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code !== undefined) return null;
        throw error;
      }
    },
    async write(name, value) {
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        const file = join(folder, `${name}.json`);
        const temporary = `${file}.${process.pid}.part`;
        const handle = await open(temporary, 'w', 0o600);
        try {
          await handle.writeFile(JSON.stringify(value));
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(temporary, file);
      } catch (error) {
        throw new StateUnwritable(`cannot note in ${folder}: ${messageOf(error)}`, {
          hint: 'give a directory that may be written, and survives a restart, by HOLDFAST_STATE',
          cause: error,
        });
      }
    },
  };
}
