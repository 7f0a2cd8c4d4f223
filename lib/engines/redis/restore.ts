import { UsageError } from '#core/errors';
import type { OpenBackup, RestoreOutcome, RestoreRequest, RunContext, SourceRef } from '#core/ports';
import { readFingerprint } from '#engines/redis/fingerprint';
import { lookAtRedisDirectory, restoreToDirectory } from '#engines/redis/restore-directory';
import { lookAtRedisServer, restoreToServer } from '#engines/redis/restore-server';
import { proverDirectory } from '#engines/redis/tools';

/** Into a directory that a server can start in, or into a running server that is empty. */
export async function restore(
  backup: OpenBackup,
  request: RestoreRequest,
  source: SourceRef | null,
  run: RunContext,
): Promise<RestoreOutcome> {
  const only = chosenDatabases(request.only);
  const bin = proverDirectory(source);
  return isUrl(request.target)
    ? restoreToServer(backup, request, only, bin, run)
    : restoreToDirectory(backup, request, only, bin, run);
}

/** What `restore` would refuse before it changes anything. */
export async function lookAtRedisTarget(
  backup: OpenBackup,
  request: RestoreRequest,
  source: SourceRef | null,
  run: RunContext,
): Promise<void> {
  const only = chosenDatabases(request.only);
  const fingerprint = readFingerprint(await backup.fingerprint());
  if (isUrl(request.target)) await lookAtRedisServer(request, fingerprint, only, proverDirectory(source), run);
  else await lookAtRedisDirectory(request, fingerprint);
}

function isUrl(target: string): boolean {
  return /^[a-z][a-z+]*:\/\//i.test(target);
}

/** `db0` or `0`; null = all. @throws UsageError */
export function chosenDatabases(only: readonly string[]): readonly number[] | null {
  if (only.length === 0) return null;
  return only.map((name) => {
    const number = /^(?:db)?(\d{1,5})$/.exec(name)?.[1];
    if (number === undefined)
      throw new UsageError(`--only ${name}: got ${JSON.stringify(name)}, want a database such as db0`, {
        hint: 'single keys or patterns cannot be chosen: restore into a directory, start a server there, and copy them by redis-cli',
      });
    return Number(number);
  });
}
