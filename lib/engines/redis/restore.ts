import { UsageError } from '#core/errors';
import type { OpenBackup, RestoreOutcome, RestoreRequest, RunContext, SourceRef } from '#core/ports';
import { restoreToDirectory } from '#engines/redis/restore-directory';
import { restoreToServer } from '#engines/redis/restore-server';
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
  return /^[a-z][a-z+]*:\/\//i.test(request.target)
    ? restoreToServer(backup, request, only, bin, run)
    : restoreToDirectory(backup, request, only, bin, run);
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
