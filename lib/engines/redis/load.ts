import { link, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandFailed, NotProvableHere, ToolMissing } from '#core/errors';
import type { Difference, OpenBackup, RestoredCopy, RunContext, SourceRef } from '#core/ports';
import { type ContentDigest, SOON, sameContent, sameExpiries } from '#engines/redis/content-digest';
import { countDifferences, type Expected, expectedOf } from '#engines/redis/expected';
import type { Fingerprint } from '#engines/redis/fingerprint';
import { keyDifferences } from '#engines/redis/key-differences';
import { ARTIFACT } from '#engines/redis/layout';
import { cannotLoad } from '#engines/redis/rdb-version';
import { type ScratchServer, startScratch } from '#engines/redis/scratch-server';
import { findTool, proverDirectory, type Tool } from '#engines/redis/tools';
import { recheckRdb, unsealRdb } from '#engines/redis/unsealed';

/**
 * Loads a backup into a scratch server. What the copy must be is settled before anybody can reach it: the file's hash
 * is the captured one, its keys are counted by redis-check-rdb, and the server's digest is taken as soon as it has
 * loaded. `compare` takes it again; when it differs, the file is loaded a second time beside it to say what changed.
 */
export async function load(backup: OpenBackup, source: SourceRef, run: RunContext): Promise<RestoredCopy> {
  const bin = proverDirectory(source);
  const folder = await mkdtemp(join(run.scratch, 'redis-proof-'));
  try {
    const loaded = await loadInto(folder, backup, bin, run);
    return {
      where: `unix://${loaded.server.socket}`,
      compare: () => compare(loaded, run),
      async close() {
        await loaded.server.stop();
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

type Version = Parameters<typeof cannotLoad>[0];

export interface Loaded {
  readonly server: ScratchServer;
  readonly directory: string;
  readonly fingerprint: Fingerprint;
  readonly expected: Expected;
  readonly tool: Tool;
  /** Of the server as it came up. */
  readonly digest: ContentDigest;
  /** What `digest` was taken with. */
  readonly soon: Date;
}

/**
 * Unseals into `directory/dump.rdb` and loads it there.
 * @param target a server whose own RDB is going to be loaded as well
 * @throws NotProvableHere, Disproven, and what unsealing throws
 */
export async function loadInto(
  directory: string,
  backup: OpenBackup,
  bin: string | null,
  run: RunContext,
  target: Version | null = null,
): Promise<Loaded> {
  const file = join(directory, ARTIFACT);
  const fingerprint = await unsealRdb(backup, file, run);
  const tools = await proverTools(fingerprint, bin, run, target);
  const check = await recheckRdb(tools.checker, file, fingerprint, run);
  const expected = expectedOf(fingerprint, check);
  run.progress.stage('load', null);
  const server = await startScratch({ ...scratchOptions(fingerprint, expected, tools.server), directory }, run);
  try {
    const soon = new Date(run.clock.now().getTime() + SOON);
    return { server, directory, fingerprint, expected, tool: tools.server, digest: await server.digest(soon), soon };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** @throws NotProvableHere nothing installed, or nothing that reads the target's RDB, so that it could not be compared */
export async function proverTools(
  fingerprint: Fingerprint,
  bin: string | null,
  run: RunContext,
  target: Version | null = null,
): Promise<{ readonly server: Tool; readonly checker: Tool }> {
  try {
    const { flavour } = fingerprint.server;
    let server = await findTool('server', run, { flavour, bin });
    if (target !== null && cannotLoad(target, server) === true) {
      const own = await findTool('server', run, { flavour: target.flavour, bin });
      if ([target, fingerprint.server].some((writer) => cannotLoad(writer, own) === true))
        throw new NotProvableHere(
          `${server.flavour}-server ${server.version} here cannot read the RDB of a ${target.flavour} ${target.version}: a restore into it could not be compared`,
          {
            hint: `install ${target.flavour}-server ${target.version} here, or restore into a directory: --to ./directory`,
          },
        );
      server = own;
    }
    return { server, checker: await findTool('check-rdb', run, { flavour: server.flavour, bin }) };
  } catch (error) {
    // Failed at `--version`: built for another system.
    if (!(error instanceof ToolMissing || error instanceof CommandFailed)) throw error;
    throw new NotProvableHere(error.message, {
      hint: error.hint ?? 'install a server that runs here, or name its directory: prove: { with: { bin: DIR } }',
      cause: error,
    });
  }
}

export function scratchOptions(fingerprint: Fingerprint, expected: Expected, tool: Tool) {
  return { tool, highestDatabase: expected.highestDatabase, memory: fingerprint.usedMemory };
}

async function compare(loaded: Loaded, run: RunContext): Promise<readonly Difference[]> {
  const { server, expected, fingerprint, tool, digest, soon } = loaded;
  const counts = countDifferences(expected, server.loaded, await server.databases());
  const now = await server.digest(soon);
  const content = sameContent(now, digest);
  if (content && sameExpiries(now, digest)) return counts;

  const changed = [...counts, 'content: the digest of all that was loaded changed after the load'];
  const fresh = await mkdtemp(join(run.scratch, 'redis-again-'));
  try {
    await link(join(loaded.directory, ARTIFACT), join(fresh, ARTIFACT));
    const again = await startScratch({ ...scratchOptions(fingerprint, expected, tool), directory: fresh }, run);
    try {
      const differences = [
        ...(now.functions === digest.functions ? [] : ['functions: other libraries than were captured']),
        ...(await keyDifferences(again, server, null, run)),
      ];
      // A comparison so late that keys have come due since: looked at key by key, nothing is different.
      if (differences.length === 0) return content ? counts : changed;
      return [...counts, ...differences];
    } finally {
      await again.stop();
    }
  } catch (error) {
    // No room for a second server, no details; the digest has already said that it is not equal.
    if (error instanceof NotProvableHere && (!content || run.clock.now() < soon)) return changed;
    throw error;
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}
