import { access as accessFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError } from '#core/errors';
import type { CheckLine, RunContext, SourceRef } from '#core/ports';
import { type Access, forget } from '#engines/postgres/access';
import { parseAddress } from '#engines/postgres/address';
import { anyClient, clientOf, serverFolder, type Where } from '#engines/postgres/clients';
import { packageOf } from '#engines/postgres/extension-packages';
import { refusePooler } from '#engines/postgres/pooler';
import { type RoleNeeds, refusedRights } from '#engines/postgres/prover-rights';
import { reachBeside } from '#engines/postgres/route';
import { readServer } from '#engines/postgres/server';
import { openSession } from '#engines/postgres/session';

export interface Needs extends RoleNeeds {
  readonly major: number;
  readonly locales: readonly string[];
}

/** What a proof of this source would lack, said today: such a proof would end inconclusive. */
export async function proofLine(source: SourceRef, needs: Needs, run: RunContext): Promise<CheckLine> {
  const name = 'proof';
  const { prove, postgres } = source.settings;
  if (prove === 'never')
    return { name, ok: true, message: 'unproven by choice: the plan says prove: never', hint: null };
  const wanted = typeof prove === 'object' ? prove.with : undefined;
  if (wanted && 'url' in wanted) return proverLine(run.reveal(wanted.url), source, needs, run);
  const bins = [...(wanted ? [wanted.bin] : []), ...(postgres?.bin && !postgres.exec ? [postgres.bin] : [])];
  const bin = await serverFolder(needs.major, bins, run);
  if (bin === null)
    return {
      name,
      ok: null,
      message: `no PostgreSQL ${needs.major} server is installed here: a proof would be inconclusive`,
      hint: `apt-get install postgresql-${needs.major}, or name a prover: prove: { with: { url: … } }`,
    };
  const extensions = await extensionsMissing(bin, needs);
  const locales = await localesMissing(needs.locales, run);
  if (extensions.length === 0 && locales.length === 0)
    return {
      name,
      ok: true,
      message: `a scratch server of PostgreSQL ${needs.major} can be made (${bin})`,
      hint: null,
    };
  const lacking = [
    ...(extensions.length > 0 ? [`extension ${extensions.join(', ')}`] : []),
    ...(locales.length > 0 ? [`locale ${locales.join(', ')}`] : []),
  ];
  const installs = [
    ...extensions.map((extension) => `apt-get install ${packageOf(extension, needs.major)}`),
    ...locales.map((locale) => `locale-gen ${locale}`),
  ];
  return {
    name,
    ok: null,
    message: `missing here: ${lacking.join('; ')}: a proof would be inconclusive`,
    hint: `${installs.join('; ')}; or name a prover: prove: { with: { url: … } }`,
  };
}

async function proverLine(url: string, source: SourceRef, needs: Needs, run: RunContext): Promise<CheckLine> {
  try {
    const address = parseAddress(url, 'the url of prove.with');
    return await reachBeside(address, source, run, async (access, where) => {
      const line = await proverAt(access, where, needs, run);
      await forget(access);
      return line;
    });
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return { name: 'proof', ok: null, message: `the prover: ${error.message}`, hint: error.hint };
  }
}

async function proverAt(access: Access, where: Where, needs: Needs, run: RunContext): Promise<CheckLine> {
  const name = 'proof';
  const psql = await anyClient('psql', where, run);
  const session = await openSession(access, psql, run);
  try {
    await refusePooler(session, access, psql, run);
    const facts = await readServer(session);
    const [create] = await session.one(
      'select rolsuper or rolcreatedb and rolcreaterole from pg_catalog.pg_roles where rolname = current_user',
    );
    const known = new Set(
      (await session.query('select name from pg_catalog.pg_available_extensions')).map(([extension]) => extension),
    );
    const missing = needs.extensions.filter((extension) => !known.has(extension));
    const hint = 'look at prove.with.url, or leave it out to prove in a scratch server here';
    if (facts.major < needs.major)
      return {
        name,
        ok: null,
        message: `the prover is PostgreSQL ${facts.version}, older than the source's ${needs.major}`,
        hint: `give prove.with.url a server of PostgreSQL ${needs.major} or newer`,
      };
    await clientOf(facts.major, 'psql', where, run);
    await clientOf(facts.major, 'pg_restore', where, run);
    if (create !== 't')
      return { name, ok: null, message: `${facts.user} may not create databases and roles on the prover`, hint };
    if (missing.length > 0)
      return { name, ok: null, message: `the prover lacks extension ${missing.join(', ')}`, hint };
    const refused = await refusedRights(session, facts, needs);
    if (refused !== null)
      return {
        name,
        ok: null,
        message: `the prover: ${refused}: a proof would be inconclusive`,
        hint: 'give prove.with.url a superuser of a server that is there for proofs, or leave it out to prove in a scratch server here',
      };
    return { name, ok: true, message: `the prover answers: PostgreSQL ${facts.version}`, hint: null };
  } finally {
    await session.close();
  }
}

/** Names without a control file. A layout that is not known here says nothing. */
async function extensionsMissing(bin: string, needs: Needs): Promise<string[]> {
  const folders = [
    `/usr/share/postgresql/${needs.major}/extension`,
    join(bin, '../share/extension'),
    join(bin, '../share/postgresql/extension'),
  ];
  for (const folder of folders) {
    if (!(await exists(join(folder, 'plpgsql.control')))) continue;
    const missing: string[] = [];
    for (const extension of needs.extensions)
      if (!(await exists(join(folder, `${extension}.control`)))) missing.push(extension);
    return missing;
  }
  return [];
}

async function exists(path: string): Promise<boolean> {
  try {
    await accessFile(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

async function localesMissing(locales: readonly string[], run: RunContext): Promise<string[]> {
  const plain = (locale: string): string => locale.toLowerCase().replace(/-/g, '');
  const { stdout } = await run.processes.run({ program: 'locale', args: ['-a'] });
  const known = new Set([...stdout.split('\n').map(plain), 'c', 'posix']);
  return [...new Set(locales)].filter((locale) => locale !== '' && !known.has(plain(locale)));
}
