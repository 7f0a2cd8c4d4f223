import { SourceUnreachable, SourceUnsupported } from '#core/errors';
import type { RunContext } from '#core/ports';
import { printable, type RedisAddress } from '#engines/redis/address';
import { ask } from '#engines/redis/ask';
import { type DatabaseCount, databasesOf, modulesOf, numberOf, parseInfo } from '#engines/redis/info';

/** What `INFO` says of a server that is up, alone and ready. */
export interface ServerFacts {
  readonly flavour: 'redis' | 'valkey';
  readonly version: string;
  readonly replid: string;
  /** The line it came from by restart or failover; null when there is none. */
  readonly formerReplid: string | null;
  /** Bytes; an RDB is usually smaller. */
  readonly usedMemory: number | null;
  /** Bytes it may use; null = as many as there are. */
  readonly maxMemory: number | null;
  readonly databases: readonly DatabaseCount[];
  readonly modules: readonly string[];
  readonly role: string;
  /** Null for a master. */
  readonly masterLink: string | null;
  /** Server's clock minus ours, milliseconds; null before Redis 7. */
  readonly clockAhead: number | null;
}

/**
 * @throws SourceUnreachable down, or loading its data; SourceRefused; SourceUnsupported a cluster's shard, a sentinel
 */
export async function serverFacts(cli: string, address: RedisAddress, run: RunContext): Promise<ServerFacts> {
  const text = await ask(cli, address, ['INFO'], run);
  const info = parseInfo(text);
  const where = printable(address);
  const version = info.get('valkey_version') ?? info.get('redis_version');
  if (version === undefined)
    throw new SourceUnsupported(`${where} answers INFO, but names no version: not a Redis or Valkey server`, {
      hint: 'give the address of the server itself, not of a proxy',
    });
  if (info.get('redis_mode') === 'sentinel')
    throw new SourceUnsupported(`${where} is a sentinel: it holds no data`, {
      hint: 'give the address of the server it watches: redis-cli -p PORT sentinel masters',
    });
  if (info.get('cluster_enabled') === '1')
    throw new SourceUnsupported(
      `${where} is one node of a cluster (cluster_enabled:1): its keys are one shard, not the cache`,
      { hint: 'clusters are not supported; only a server that stands alone, or its replica' },
    );
  if (info.get('loading') === '1')
    throw new SourceUnreachable(`${where} is still loading its data (${info.get('loading_loaded_perc') ?? '?'}%)`, {
      hint: 'wait until it is ready; the run is repeated',
    });
  const former = info.get('master_replid2');
  const microseconds = numberOf(info, 'server_time_usec');
  const role = info.get('role') ?? 'unknown';
  return {
    flavour: info.has('valkey_version') || info.get('server_name') === 'valkey' ? 'valkey' : 'redis',
    version,
    replid: info.get('master_replid') ?? 'unknown',
    formerReplid: former === undefined || /^0*$/.test(former) ? null : former,
    usedMemory: numberOf(info, 'used_memory'),
    maxMemory: numberOf(info, 'maxmemory') || null,
    databases: databasesOf(info),
    modules: modulesOf(text),
    role,
    masterLink: role === 'slave' ? (info.get('master_link_status') ?? 'unknown') : null,
    clockAhead: microseconds === null ? null : microseconds / 1000 - run.clock.now().getTime(),
  };
}
