import type { Identity } from '#core/manifest';
import type { RunContext, SourceRef } from '#core/ports';
import { parseAddress, printable, type RedisAddress } from '#engines/redis/address';
import { type ServerFacts, serverFacts } from '#engines/redis/server-facts';
import { findTool, type Tool } from '#engines/redis/tools';

/** The server a plan's source names, asked now. */
export async function lookAtSource(
  source: SourceRef,
  run: RunContext,
): Promise<{ readonly address: RedisAddress; readonly cli: Tool; readonly facts: ServerFacts }> {
  const address = addressOf(source, run);
  const cli = await findTool('cli', run);
  return { address, cli, facts: await serverFacts(cli.path, address, run) };
}

export function addressOf(source: SourceRef, run: RunContext): RedisAddress {
  const settings = source.settings.redis;
  if (!settings) throw new Error(`source ${source.name} reached the redis engine without redis settings`);
  return parseAddress(run.reveal(settings.url));
}

/**
 * The replication id names a dataset's history: after a failover, or a restart within an hour of a backup, the server
 * has a new one and tells the former. Any other restart begins a history that says nothing of the one before; then only
 * the address is left to tell whether it is the same server.
 */
export function identityOf(facts: ServerFacts, address: RedisAddress): Identity {
  return {
    address: printable(address),
    replid: facts.replid,
    ...(facts.formerReplid === null ? {} : { formerReplid: facts.formerReplid }),
  };
}

export function sourceWarnings(facts: ServerFacts, address: RedisAddress): readonly string[] {
  return [
    // A user of its own means that there are ACLs; asking the server for them would need rights a backup does not.
    ...(address.user === null
      ? []
      : ['ACL users are not part of an RDB file: keep users.acl (or redis.conf) as a files source']),
    ...(facts.masterLink !== null && facts.masterLink !== 'up'
      ? ['the source is a replica whose link to its master is down: its data may be old']
      : []),
  ];
}
