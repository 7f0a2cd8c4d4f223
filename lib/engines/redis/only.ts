import { UsageError } from '#core/errors';
import type { ScratchServer } from '#engines/redis/scratch-server';

/** Empties all databases of a scratch server but these. @throws UsageError when one of these is empty in the backup */
export async function keepOnly(server: ScratchServer, only: readonly number[]): Promise<void> {
  const held = (await server.databases()).map(({ index }) => index);
  const missing = only.filter((index) => !held.includes(index));
  if (missing.length > 0)
    throw new UsageError(`the backup has no keys in database ${missing.join(', ')}`, {
      hint: held.length > 0 ? `it has some in ${held.map((index) => `db${index}`).join(', ')}` : 'it has none at all',
    });
  for (const index of held.filter((candidate) => !only.includes(candidate))) {
    await server.connection.call('SELECT', String(index));
    await server.connection.call('FLUSHDB');
  }
}
