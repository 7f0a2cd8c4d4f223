import { randomBytes } from 'node:crypto';
import { Disproven, NotProvableHere, TargetUnusable } from '#core/errors';
import { compactTime } from '#core/manifest';
import type { OpenBackup, RestoreOutcome, RestoreRequest, RunContext, SourceRef } from '#core/ports';
import { atDatabase, forget } from '#engines/postgres/access';
import { printable } from '#engines/postgres/address';
import { compareDatabase } from '#engines/postgres/compare';
import { createDatabase, createRoles } from '#engines/postgres/create-database';
import type { DigestId } from '#engines/postgres/digest';
import { type DatabasePrint, readFingerprint } from '#engines/postgres/fingerprint';
import { loadDump, loadedAtOnce } from '#engines/postgres/load-dump';
import { lookAtTables, restoreTables } from '#engines/postgres/restore-tables';
import { listed, type Restoring } from '#engines/postgres/restoring';
import { openSession, type Session } from '#engines/postgres/session';
import { nameWith, quoteName, quoteText } from '#engines/postgres/sql';
import { applySettings, switchDatabase } from '#engines/postgres/switch-database';
import { takeAway } from '#engines/postgres/take-away';
import { type DatabaseContents, openTarget, unusable } from '#engines/postgres/target';
import { statesOf, type Wanted, type WantedDatabase, wantedOf } from '#engines/postgres/wanted';

/** In the names of databases that are being restored into; eight hex digits follow. */
const BESIDE = '_holdfast_';

/** Gives a database, all databases, or single tables back; compared before they take their place. */
export function restorePostgres(
  backup: OpenBackup,
  request: RestoreRequest,
  source: SourceRef | null,
  run: RunContext,
): Promise<RestoreOutcome> {
  return atTarget(backup, request, source, run, async (restoring, wanted) => {
    const { access } = restoring.target;
    if (wanted.what === 'tables') await restoreTables(restoring, wanted.names);
    else await restoreDatabases(restoring, wanted.databases);
    const [one, ...more] = wanted.what === 'databases' ? wanted.databases : [];
    const place = one && more.length === 0 ? atDatabase(access, one.name) : access;
    return { target: printable(place.address), verified: true, warnings: restoring.warnings };
  });
}

/** What `restorePostgres` would refuse before it changes anything. */
export function lookAtPostgresTarget(
  backup: OpenBackup,
  request: RestoreRequest,
  source: SourceRef | null,
  run: RunContext,
): Promise<void> {
  return atTarget(backup, request, source, run, async (restoring, wanted) => {
    if (wanted.what === 'tables') await lookAtTables(restoring, wanted.names);
    else await statesOf(restoring, wanted.databases);
  });
}

async function atTarget<T>(
  backup: OpenBackup,
  request: RestoreRequest,
  source: SourceRef | null,
  run: RunContext,
  work: (restoring: Restoring, wanted: Wanted) => Promise<T>,
): Promise<T> {
  const fingerprint = readFingerprint(await backup.fingerprint());
  const target = await openTarget(request.target, fingerprint.server.major, source, run);
  const restoring: Restoring = { backup, fingerprint, target, overwrite: request.overwrite, warnings: [], run };
  try {
    return await work(restoring, wantedOf(request.only, fingerprint, target));
  } catch (error) {
    throw unusable(error);
  } finally {
    await forget(target.access);
  }
}

async function restoreDatabases(restoring: Restoring, wanted: readonly WantedDatabase[]): Promise<void> {
  const states = await statesOf(restoring, wanted);
  await prepareRoles(restoring, wanted);
  for (const one of wanted) await restoreDatabase(restoring, one, states.get(one) ?? 'absent');
}

async function prepareRoles(restoring: Restoring, wanted: readonly WantedDatabase[]): Promise<void> {
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

async function restoreDatabase(restoring: Restoring, wanted: WantedDatabase, state: DatabaseContents): Promise<void> {
  const { target, run, warnings } = restoring;
  if (!target.mayCreate) return restoreInPlace(restoring, wanted);
  const { print, name } = wanted;
  const beside = nameWith(name, `${BESIDE}${randomBytes(4).toString('hex')}`);
  const session = await target.maintenance(name);
  let inPlace = false;
  try {
    await tellLeftovers(session, name, warnings);
    await createDatabase(session, beside, print, target.facts.superuser ? print.owner : null);
    await loadAndCompare(restoring, print, beside);
    // An empty one's own come over them at the switch.
    if (state === 'absent' || state === 'empty')
      warnings.push(...(await applySettings(session, beside, print.settings)));
    const before = state === 'absent' ? null : nameWith(name, `_before_${compactTime(run.clock.now())}`);
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

/** Without the right to create databases there is no beside: one transaction, into an empty database (`statesOf`). */
async function restoreInPlace(restoring: Restoring, { print, name }: WantedDatabase): Promise<void> {
  const { target, warnings } = restoring;
  const { user } = target.facts;
  const how = loadedAtOnce(print) ? 'in one transaction' : 'with too many objects for one transaction';
  warnings.push(`${user} may not create databases: restored in place, ${how}, and compared afterwards`);
  await loadAndCompare(restoring, print, name);
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
  const left = rows
    .map(([database]) => database as string)
    .filter((database) => database === nameWith(name, `${BESIDE}${database.slice(-8)}`));
  if (left.length > 0)
    warnings.push(`left by a restore that was interrupted, may be dropped: ${left.map(quoteName).join(', ')}`);
}
