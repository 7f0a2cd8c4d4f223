import { randomBytes } from 'node:crypto';
import { NotProvableHere, SourceRefused, SourceUnreachable, SourceUnsupported } from '#core/errors';
import type { Difference, OpenBackup, RestoredCopy, RunContext, SourceRef } from '#core/ports';
import { type Access, atDatabase, forget } from '#engines/postgres/access';
import { parseAddress, toUrl } from '#engines/postgres/address';
import { anyClient, clientOf, serverFolder, type Where } from '#engines/postgres/clients';
import { type Comparison, compareDatabase } from '#engines/postgres/compare';
import { createDatabase, createRoles } from '#engines/postgres/create-database';
import type { DigestId } from '#engines/postgres/digest';
import { packageOf } from '#engines/postgres/extension-packages';
import { SqlFailed } from '#engines/postgres/failures';
import { type DatabasePrint, type Fingerprint, readFingerprint } from '#engines/postgres/fingerprint';
import { lackingHere, loadDump } from '#engines/postgres/load-dump';
import { refusePooler } from '#engines/postgres/pooler';
import { reachBeside } from '#engines/postgres/route';
import { startScratchCluster } from '#engines/postgres/scratch-cluster';
import { readServer } from '#engines/postgres/server';
import { openSession, type Session } from '#engines/postgres/session';
import { quoteName, quoteText } from '#engines/postgres/sql';
import { takeAway } from '#engines/postgres/take-away';

/** A server a backup is loaded into for its proof. */
interface Prover {
  /** Connected to a database that is not loaded into. */
  readonly access: Access;
  readonly psql: string;
  readonly pgRestore: string;
  readonly major: number;
  /** Of the user's own: databases get names that are not in use there, and are dropped again. */
  readonly shared: boolean;
  stop(): Promise<void>;
}

/** Loads a backup into a scratch cluster, or into the prover the plan names. */
export async function loadPostgres(backup: OpenBackup, source: SourceRef, run: RunContext): Promise<RestoredCopy> {
  const fingerprint = readFingerprint(await backup.fingerprint());
  const prover = await proverFor(source, fingerprint, run);
  const loaded: { readonly name: string; readonly print: DatabasePrint }[] = [];
  const roles: string[] = [];
  const close = async (): Promise<void> => {
    try {
      if (prover.shared) await cleanUp(prover, loaded, roles, run);
    } finally {
      await prover.stop();
    }
  };
  try {
    const session = await openSession(prover.access, prover.psql, run);
    try {
      await lackingExtensions(session, fingerprint, prover);
      const superusers = fingerprint.databases.flatMap((print) => print.superusers);
      roles.push(...(await createRoles(session, fingerprint.roles, superusers)));
      for (const print of fingerprint.databases) {
        const name = prover.shared ? `holdfast_prove_${randomBytes(6).toString('hex')}` : print.name;
        if (name === 'postgres') await session.query('drop database if exists postgres');
        loaded.push({ name, print });
        await createDatabase(session, name, print, print.owner);
        await setMonetary(session, name, fingerprint.server.monetary, run);
      }
    } catch (error) {
      throw notMade(error);
    } finally {
      await session.close();
    }
    for (const { name, print } of loaded)
      await loadDump(
        backup,
        fingerprint,
        print.artifact,
        atDatabase(prover.access, name),
        prover.pgRestore,
        // A database with a subscription cannot be dropped again.
        ['--no-tablespaces', ...(prover.shared ? ['--no-subscriptions'] : [])],
        run,
      );
  } catch (error) {
    await close();
    throw error;
  }
  const first = loaded[0] as { readonly name: string };
  return {
    where: toUrl(atDatabase(prover.access, first.name).address),
    async compare() {
      const differences: Difference[] = [];
      for (const { name, print } of loaded) {
        const comparison: Comparison = {
          print,
          scope: fingerprint.scope,
          digest: backup.manifest.fingerprint.digest as DigestId,
          major: prover.major,
          sourceMajor: fingerprint.server.major,
          // They were asked in the database the url names, the only one with an oid in the identity.
          probes: print.name === backup.manifest.identity['database'] ? backup.manifest.probes : [],
          only: null,
        };
        const found = await compareDatabase(atDatabase(prover.access, name), prover.psql, comparison, run);
        differences.push(...(loaded.length > 1 ? found.map((one) => `database ${print.name}: ${one}`) : found));
      }
      return differences;
    },
    close,
  };
}

/** A dump holds money as the source's lc_monetary writes it, and says nothing of it. */
async function setMonetary(session: Session, database: string, monetary: string, run: RunContext): Promise<void> {
  if (/^(C|POSIX)\b/.test(monetary)) return;
  try {
    await session.query(`alter database ${quoteName(database)} set lc_monetary = ${quoteText(monetary)}`);
  } catch (error) {
    if (!(error instanceof SqlFailed)) throw error;
    run.log.debug(`lc_monetary ${monetary} is not here; only columns of type money would miss it: ${error.message}`);
  }
}

async function proverFor(source: SourceRef, fingerprint: Fingerprint, run: RunContext): Promise<Prover> {
  const { prove, postgres } = source.settings;
  const wanted = typeof prove === 'object' ? prove.with : undefined;
  const { major } = fingerprint.server;
  if (wanted && 'url' in wanted) {
    const address = parseAddress(run.reveal(wanted.url), 'the url of prove.with');
    return reachBeside(address, source, run, (access, where) => ownProver(access, where, major, run));
  }
  const bins = [
    ...(wanted && 'bin' in wanted ? [wanted.bin] : []),
    ...(postgres?.bin && !postgres.exec ? [postgres.bin] : []),
  ];
  const bin = await serverFolder(major, bins, run);
  if (bin === null)
    throw new NotProvableHere(`no PostgreSQL ${major} server is installed here to restore into`, {
      hint: `apt-get install postgresql-${major}, or name a prover: prove: { with: { url: … } }`,
    });
  const cluster = await startScratchCluster(bin, fingerprint.server, run);
  return {
    access: cluster.access,
    psql: `${bin}/psql`,
    pgRestore: `${bin}/pg_restore`,
    major,
    shared: false,
    stop: cluster.stop,
  };
}

/** @throws ToolMissing, NotProvableHere older than the source, or not reached: says nothing about the backup */
async function ownProver(access: Access, where: Where, major: number, run: RunContext): Promise<Prover> {
  const someClient = await anyClient('psql', where, run);
  const session = await asProver(() => openSession(access, someClient, run));
  try {
    await asProver(() => refusePooler(session, access, someClient, run));
    const facts = await readServer(session);
    if (facts.major < major)
      throw new NotProvableHere(`the prover is PostgreSQL ${facts.version}, older than the source's ${major}`, {
        hint: `give prove.with.url a server of PostgreSQL ${major}`,
      });
    const [psql, pgRestore] = [
      await clientOf(facts.major, 'psql', where, run),
      await clientOf(facts.major, 'pg_restore', where, run),
    ];
    return {
      access,
      psql: psql.path,
      pgRestore: pgRestore.path,
      major: facts.major,
      shared: true,
      stop: () => forget(access),
    };
  } finally {
    await session.close();
  }
}

async function asProver<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SourceUnreachable || error instanceof SourceRefused || error instanceof SourceUnsupported)
      throw new NotProvableHere(`the prover: ${error.message}`, {
        cause: error,
        hint: error.hint ?? 'look at prove.with.url',
      });
    throw error;
  }
}

async function lackingExtensions(session: Session, fingerprint: Fingerprint, prover: Prover): Promise<void> {
  const rows = await session.query('select name from pg_catalog.pg_available_extensions');
  const available = new Set(rows.map(([name]) => name));
  const lacking = [...new Set(fingerprint.databases.flatMap((print) => print.extensions))].filter(
    (name) => !available.has(name),
  );
  if (lacking.length > 0) throw extensionsLacking(lacking, prover.major);
}

function extensionsLacking(lacking: readonly string[], major: number): NotProvableHere {
  return new NotProvableHere(
    `the server to restore into lacks ${lacking.length > 1 ? 'extensions' : 'extension'} ${lacking.join(', ')}`,
    {
      hint: `apt-get install ${lacking.map((name) => packageOf(name, major)).join(' ')} (the package may be named otherwise), or prove: { with: { url: … } }`,
    },
  );
}

/** A database or role that could not be made in the prover says nothing about the backup. */
function notMade(error: unknown): unknown {
  if (!(error instanceof SqlFailed)) return error;
  return (
    lackingHere(error.message) ??
    new NotProvableHere(`the database to restore into could not be made: ${error.message}`, {
      cause: error,
      hint: 'the prover needs a login with CREATEDB and CREATEROLE, and the locales of the source',
    })
  );
}

async function cleanUp(
  prover: Prover,
  loaded: readonly { readonly name: string }[],
  roles: readonly string[],
  run: RunContext,
): Promise<void> {
  const made = { databases: loaded.map(({ name }) => name), roles };
  const session = run.signal.aborted ? null : await openSession(prover.access, prover.psql, run);
  await takeAway(made, session, prover.access, prover.psql, run);
  await session?.close();
}
