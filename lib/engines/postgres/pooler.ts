import { SourceUnsupported } from '#core/errors';
import type { RunContext } from '#core/ports';
import type { Access } from '#engines/postgres/access';
import { type Address, printable } from '#engines/postgres/address';
import { openSession, type Session } from '#engines/postgres/session';

const ROUNDS = 3;

/**
 * A pooler in transaction mode gives a server's connection to another client after each transaction, with all that was
 * set in it: the application would meet pg_dump's empty search_path, and we the application's timeouts (tried with
 * PgBouncer). Seen by its backends: without such a pooler each session keeps one, its own. To be asked before anything
 * is set.
 * @param first an open session of this access, in no transaction
 * @throws SourceUnsupported
 */
export async function refusePooler(first: Session, access: Access, psql: string, run: RunContext): Promise<void> {
  const second = await openSession(access, psql, run);
  try {
    const seen = [new Set<string | null>(), new Set<string | null>()] as const;
    for (let round = 0; round < ROUNDS; round++)
      for (const [index, session] of [first, second].entries()) {
        const [backend] = await session.one('select pg_catalog.pg_backend_pid()');
        seen[index]?.add(backend as string);
      }
    const [ours, others] = seen;
    if (ours.size === 1 && others.size === 1 && ours.isDisjointFrom(others)) return;
  } finally {
    await second.close();
  }
  throw new SourceUnsupported(
    `${printable(access.address)} is a pooler in transaction mode: what a dump sets would reach other clients, and theirs the dump`,
    { hint: directly(access.address) },
  );
}

function directly({ keywords }: Address): string {
  const { host = '', port } = keywords;
  if (host.endsWith('.pooler.supabase.com') && port === '6543')
    return 'Supabase: take port 5432 instead of 6543 (session mode), or the direct connection';
  if (/-pooler\..*neon\.tech$/.test(host)) return `Neon: take ${host.replace('-pooler.', '.')}, the direct connection`;
  return 'give the port of the server itself (Prisma: directUrl), or that of a pooler in session mode';
}
