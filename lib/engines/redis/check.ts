import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { availableMemory } from 'node:process';
import { HoldfastError } from '#core/errors';
import type { CheckLine, RunContext, SourceRef } from '#core/ports';
import { printable, type RedisAddress } from '#engines/redis/address';
import { ask, leastRights } from '#engines/redis/ask';
import { cannotLoad } from '#engines/redis/rdb-version';
import { startScratch } from '#engines/redis/scratch-server';
import type { ServerFacts } from '#engines/redis/server-facts';
import { lookAtSource } from '#engines/redis/source';
import { findTool, proverDirectory, type Tool } from '#engines/redis/tools';
import { tryTransfer } from '#engines/redis/trial';

/** Reads nothing of the data: the trial transfer is broken off as soon as the server has agreed to it. */
export async function* check(source: SourceRef, run: RunContext): AsyncIterable<CheckLine> {
  let found: Awaited<ReturnType<typeof lookAtSource>>;
  try {
    found = await lookAtSource(source, run);
  } catch (error) {
    yield wrong('server', error);
    return;
  }
  const { address, cli, facts } = found;
  yield { name: 'server', ok: true, message: describe(facts, address), hint: null };
  yield* scope(source, facts, address);
  try {
    await tryTransfer(cli.path, address, run);
    yield { name: 'rights', ok: true, message: 'the server agrees to hand out its data (SYNC)', hint: null };
  } catch (error) {
    yield wrong('rights', error);
  }
  yield await delay(cli.path, address, run);
  try {
    const { flavour, version } = await findTool('check-rdb', run, { flavour: facts.flavour });
    yield {
      name: 'tools',
      ok: true,
      message: `${cli.flavour}-cli ${cli.version}, ${flavour}-check-rdb ${version}`,
      hint: null,
    };
  } catch (error) {
    yield wrong('tools', error);
  }
  yield await scratchSpace(facts, run);
  yield await proof(source, facts, run);
}

async function* scope(source: SourceRef, facts: ServerFacts, address: RedisAddress): AsyncIterable<CheckLine> {
  if (address.database !== 0)
    yield {
      name: 'scope',
      ok: true,
      message: `the url names database ${address.database}: an RDB is always the whole server, all databases are backed up`,
      hint: `restore --only db${address.database} gives that one back`,
    };
  if (address.user !== null)
    yield {
      name: 'scope',
      ok: true,
      message: 'ACL users are not part of an RDB file',
      hint: 'add users.acl, or redis.conf, as a files source',
    };
  if (facts.masterLink !== null && facts.masterLink !== 'up')
    yield {
      name: 'replica',
      ok: false,
      message: `a replica whose link to its master is ${facts.masterLink}: a backup would be of old data`,
      hint: 'mend the replication, or name the master in the plan',
    };
  if (Object.keys(source.settings.probes ?? {}).length > 0)
    yield {
      name: 'probes',
      ok: false,
      message: 'probes do not work for redis in this version',
      hint: 'take them out of the plan; keys are counted for each database anyway',
    };
}

/** CONFIG is more than a backup needs: when it is denied, nothing is wrong. */
async function delay(cli: string, address: RedisAddress, run: RunContext): Promise<CheckLine> {
  const name = 'delay';
  try {
    const answer = await ask(cli, address, ['CONFIG', 'GET', 'repl-diskless-sync-delay'], run);
    const seconds = Number(answer.trim().split('\n')[1] ?? Number.NaN);
    if (seconds > 0)
      return {
        name,
        ok: true,
        message: `each backup waits ${seconds} s for the server to begin (repl-diskless-sync-delay)`,
        hint: 'CONFIG SET repl-diskless-sync-delay 0 where no replicas share the transfer',
      };
    return { name, ok: true, message: 'the server begins at once', hint: null };
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code === 'cancelled') throw error;
    return {
      name,
      ok: true,
      message: 'repl-diskless-sync-delay may not be read; its default makes each backup wait 5 s',
      hint: null,
    };
  }
}

async function scratchSpace(facts: ServerFacts, run: RunContext): Promise<CheckLine> {
  const { bavail, bsize } = await statfs(run.scratch);
  const free = bavail * bsize;
  const need = facts.usedMemory ?? 0;
  return {
    name: 'scratch space',
    // An RDB is mostly a half to a tenth of the memory; a proof unseals it once.
    ok: free >= need / 2,
    message: `${mebibytes(free)} free for the RDB file; the server uses ${mebibytes(need)} of memory`,
    hint: free >= need / 2 ? null : 'free some space, or point TMPDIR at a larger disk',
  };
}

async function proof(source: SourceRef, facts: ServerFacts, run: RunContext): Promise<CheckLine> {
  const name = 'proof';
  try {
    const server = await findTool('server', run, { flavour: facts.flavour, bin: proverDirectory(source) });
    const here = `${server.flavour}-server ${server.version}`;
    if (cannotLoad(facts, server) === true)
      return {
        name,
        ok: null,
        message: `${here} here cannot read the RDB version that ${facts.flavour} ${facts.version} writes: proofs would be inconclusive`,
        hint: `install ${facts.flavour}-server ${facts.version}, or name its directory: prove: { with: { bin: DIR } }`,
      };
    const lacking = await modulesLacking(server, facts, run);
    if (lacking.length > 0)
      return {
        name,
        ok: null,
        message: `the source has modules (${lacking.join(', ')}) that ${here} lacks: proofs are inconclusive where their types are used`,
        hint: 'name a server with them built in: prove: { with: { bin: DIR } }',
      };
    if (facts.usedMemory !== null && facts.usedMemory > availableMemory())
      return {
        name,
        ok: null,
        message: `a scratch server would need ${mebibytes(facts.usedMemory)} of memory, ${mebibytes(availableMemory())} are free here`,
        hint: 'prove on a machine with more memory',
      };
    return { name, ok: true, message: `${here} loads it again`, hint: null };
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code === 'cancelled') throw error;
    return { name, ok: null, message: `proofs would be inconclusive: ${error.message}`, hint: error.hint };
  }
}

/** Asked of a scratch server without data: Redis 8 has modules built in, and which ones is a matter of who built it. */
async function modulesLacking(tool: Tool, facts: ServerFacts, run: RunContext): Promise<string[]> {
  if (facts.modules.length === 0) return [];
  const directory = await mkdtemp(join(run.scratch, 'redis-modules-'));
  const server = await startScratch({ tool, directory, highestDatabase: 0, memory: null }, run);
  try {
    const known = new Set(await server.modules());
    return facts.modules.filter((module) => !known.has(module));
  } finally {
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

function describe(facts: ServerFacts, address: RedisAddress): string {
  const keys = facts.databases.map(({ index, keys }) => `db${index} ${keys} keys`).join(', ') || 'no keys';
  return `${facts.flavour} ${facts.version} at ${printable(address)}, ${facts.role === 'master' ? 'a master' : 'a replica'}: ${keys}`;
}

function wrong(name: string, error: unknown): CheckLine {
  if (!(error instanceof HoldfastError) || error.code === 'cancelled') throw error;
  return { name, ok: false, message: error.message, hint: error.hint ?? `the user needs: ${leastRights(null)}` };
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
