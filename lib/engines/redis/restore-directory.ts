import { chown, mkdtemp, readdir, readlink, realpath, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { getuid } from 'node:process';
import { Disproven, messageOf, NotProvableHere, TargetNotEmpty, TargetUnusable } from '#core/errors';
import type { OpenBackup, RestoreOutcome, RestoreRequest, RunContext } from '#core/ports';
import { makeAofDirectory } from '#engines/redis/aof';
import { type ContentDigest, sameContent } from '#engines/redis/content-digest';
import { countDifferences } from '#engines/redis/expected';
import type { Fingerprint } from '#engines/redis/fingerprint';
import { AOF_DIRECTORY, ARTIFACT, SERVER_FILES } from '#engines/redis/layout';
import { type Loaded, loadInto, scratchOptions } from '#engines/redis/load';
import { keepOnly } from '#engines/redis/only';
import { startScratch } from '#engines/redis/scratch-server';
import { exists, switchIn } from '#engines/redis/switch-in';
import { unsealRdb } from '#engines/redis/unsealed';
import { lookAtDirectory, makeDirectory } from '#engines/target-directory';

/**
 * Writes dump.rdb and appendonlydir into the target, so that a server finds its data whatever its `appendonly` says.
 * Everything is made and tried in a new directory inside the target first: a scratch server loads the RDB, a second one
 * the AOF directory, and both must hold the same. Then it is renamed into place, and what was there is kept.
 */
export async function restoreToDirectory(
  backup: OpenBackup,
  request: RestoreRequest,
  only: readonly number[] | null,
  bin: string | null,
  run: RunContext,
): Promise<RestoreOutcome> {
  const target = resolve(request.target);
  await refuseTarget(target, request.overwrite);
  const stage = await stageIn(target);
  try {
    const warnings = await fill(stage, backup, only, bin, run);
    await giveToOwner(stage, target);
    const kept = await switchIn(stage, target, run.clock.now());
    const before = kept.length > 0 ? [`what was there before is now in ${kept.join(', ')}`] : [];
    return { target, verified: warnings.unproven === null, warnings: [...before, ...warnings.lines] };
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

/**
 * What `restoreToDirectory` would refuse before it changes anything.
 * @throws TargetNotEmpty, TargetUnusable, SpaceLacking
 */
export async function lookAtRedisDirectory(
  { target: path, overwrite }: RestoreRequest,
  { rdb }: Fingerprint,
): Promise<void> {
  const target = resolve(path);
  await refuseTarget(target, overwrite);
  await lookAtDirectory(target, rdb.bytes);
}

interface Filled {
  readonly unproven: string | null;
  readonly lines: readonly string[];
}

async function fill(
  stage: string,
  backup: OpenBackup,
  only: readonly number[] | null,
  bin: string | null,
  run: RunContext,
): Promise<Filled> {
  let fingerprint: Fingerprint;
  try {
    const loaded = await loadInto(stage, backup, bin, run);
    fingerprint = loaded.fingerprint;
    const digest = await proveLoaded(loaded, only);
    await makeAofDirectory(stage);
    await proveAofDirectory(loaded, digest, run);
  } catch (error) {
    // On the worst day the data matters more than its proof: the bytes were compared, only no server here reads them.
    if (!(error instanceof NotProvableHere) || only !== null) throw error;
    await rm(join(stage, ARTIFACT), { force: true });
    fingerprint = await unsealRdb(backup, join(stage, ARTIFACT), run);
    await makeAofDirectory(stage);
    const unproven = `the files are byte for byte what was captured, but no server here has loaded them: ${messageOf(error)}`;
    return { unproven, lines: [unproven, ...advice(fingerprint)] };
  }
  return { unproven: null, lines: advice(fingerprint) };
}

/** Holds the scratch server against the fingerprint; with `only`, then drops the rest and writes a new RDB. Returns the digest. */
async function proveLoaded(loaded: Loaded, only: readonly number[] | null): Promise<ContentDigest> {
  const { server, expected, digest, soon } = loaded;
  try {
    const differences = countDifferences(expected, server.loaded, await server.databases());
    if (differences.length > 0)
      throw new Disproven(`the backup does not load as it was captured: ${differences.join('; ')}`);
    if (only === null) return digest;
    await keepOnly(server, only);
    await server.connection.call('SAVE');
    return await server.digest(soon);
  } finally {
    await server.stop();
  }
}

async function proveAofDirectory(loaded: Loaded, digest: ContentDigest, run: RunContext): Promise<void> {
  const options = scratchOptions(loaded.fingerprint, loaded.expected, loaded.tool);
  const server = await startScratch({ ...options, directory: loaded.directory, appendOnly: true }, run);
  try {
    if (!sameContent(await server.digest(loaded.soon), digest))
      throw new Disproven(
        'a server that starts with appendonly yes in the restored directory does not hold the captured data',
      );
  } finally {
    await server.stop();
  }
}

/** @throws TargetNotEmpty, TargetUnusable */
async function refuseTarget(target: string, overwrite: boolean): Promise<void> {
  const running = await serverIn(target);
  if (running !== null)
    throw new TargetUnusable(`a server (pid ${running}) runs in ${target}: it would write over what is restored`, {
      hint: 'stop it first (its own shutdown may save once more), then restore',
    });
  for (const name of SERVER_FILES) {
    if (overwrite || !(await exists(join(target, name)))) continue;
    throw new TargetNotEmpty(`${join(target, name)} is there already: a server's data`, {
      hint: 'name another directory, move it away, or restore with --overwrite',
    });
  }
}

async function stageIn(target: string): Promise<string> {
  try {
    await makeDirectory(target);
    return await mkdtemp(join(target, '.holdfast-restore-'));
  } catch (cause) {
    throw new TargetUnusable(`${target} cannot be written: ${messageOf(cause)}`, {
      cause,
      hint: 'name a directory, of a user who may write there',
    });
  }
}

/** Root restores for the user whose directory it is, as in /var/lib/redis. */
async function giveToOwner(stage: string, target: string): Promise<void> {
  if (getuid?.() !== 0) return;
  const { uid, gid } = await stat(target);
  for (const name of [
    ARTIFACT,
    AOF_DIRECTORY,
    ...(await readdir(join(stage, AOF_DIRECTORY))).map((file) => join(AOF_DIRECTORY, file)),
  ])
    await chown(join(stage, name), uid, gid);
}

function advice({ server }: Fingerprint): readonly string[] {
  const { flavour, version } = server;
  return [
    `the files belong to the owner of the directory; the server's user must be able to write there: chown -R ${flavour}:${flavour}`,
    'ACL users and the configuration are not part of the backup',
    ...(Number.parseInt(version, 10) < 7
      ? [
          `${flavour} ${version} with appendonly yes reads appendonly.aof, not appendonlydir: start it with appendonly no, then CONFIG SET appendonly yes`,
        ]
      : []),
  ];
}

/** A server's working directory is its data directory; its program may be a link to redis-check-rdb. Null where there is no /proc. */
async function serverIn(target: string): Promise<number | null> {
  const place = await realpath(target).catch(() => null);
  if (place === null) return null;
  for (const name of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(name)) continue;
    if ((await readlink(`/proc/${name}/cwd`).catch(() => null)) !== place) continue;
    if (
      /(redis|valkey)-(server|check-[a-z]+|sentinel)$/.test(
        (await readlink(`/proc/${name}/exe`).catch(() => null)) ?? '',
      )
    )
      return Number(name);
  }
  return null;
}
