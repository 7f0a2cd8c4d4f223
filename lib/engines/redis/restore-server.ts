import { mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import {
  Disproven,
  type HoldfastError,
  SourceRefused,
  SourceUnreachable,
  SourceUnsupported,
  TargetNotEmpty,
  TargetUnusable,
  UsageError,
} from '#core/errors';
import type { Difference, OpenBackup, RestoreOutcome, RestoreRequest, RunContext } from '#core/ports';
import { clientArguments, clientEnvironment, parseAddress, printable, type RedisAddress } from '#engines/redis/address';
import { writeCommands } from '#engines/redis/aof';
import { ask } from '#engines/redis/ask';
import { type ContentDigest, sameContent, sameExpiries } from '#engines/redis/content-digest';
import { countDifferences } from '#engines/redis/expected';
import type { Fingerprint } from '#engines/redis/fingerprint';
import { keyDifferences, OTHER_GROUPS } from '#engines/redis/key-differences';
import { ARTIFACT } from '#engines/redis/layout';
import { type Loaded, loadInto, proverTools, scratchOptions } from '#engines/redis/load';
import { keepOnly } from '#engines/redis/only';
import { startScratch } from '#engines/redis/scratch-server';
import { type ServerFacts, serverFacts } from '#engines/redis/server-facts';
import { findTool } from '#engines/redis/tools';
import { fetchRdb } from '#engines/redis/transfer';

/**
 * Into a running server. A scratch server loads the backup first and is compared; what it holds then goes over as plain
 * commands by `redis-cli --pipe`, so that any later version, any host, TLS and ACLs work. At the end the target's own
 * RDB is fetched back, loaded, and compared with what went in.
 */
export async function restoreToServer(
  backup: OpenBackup,
  request: RestoreRequest,
  only: readonly number[] | null,
  bin: string | null,
  run: RunContext,
): Promise<RestoreOutcome> {
  const { cli, address, facts } = await reach(request, run);
  const folder = await mkdtemp(join(run.scratch, 'redis-restore-'));
  try {
    const loaded = await loadInto(folder, backup, bin, run, facts);
    let commands: string;
    let digest: ContentDigest;
    try {
      digest = await proveLoaded(loaded, only);
      commands = await writeCommands(loaded.server, folder, run);
    } finally {
      await loaded.server.stop();
    }
    const numbers = only ?? loaded.expected.databases?.map(({ index }) => index) ?? [];
    await asTarget(() => refuseMissingDatabase(cli, address, Math.max(0, ...numbers), run));
    if (request.overwrite) await empty(cli, address, facts, only, run);
    await send(cli, address, commands, run);
    await rm(commands, { force: true });
    const back = await mkdtemp(join(run.scratch, 'redis-back-'));
    try {
      const differences = await compareWithTarget(cli, address, { loaded, digest, only, back }, run);
      // Redis has no command that makes a pending entry of a message that was deleted.
      const groups = differences.filter((line) => line.includes(OTHER_GROUPS));
      if (differences.length > groups.length)
        throw new Disproven(`${printable(address)} does not hold what was restored: ${differences.join('; ')}`);
      return {
        target: printable(address),
        verified: groups.length === 0,
        warnings: [
          'ACL users and the configuration are not part of the backup',
          ...groups.map(
            (line) =>
              `${line}: pending entries of deleted messages cannot be sent; a restore into a directory has them`,
          ),
        ],
      };
    } finally {
      await rm(back, { recursive: true, force: true });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * What `restoreToServer` would refuse before it changes anything.
 * @throws TargetNotEmpty, TargetUnusable, NotProvableHere, UsageError
 */
export async function lookAtRedisServer(
  request: RestoreRequest,
  fingerprint: Fingerprint,
  only: readonly number[] | null,
  bin: string | null,
  run: RunContext,
): Promise<void> {
  const { cli, address, facts } = await reach(request, run);
  await proverTools(fingerprint, bin, run, facts);
  const numbers = only ?? fingerprint.keys?.databases?.map(({ index }) => index) ?? [];
  await asTarget(() => refuseMissingDatabase(cli, address, Math.max(0, ...numbers), run));
  const { usedMemory: needed } = fingerprint;
  const { maxMemory } = facts;
  const taken = request.overwrite ? 0 : (facts.usedMemory ?? 0);
  if (needed !== null && maxMemory !== null && only === null && taken + needed > maxMemory)
    throw new TargetUnusable(
      `${printable(address)} may take ${maxMemory} bytes (maxmemory), of which ${taken} are taken, and the backup took ${needed}`,
      { hint: 'give it more: redis-cli config set maxmemory; or restore into a directory' },
    );
}

interface Reached {
  readonly cli: string;
  readonly address: RedisAddress;
  readonly facts: ServerFacts;
}

/** @throws TargetNotEmpty, TargetUnusable, UsageError */
async function reach({ target, overwrite }: RestoreRequest, run: RunContext): Promise<Reached> {
  const address = targetAddress(target);
  const cli = (await findTool('cli', run)).path;
  const facts = await asTarget(() => serverFacts(cli, address, run));
  refuseTarget(facts, address, overwrite);
  return { cli, address, facts };
}

function targetAddress(target: string): RedisAddress {
  const address = parseAddress(target);
  if (address.database !== 0)
    throw new UsageError(`the target names database ${address.database}: keys come back under the numbers they had`, {
      hint: `take the number off the url; --only db${address.database} restores one database`,
    });
  return address;
}

/** @throws TargetUnusable, TargetNotEmpty */
function refuseTarget(facts: ServerFacts, address: RedisAddress, overwrite: boolean): void {
  const where = printable(address);
  if (facts.role !== 'master')
    throw new TargetUnusable(`${where} is a replica: it takes its data from its master alone`, {
      hint: 'restore into its master',
    });
  if (facts.databases.length === 0 || overwrite) return;
  const held = facts.databases.map(({ index, keys }) => `db${index} ${keys} keys`).join(', ');
  throw new TargetNotEmpty(`${where} is not empty: ${held}`, {
    hint: 'restore into a new server or a directory, or with --overwrite, which empties it first',
  });
}

async function proveLoaded(loaded: Loaded, only: readonly number[] | null): Promise<ContentDigest> {
  const { server, expected, digest, soon } = loaded;
  const differences = countDifferences(expected, server.loaded, await server.databases());
  if (differences.length > 0)
    throw new Disproven(`the backup does not load as it was captured: ${differences.join('; ')}`);
  if (only === null) return digest;
  await keepOnly(server, only);
  // The file is loaded again when the target is compared key by key.
  await server.connection.call('SAVE');
  return await server.digest(soon);
}

/** What `overwrite` allows, and only now that the backup is known to load. */
async function empty(
  cli: string,
  address: RedisAddress,
  facts: ServerFacts,
  only: readonly number[] | null,
  run: RunContext,
): Promise<void> {
  const held = facts.databases.map(({ index }) => index);
  if (only !== null) {
    for (const index of held.filter((candidate) => only.includes(candidate)))
      await asTarget(() => ask(cli, address, ['-n', String(index), 'FLUSHDB'], run));
    return;
  }
  await asTarget(() => ask(cli, address, ['FLUSHALL'], run));
  // Libraries of functions are in the backup as well, and would not load over those of the same name.
  if (Number.parseInt(facts.version, 10) >= 7) await asTarget(() => ask(cli, address, ['FUNCTION', 'FLUSH'], run));
}

/** A number the target does not have would send its keys into the database before. @throws TargetUnusable */
async function refuseMissingDatabase(
  cli: string,
  address: RedisAddress,
  highest: number,
  run: RunContext,
): Promise<void> {
  try {
    await ask(cli, address, ['SELECT', String(highest)], run);
  } catch (error) {
    if (!(error instanceof SourceRefused)) throw error;
    throw new TargetUnusable(`${printable(address)} has no database ${highest}: ${error.message}`, {
      cause: error,
      hint: `set databases ${highest + 1} or more in its configuration, or restore others by --only`,
    });
  }
}

/** @throws TargetUnusable; the target then holds a part of the keys */
async function send(cli: string, address: RedisAddress, commands: string, run: RunContext): Promise<void> {
  const where = printable(address);
  const file = await open(commands, 'r');
  try {
    run.progress.stage('send', (await file.stat()).size);
    const sending = run.processes.pipe(
      [
        {
          program: cli,
          args: [...clientArguments(address), '--pipe'],
          env: clientEnvironment(address),
          // 1 is also "the server answered some with errors", and then it says how many.
          okCodes: [0, 1],
        },
      ],
      { stdin: file.fd },
    );
    const [said, [ended]] = await Promise.all([sending.stdout ? text(sending.stdout) : '', sending.done]);
    const errors = /errors: (\d+), replies: \d+/.exec(said)?.[1];
    const words = (ended?.stderr ?? '').trim().split('\n').slice(0, 3).join(' | ').slice(0, 300);
    if (errors === undefined)
      throw new TargetUnusable(`${where} broke off while keys were sent: ${words}`, {
        hint: 'it holds a part of the keys now; see its log, then restore again with --overwrite',
      });
    if (errors !== '0' || ended?.code !== 0)
      throw new TargetUnusable(`${where} refused ${errors} of the commands: ${words}`, {
        hint: 'it holds a part of the keys now; see maxmemory, version and ACL of the target, then restore again with --overwrite',
      });
  } finally {
    await file.close();
  }
}

interface Sent {
  readonly loaded: Loaded;
  /** Of all that was sent. */
  readonly digest: ContentDigest;
  readonly only: readonly number[] | null;
  /** For what the target gives back. */
  readonly back: string;
}

async function compareWithTarget(
  cli: string,
  address: RedisAddress,
  sent: Sent,
  run: RunContext,
): Promise<readonly Difference[]> {
  const { loaded, only } = sent;
  await asTarget(() => fetchRdb(cli, address, join(sent.back, ARTIFACT), run));
  const options = scratchOptions(loaded.fingerprint, loaded.expected, loaded.tool);
  // Others' databases may be there as well.
  const highestDatabase = Math.max(1023, options.highestDatabase);
  const target = await startScratch({ ...options, directory: sent.back, highestDatabase }, run);
  try {
    const back = await target.digest(loaded.soon);
    if (sameContent(back, sent.digest) && sameExpiries(back, sent.digest)) return [];
    // Keys whose time was over are gone from the target, or others' databases are there: only key by key can tell.
    const original = await startScratch({ ...options, directory: loaded.directory }, run);
    try {
      return [
        ...(back.functions === sent.digest.functions ? [] : ['functions: other libraries than were captured']),
        ...(await keyDifferences(original, target, only, run)),
      ];
    } finally {
      await original.stop();
    }
  } finally {
    await target.stop();
  }
}

/** The same refusals mean another thing of a target. */
async function asTarget<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const ofSource =
      error instanceof SourceRefused || error instanceof SourceUnreachable || error instanceof SourceUnsupported;
    if (!ofSource) throw error;
    const { message, hint } = error as HoldfastError;
    throw new TargetUnusable(message, { hint, cause: error });
  }
}
