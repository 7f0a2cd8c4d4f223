import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isErrno } from '#vault/disk-errors';

/** The device a path lies on, or would lie on; null when nobody lets us look. Two paths on one device get one text. */
export async function mediumOf(path: string): Promise<string | null> {
  for (let place = path; ; place = dirname(place)) {
    try {
      const { dev } = await stat(place);
      return `device ${dev}`;
    } catch (error) {
      if (!isErrno(error)) throw error;
      if (error.code !== 'ENOENT' || place === dirname(place)) return null;
    }
  }
}
