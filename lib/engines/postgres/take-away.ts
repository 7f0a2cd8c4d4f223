import { HoldfastError } from '#core/errors';
import type { RunContext } from '#core/ports';
import { type Access, atDatabase, clientCommand } from '#engines/postgres/access';
import type { Session } from '#engines/postgres/session';
import { quoteName, quoteText } from '#engines/postgres/sql';

/** Somebody has pressed Ctrl-C and waits. The server goes on dropping when psql is gone. */
const AFTER_STOP_MILLISECONDS = 10_000;
/** Where to stand while another database is dropped. */
const ALWAYS_THERE = ['postgres', 'template1'];

/** What a run made on a server that is not its own. */
export interface Made {
  readonly databases: readonly string[];
  readonly roles: readonly string[];
}

/**
 * Takes away what this run made on a server, also when the run has been stopped: its sessions are gone then, and a psql
 * of its own does it, in bounded time. Never throws: the reason of the failure matters more, and the names are told.
 * @param session one to do it in, if it still lives
 */
export async function takeAway(
  made: Made,
  session: Session | null,
  access: Access,
  psql: string,
  run: RunContext,
): Promise<void> {
  const { databases, roles } = made;
  const drops = [
    ...databases.map((name) => `drop database if exists ${quoteName(name)}`),
    ...roles.map((name) => `drop role if exists ${quoteName(name)}`),
  ];
  if (drops.length === 0) return;
  try {
    if (session !== null && !run.signal.aborted) {
      try {
        for (const drop of drops) await session.query(drop);
        return;
      } catch (error) {
        if (!run.signal.aborted) throw error;
      }
    }
    // What was loading has not heard of the end yet, and would hold the database.
    const quiet = databases.map(
      (name) =>
        `select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where datname = ${quoteText(name)}`,
    );
    await inOwnClient([...quiet, ...drops], databases, access, psql, run);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    run.log.warn(`could not be removed: ${[...databases, ...roles].join(', ')}: ${error.message}`);
  }
}

async function inOwnClient(
  statements: readonly string[],
  besides: readonly string[],
  access: Access,
  psql: string,
  run: RunContext,
): Promise<void> {
  const args = ['-X', '-q', '-v', 'ON_ERROR_STOP=1', ...statements.flatMap((statement) => ['-c', statement])];
  const places = ALWAYS_THERE.filter((name) => !besides.includes(name));
  for (const [index, place] of places.entries()) {
    try {
      const command = { ...clientCommand(atDatabase(access, place), psql, args), afterStop: true };
      await run.processes.run(command, {
        ...(access.secretLine === null ? {} : { input: access.secretLine }),
        ...(run.signal.aborted ? { timeout: AFTER_STOP_MILLISECONDS } : {}),
      });
      return;
    } catch (error) {
      if (!(error instanceof HoldfastError) || index === places.length - 1) throw error;
    }
  }
}
