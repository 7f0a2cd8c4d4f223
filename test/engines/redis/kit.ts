import { cp, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SourceRef } from '#core/ports';
import { type RedisOptions, type RedisServer, startRedis } from '#test/servers/redis';

/** A source as the plan has it, for a server's url. */
export function sourceOf(url: string): SourceRef {
  return {
    name: 'cache',
    settings: { redis: { url }, schedule: [{ cron: '0 2 * * *', tier: 'daily', to: ['here'] }] },
  };
}

/** Directories and servers that go away together. */
export interface Bench {
  directory(): Promise<string>;
  server(options?: RedisOptions & { readonly dir?: string }): Promise<RedisServer>;
  /** A server over a copy of a restored directory: whoever looks must not change what is looked at. */
  serverOver(directory: string, options?: RedisOptions): Promise<RedisServer>;
  clear(): Promise<void>;
}

export function createBench(): Bench {
  const servers: RedisServer[] = [];
  const directories: string[] = [];
  const bench: Bench = {
    async directory() {
      const made = await mkdtemp(join(tmpdir(), 'holdfast-redis-'));
      directories.push(made);
      return made;
    },
    async server({ dir, ...options } = {}) {
      const server = await startRedis(dir ?? (await bench.directory()), options);
      servers.push(server);
      return server;
    },
    async serverOver(directory, options) {
      const copy = await bench.directory();
      await cp(directory, copy, { recursive: true, filter: async (path) => !(await stat(path)).isSocket() });
      return bench.server({ ...options, dir: copy });
    },
    async clear() {
      await Promise.all(servers.splice(0).map((server) => server.stop()));
      for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
    },
  };
  return bench;
}
