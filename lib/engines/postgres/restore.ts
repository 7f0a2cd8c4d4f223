import { randomBytes } from 'node:crypto';
import { Disproven, NotProvableHere, TargetNotEmpty, TargetUnusable, UsageError } from '#core/errors';
import { compactTime } from '#core/manifest';
import type { OpenBackup, RestoreOutcome, RestoreRequest, RunContext, SourceRef } from '#core/ports';
import { atDatabase, forget } from '#engines/postgres/access';
import { printable } from '#engines/postgres/address';
import { compareDatabase } from '#engines/postgres/compare';
import { createDatabase, createRoles } from '#engines/postgres/create-database';
import type { DigestId } from '#engines/postgres/digest';
import { type DatabasePrint, readFingerprint } from '#engines/postgres/fingerprint';
import { loadDump } from '#engines/postgres/load-dump';
import { restoreTables } from '#engines/postgres/restore-tables';
import { listed, type Restoring } from '#engines/postgres/restoring';
import { openSession, type Session } from '#engines/postgres/session';
import { quoteName, quoteText } from '#engines/postgres/sql';
import { applySettings, switchDatabase } from '#engines/postgres/switch-database';
import { takeAway } from '#engines/postgres/take-away';
import { contentsOf, openTarget, unusable } from '#engines/postgres/target';

/** Gives a database, all databases, or single tables back; compared before they take their place. */
export async function restorePostgres(
  backup: OpenBackup,
  request: RestoreRequest,
  source: SourceRef | null,
  run: RunContext,
): Promise<RestoreOutcome> {
  const fingerprint = readFingerprint(await backup.fingerprint());
  const target = await openTarget(request.target, fingerprint.server.major, source, run);
  const restoring: Restoring = { backup, fingerprint, target, overwrite: request.overwrite, warnings: [], run };
  const { databases, scope } = fingerprint;
  const [onlyOne] = databases;
  const named = databases.filter((print) => request.only.includes(print.name));
  const names = request.only.filter((name) => !databases.some((print) => print.name === name));
  try {
    if (request.only.length > 0 && !(scope.all && names.length === 0)) {
      if (named.length > 0)
        throw new UsageError(`--only: got ${request.only.join(', ')}: either databases or tables, not both at once`);
      await restoreTables(restoring, names);
    } else if (!scope.all)
      await restoreDatabases(restoring, [{ print: onlyOne as DatabasePrint, name: target.database }]);
    else if (named.length === 1)
      await restoreDatabases(restoring, [{ print: named[0] as DatabasePrint, name: target.database }]);
    else
      await restoreDatabases(
        restoring,
        (named.length > 0 ? named : databases).map((print) => ({ print, name: print.name })),
      );
  } catch (error) {
    throw unusable(error);
  } finally {
    await forget(target.access);
  }
  return { target: printable(target.access.address), verified: true, warnings: restoring.warnings };
}

interface Wanted {
  readonly print: DatabasePrint;
  /** What it is to be called. */
  readonly name: string;
}

async function restoreDatabases(restoring: Restoring, wanted: readonly Wanted[]): Promise<void> {
  const { target, run, overwrite } = restoring;
  const states = new Map<Wanted, 'absent' | 'empty' | number>();
  // All of them are looked at before the first is touched.
  for (const one of wanted) {
    const state = await contentsOf(target, one.name, run);
    if (typeof state === 'number' && !overwrite)
      throw new TargetNotEmpty(`database ${one.name} on the target is not empty: it holds ${state} objects`, {
        hint: 'restore to a database that does not exist yet, or say --overwrite (the old one is kept under another name)',
      });
    states.set(one, state);
  }
  await prepareRoles(restoring, wanted);
  for (const one of wanted) await restoreDatabase(restoring, one, states.get(one) ?? 'absent');
}

async function prepareRoles(restoring: Restoring, wanted: readonly Wanted[]): Promise<void> {
  const { target, fingerprint, warnings } = restoring;
  const roles = fingerprint.globals ? fingerprint.roles : [...new Set(wanted.flatMap(({ print }) => print.roles))];
  const session = await target.maintenance('');
  try {
    const created = await createRoles(
      session,
      roles,
      wanted.flatMap(({ print }) => print.superusers),
    );
    if (created.length > 0)
      warnings.push(
        `created without login or password: ${created.join(', ')}${fingerprint.globals ? ' (globals.sql in the backup has the rest)' : ''}`,
      );
  } finally {
    await session.close();
  }
}

async function restoreDatabase(
  restoring: Restoring,
  wanted: Wanted,
  state: 'absent' | 'empty' | number,
): Promise<void> {
  const { target, run, warnings } = restoring;
  if (!target.mayCreate) return restoreInPlace(restoring, wanted, state);
  const { print, name } = wanted;
  const beside = `${name.slice(0, 40)}_holdfast_${randomBytes(4).toString('hex')}`;
  const session = await target.maintenance(name);
  let inPlace = false;
  try {
    await tellLeftovers(session, name, warnings);
    await createDatabase(session, beside, print, target.facts.superuser ? print.owner : null);
    await loadAndCompare(restoring, print, beside);
    if (state === 'absent') await applySettings(session, beside, print.settings);
    const before = state === 'absent' ? null : `${name.slice(0, 40)}_before_${compactTime(run.clock.now())}`;
    await switchDatabase(session, beside, name, before);
    inPlace = true;
    if (state === 'empty') await session.query(`drop database ${quoteName(before as string)}`);
    else if (before !== null)
      warnings.push(
        `what ${name} was is kept as database ${before}; when it is no longer needed: drop database ${quoteName(before)}`,
      );
  } finally {
    const databases = inPlace ? [] : [beside];
    await takeAway({ databases, roles: [] }, session, target.access, target.psql, run);
    await session.close();
  }
}

/** Without the right to create databases there is no beside: one transaction, into an empty database only. */
async function restoreInPlace(restoring: Restoring, wanted: Wanted, state: 'absent' | 'empty' | number): Promise<void> {
  const { target, warnings } = restoring;
  const { user } = target.facts;
  if (state !== 'empty')
    throw new TargetUnusable(
      `${user} may not create databases on the target, and ${wanted.name} is ${state === 'absent' ? 'not there' : 'not empty'}`,
      { hint: `ALTER ROLE "${user}" CREATEDB, or create an empty database and restore to it` },
    );
  warnings.push(`${user} may not create databases: restored in place, in one transaction, and compared afterwards`);
  await loadAndCompare(restoring, wanted.print, wanted.name);
}

async function loadAndCompare(restoring: Restoring, print: DatabasePrint, database: string): Promise<void> {
  const { backup, fingerprint, target, run } = restoring;
  const access = atDatabase(target.access, database);
  const options = ['--no-tablespaces', ...(await ownerOptions(restoring, print, database))];
  try {
    await loadDump(backup, fingerprint, print.artifact, access, target.pgRestore, options, run);
  } catch (error) {
    // What lacks in a prover is "not provable here"; what lacks in a target makes the target unusable.
    if (error instanceof NotProvableHere) throw new TargetUnusable(error.message, { hint: error.hint, cause: error });
    throw error;
  }
  const differences = await compareDatabase(
    access,
    target.psql,
    {
      print,
      scope: fingerprint.scope,
      digest: backup.manifest.fingerprint.digest as DigestId,
      major: target.facts.major,
      sourceMajor: fingerprint.server.major,
      probes: print.name === backup.manifest.identity['database'] ? backup.manifest.probes : [],
      only: null,
    },
    run,
  );
  if (differences.length > 0)
    throw new Disproven(`restored, and not equal to the source: ${listed(differences)}`, {
      hint: 'restore another backup: holdfast list',
    });
}

/** A login that cannot become the owners of what is restored, restores as its own. */
async function ownerOptions(restoring: Restoring, print: DatabasePrint, database: string): Promise<string[]> {
  const { target, warnings, run } = restoring;
  if (target.facts.superuser || print.roles.length === 0) return [];
  const session = await openSession(atDatabase(target.access, database), target.psql, run);
  try {
    const rows = await session.query(`
      select rolname from pg_catalog.pg_roles where rolname in (${print.roles.map(quoteText).join(', ')})
        and not pg_catalog.pg_has_role(current_user, oid, 'MEMBER')`);
    if (rows.length === 0) return [];
    warnings.push(
      `owners and grants are not restored: ${target.facts.user} is no superuser and no member of ${rows.map(([role]) => role).join(', ')}`,
    );
    return ['--no-owner', '--no-acl'];
  } finally {
    await session.close();
  }
}

async function tellLeftovers(session: Session, name: string, warnings: string[]): Promise<void> {
  const rows = await session.query(`select datname from pg_catalog.pg_database order by 1`);
  const prefix = `${name.slice(0, 40)}_holdfast_`;
  const left = rows.map(([database]) => database as string).filter((database) => database.startsWith(prefix));
  if (left.length > 0)
    warnings.push(`left by a restore that was interrupted, may be dropped: ${left.map(quoteName).join(', ')}`);
}
