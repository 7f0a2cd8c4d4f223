import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { Disproven, TargetUnusable, UsageError } from '#core/errors';
import type { Difference, OpenBackup, RestoreOutcome, RestoreRequest, RunContext } from '#core/ports';
import { askWorker } from '#engines/sqlite/ask-worker';
import { type Fingerprint, readFingerprint, tableDifferences } from '#engines/sqlite/fingerprint';
import { SIDECARS } from '#engines/sqlite/in-use';
import { compareFile, examineRestored } from '#engines/sqlite/load';
import { switchIn } from '#engines/sqlite/switch-in';
import { HOLDERS_UNKNOWN, holdersUnknown, lookAtTarget, prepareDirectory, type Target } from '#engines/sqlite/target';
import { unsealToFile } from '#engines/sqlite/unseal-to-file';
import { lookAtDirectory } from '#engines/target-directory';

/** Beside, compared, then switched in. Nothing at the target changes before the comparison said equal. */
export async function restore(backup: OpenBackup, request: RestoreRequest, run: RunContext): Promise<RestoreOutcome> {
  const { manifest } = backup;
  const { sourceFile, fingerprint, target } = await examine(backup, request);
  await prepareDirectory(target);
  run.progress.stage(`restoring ${target.file}`, fingerprint.bytes);
  const full = `${target.beside}.full`;
  try {
    const warnings: string[] = [];
    if (request.only.length === 0) {
      await unsealToFile(backup, target.beside, run);
      mustBeEqual(await compareFile(target.beside, fingerprint, manifest, run), backup);
    } else {
      await unsealToFile(backup, full, run);
      mustBeEqual(await compareFile(full, fingerprint, manifest, run), backup);
      warnings.push(...(await restoreTables(backup, full, target, request.only, fingerprint, run)));
    }
    // It took a while: somebody may have started the application.
    const now = lookAtTarget(request.target, sourceFile, request.overwrite);
    const kept = switchIn({ ...target, there: now.there }, fingerprint.mode, run.clock.now());
    if (kept) warnings.push(`the database that was there is now ${kept}`);
    if (holdersUnknown(target)) warnings.push(HOLDERS_UNKNOWN);
    for (const lacking of fingerprint.unchecked)
      warnings.push(`not checked, because only the application can: ${lacking}`);
    return { target: target.file, verified: true, warnings };
  } finally {
    for (const path of [target.beside, full])
      for (const suffix of ['', ...SIDECARS]) rmSync(`${path}${suffix}`, { force: true });
  }
}

/**
 * What `restore` would refuse before it changes anything.
 * @throws TargetNotEmpty, TargetUnusable, SpaceLacking, UsageError
 */
export async function lookAtSqliteTarget(backup: OpenBackup, request: RestoreRequest): Promise<void> {
  const { fingerprint, target } = await examine(backup, request);
  await lookAtDirectory(dirname(target.file), fingerprint.bytes);
}

interface Examined {
  readonly sourceFile: string;
  readonly fingerprint: Fingerprint;
  readonly target: Target;
}

async function examine(backup: OpenBackup, request: RestoreRequest): Promise<Examined> {
  const { manifest } = backup;
  const sourceFile = manifest.identity['path'];
  if (sourceFile === undefined) throw new UsageError(`backup ${manifest.id} is not one of a SQLite database`);
  if (request.target.includes('://'))
    throw new TargetUnusable(`got ${request.target.split('://')[0]}://…, want a path for the database file`, {
      hint: `--to ./${manifest.source}.db`,
    });
  const fingerprint = readFingerprint(await backup.fingerprint());
  return { sourceFile, fingerprint, target: lookAtTarget(request.target, sourceFile, request.overwrite) };
}

async function restoreTables(
  backup: OpenBackup,
  full: string,
  target: Target,
  only: readonly string[],
  fingerprint: Fingerprint,
  run: RunContext,
): Promise<readonly string[]> {
  const { copied, lacking } = await askWorker({ do: 'extract', file: full, into: target.beside, tables: only }, run);
  const wanted = fingerprint.tables.filter(({ name }) => copied.includes(name));
  mustBeEqual(tableDifferences(wanted, await examineRestored(target.beside, backup.manifest, run)), backup);
  return [
    `only ${copied.length === 1 ? 'table' : 'tables'} ${copied.join(', ')}: views and other tables are not in ${target.file}`,
    ...lacking.map((what) => `not made, because only the application can: ${what}`),
  ];
}

function mustBeEqual(differences: readonly Difference[], { manifest }: OpenBackup): void {
  if (differences.length === 0) return;
  throw new Disproven(
    `backup ${manifest.id} of ${manifest.source} was restored beside and is not equal: ${differences.slice(0, 5).join('; ')}`,
    {
      source: manifest.source,
      hint: `nothing was changed at the target; take an older one: holdfast list ${manifest.source}`,
    },
  );
}
