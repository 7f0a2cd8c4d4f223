import { canonicalJson } from '#core/manifest';
import type { Difference, RunContext } from '#core/ports';
import { stopIfCancelled } from '#engines/redis/cancelled';
import type { Reply, RespConnection } from '#engines/redis/resp';
import type { ScratchServer } from '#engines/redis/scratch-server';

const PAGE = '500';

export const OTHER_GROUPS = 'stream with other ids or consumer groups';
/** Those that a server does not have, before Redis 7, are the same on both sides. */
const GIVEN_OUT = ['last-generated-id', 'max-deleted-entry-id', 'entries-added'];

/**
 * Compares two scratch servers key by key. Says database, type and how many, never a key's name: names hold session
 * ids and e-mail addresses, and differences go into proofs that are kept for years.
 * Both being replicas, a key whose time is over cannot be seen on either side, and is no difference.
 * @param only database numbers; null = all that either has
 */
export async function keyDifferences(
  expected: ScratchServer,
  found: ScratchServer,
  only: readonly number[] | null,
  run: RunContext,
): Promise<readonly Difference[]> {
  const indexes = new Set(
    only ?? [...(await expected.databases()), ...(await found.databases())].map(({ index }) => index),
  );
  const counts = new Map<Difference, number>();
  const note = (index: number, what: string): void => {
    const line = `db ${index}: ${what}`;
    counts.set(line, (counts.get(line) ?? 0) + 1);
  };
  for (const index of [...indexes].sort((a, b) => a - b)) {
    const [here, there] = [expected.connection, found.connection];
    await Promise.all([here.call('SELECT', String(index)), there.call('SELECT', String(index))]);
    for await (const keys of scan(here, run)) {
      const [want, got] = await Promise.all([describe(here, keys), describe(there, keys)]);
      for (const [at, key] of keys.entries()) {
        const before = want[at] as Description;
        const after = got[at] as Description;
        if (canonicalJson(before) === canonicalJson(after)) continue;
        // Its time may have come between the two looks.
        if (before.type === 'none' || (await here.call('EXISTS', key)) === 0) continue;
        if (after.type === 'none') note(index, `${before.type} missing`);
        else if (before.digest === after.digest && before.expiry !== after.expiry)
          note(index, `${before.type} with another expiry`);
        else if (before.digest === after.digest) note(index, OTHER_GROUPS);
        else note(index, `${before.type} with another value`);
      }
    }
    for await (const keys of scan(there, run)) {
      const known = await Promise.all(keys.map((key) => here.call('EXISTS', key)));
      for (const [at, key] of keys.entries())
        if (known[at] === 0 && (await there.call('EXISTS', key)) === 1)
          note(index, `${await there.call('TYPE', key)} that was not captured`);
    }
  }
  return [...counts].map(([line, count]) => `${line} (${count} ${count === 1 ? 'key' : 'keys'})`);
}

interface Description {
  readonly type: string;
  readonly digest: string;
  /** Unix milliseconds, -1 without; always -1 before Redis 7, which cannot be asked. */
  readonly expiry: number;
  /** Of a stream: the ids it has given out, its groups, and what they have pending. */
  readonly groups: string;
}

async function describe(connection: RespConnection, keys: readonly Buffer[]): Promise<readonly Description[]> {
  const [digests, types, expiries] = await Promise.all([
    connection.call('DEBUG', 'DIGEST-VALUE', ...keys),
    Promise.all(keys.map((key) => connection.call('TYPE', key))),
    Promise.all(keys.map((key) => connection.call('PEXPIRETIME', key).catch(() => -1))),
  ]);
  const groups = await Promise.all(
    keys.map((key, at) => (types[at] === 'stream' ? groupsOf(connection, key) : Promise.resolve(''))),
  );
  return keys.map((_key, at) => ({
    digest: String((digests as readonly unknown[])[at]),
    type: String(types[at]),
    expiry: Number(expiries[at]),
    groups: groups[at] as string,
  }));
}

async function groupsOf(connection: RespConnection, key: Buffer): Promise<string> {
  const groups = (await connection.call('XINFO', 'GROUPS', key)) as readonly (readonly Reply[])[];
  const pending = await Promise.all(groups.map((group) => connection.call('XPENDING', key, group[1] as Buffer)));
  const stream = (await connection.call('XINFO', 'STREAM', key)) as readonly Reply[];
  const ids = GIVEN_OUT.map((name) => stream[stream.findIndex((field) => String(field) === name) + 1]);
  return JSON.stringify([groups, pending, ids.map(String)]);
}

async function* scan(connection: RespConnection, run: RunContext): AsyncGenerator<readonly Buffer[]> {
  let cursor = '0';
  do {
    stopIfCancelled(run);
    const [next, keys] = (await connection.call('SCAN', cursor, 'COUNT', PAGE)) as [Buffer, readonly Buffer[]];
    cursor = next.toString();
    if (keys.length > 0) yield keys;
  } while (cursor !== '0');
}
