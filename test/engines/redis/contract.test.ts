import { setTimeout as wait } from 'node:timers/promises';
import type { RestoredCopy, SourceRef } from '#core/ports';
import { redis } from '#engines/redis/engine';
import { type EngineKit, engineContract } from '#test/contracts/engine';
import { commands, contentsOf, write } from '#test/engines/redis/contents';
import { fillWithEverything, fillWithOddNames, MARKER } from '#test/engines/redis/data';
import { createBench, sourceOf } from '#test/engines/redis/kit';
import type { RedisServer } from '#test/servers/redis';

const PASSWORD = 'p@ss:w0rd/%21é';

const bench = createBench();
const servers = new Map<SourceRef, RedisServer>();

async function start(fill: (server: RedisServer) => Promise<void>): Promise<SourceRef> {
  const server = await bench.server({ config: [`requirepass "${PASSWORD}"`], password: PASSWORD });
  await fill(server);
  const source = sourceOf(`redis://:\${CACHE_PASSWORD}@127.0.0.1:${server.port}`);
  servers.set(source, server);
  return source;
}

function serverOf(source: SourceRef): RedisServer {
  const server = servers.get(source);
  if (!server) throw new Error('not a source of this kit');
  return server;
}

/** Sends commands to a restored copy as anybody could who knows where it is. */
function change(...list: readonly (readonly string[])[]): (copy: RestoredCopy) => Promise<void> {
  return async ({ where }) => {
    const socket = where.replace('unix://', '');
    const { spawnSync } = await import('node:child_process');
    const { stdout, status } = spawnSync('redis-cli', ['-s', socket, '--pipe'], { input: commands(list) });
    if (status !== 0 || !/errors: 0,/.test(String(stdout))) throw new Error(`the change did not happen: ${stdout}`);
  };
}

const kit: EngineKit = {
  engine: redis,
  variables: { CACHE_PASSWORD: encodeURIComponent(PASSWORD) },
  secrets: [PASSWORD, encodeURIComponent(PASSWORD)],
  marker: MARKER,
  switchesAtTheEnd: true,
  start: async () => undefined,
  stop: () => bench.clear(),
  source: () => start(fillWithEverything),
  emptySource: () => start(async () => undefined),
  oddSource: () => start(fillWithOddNames),
  absentSource: async () => sourceOf('redis://:${CACHE_PASSWORD}@127.0.0.1:1'),
  mutate: (source) =>
    write(serverOf(source), [
      ['SET', 'marker', 'changed'],
      ['DEL', 'list'],
      ['SET', 'new', 'x'],
    ]),
  failures: {
    'the server is killed while it sends': async () => {
      const source = await start(async (server) => {
        await server.cli(['DEBUG', 'POPULATE', '200000', 'key', '100']);
        // Microseconds a key: the transfer takes seconds.
        await server.cli(['CONFIG', 'SET', 'rdb-key-save-delay', '20']);
      });
      const server = serverOf(source);
      return {
        source,
        async at(stage) {
          if (stage !== 'capturing') return;
          while (!/rdb_bgsave_in_progress:1/.test(await server.cli(['INFO', 'persistence']))) await wait(10);
          await wait(500);
          await server.stop();
        },
      };
    },
    'the connection is cut while the server sends': async () => {
      const source = await start(async (server) => {
        await server.cli(['DEBUG', 'POPULATE', '200000', 'key', '100']);
        await server.cli(['CONFIG', 'SET', 'rdb-key-save-delay', '20']);
      });
      const server = serverOf(source);
      return {
        source,
        async at(stage) {
          if (stage !== 'capturing') return;
          while (!/rdb_bgsave_in_progress:1/.test(await server.cli(['INFO', 'persistence']))) await wait(10);
          await wait(500);
          await server.cli(['CLIENT', 'KILL', 'TYPE', 'replica']);
        },
      };
    },
  },
  changes: {
    'one value changed': change(['SET', 'number', '12346']),
    'two fields of a hash exchanged': change(['HSET', 'long-hash', 'field1', 'value2', 'field2', 'value1']),
    'two items of a list exchanged': change(['LSET', 'list', '0', 'b'], ['LSET', 'list', '1', 'a']),
    'one key gone': change(['DEL', 'empty']),
    'one key more': change(['SET', 'more', '1']),
    'one key moved to another database': change(['MOVE', 'marker', '7']),
    'one member of a set exchanged for another': change(['SREM', 'set', 'member-1'], ['SADD', 'set', 'member-x']),
    'a key that expired now stays': change(['PERSIST', 'session']),
    'a key that expires at another time': change(['PEXPIRE', 'session', '7777777']),
    'a consumer group lost': change(['XGROUP', 'DESTROY', 'stream', 'workers']),
    'a stream that gives out other ids': change(['XSETID', 'stream', '99-0']),
    'a function lost': change(['FUNCTION', 'DELETE', 'mylib']),
  },
  placeOf: (source) => String(serverOf(source).port),
  async contents(place) {
    const known = [...servers.values()].find(({ port }) => String(port) === place);
    return contentsOf(known ?? (await bench.serverOver(place, { config: ['appendonly yes'] })));
  },
  emptyTarget: () => bench.directory(),
  async filledTarget() {
    const server = await bench.server();
    await write(server, [['SET', 'of somebody', 'else']]);
    await server.cli(['SAVE']);
    await server.cli(['CONFIG', 'SET', 'appendonly', 'yes']);
    while (!/aof_rewrite_in_progress:0/.test(await server.cli(['INFO', 'persistence']))) await wait(10);
    await server.stop();
    return server.dir;
  },
};

engineContract('redis', kit);
