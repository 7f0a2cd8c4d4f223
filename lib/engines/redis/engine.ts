import type { StreamingEngine } from '#core/ports';
import { printable } from '#engines/redis/address';
import { capture } from '#engines/redis/capture';
import { check } from '#engines/redis/check';
import { load } from '#engines/redis/load';
import { lookAtRedisTarget, restore } from '#engines/redis/restore';
import { identityOf, lookAtSource } from '#engines/redis/source';

/** Redis and Valkey, the whole server each time, as an RDB file. */
export const redis: StreamingEngine = {
  name: 'redis',
  async inspect(source, run) {
    const { address, facts } = await lookAtSource(source, run);
    run.log.debug(`${printable(address)}: ${facts.flavour} ${facts.version}, ${facts.role}`);
    return {
      identity: identityOf(facts, address),
      version: `${facts.flavour} ${facts.version}`,
      bytes: facts.usedMemory,
    };
  },
  check,
  capture,
  load,
  restore,
  lookAtTarget: lookAtRedisTarget,
};
