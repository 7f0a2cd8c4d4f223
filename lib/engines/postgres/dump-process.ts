import { randomBytes } from 'node:crypto';
import type { Pipeline, RunContext } from '#core/ports';
import { type Access, clientCommand, pipeClient } from '#engines/postgres/access';
import type { Session } from '#engines/postgres/session';
import { quoteText } from '#engines/postgres/sql';

/** Milliseconds. With thousands of tables each look costs the server something, and the dump takes longer anyway. */
const LOOK_FIRST = 10;
const LOOK_LAST = 1000;
const MOST_WARNINGS = 10;
/** How long pg_dump may be seen waiting before it is taken for stuck. */
const STUCK_AFTER = 1000;

/** A pg_dump that has every lock it needs, or that has ended; `stuck` names who was in its way. */
export type Started = { readonly pipeline: Pipeline; readonly stuck: null } | { readonly stuck: string };

/**
 * Starts pg_dump and waits until it holds the locks that the snapshot's session holds. Somebody who asks for an
 * exclusive lock in between waits for us, pg_dump waits behind him, and we for pg_dump: a circle that the server does
 * not see, since our session is only idle. It has to be broken from here.
 */
export async function startDump(
  access: Access,
  pgDump: string,
  args: readonly string[],
  snapshot: Session,
  run: RunContext,
): Promise<Started> {
  const name = `holdfast-dump-${randomBytes(6).toString('hex')}`;
  const { address } = access;
  const named: Access = {
    ...access,
    address: { ...address, keywords: { ...address.keywords, application_name: name } },
  };
  const pipeline = pipeClient(access, clientCommand(named, pgDump, args), run);
  let over = false;
  pipeline.done.then(
    () => {
      over = true;
    },
    () => {
      over = true;
    },
  );
  try {
    const started = run.clock.now().getTime();
    for (let waitingSince: number | null = null; ; ) {
      // A small database is dumped before one has looked. A failure is told to whoever reads the pipe.
      if (over) return { pipeline, stuck: null };
      // Within a transaction, pg_stat_activity stays what it was at the first look.
      await snapshot.query('select pg_catalog.pg_stat_clear_snapshot()');
      const [missing, blocked, writing] = await snapshot.one(locksQuery(name));
      if (missing === '0' || writing === 't') return { pipeline, stuck: null };
      const now = run.clock.now().getTime();
      waitingSince = blocked === null ? null : (waitingSince ?? now);
      if (waitingSince !== null && now - waitingSince > STUCK_AFTER) {
        await stopped(pipeline);
        return { stuck: blocked as string };
      }
      await run.clock.sleep(Math.min(LOOK_LAST, Math.max(LOOK_FIRST, (now - started) / 4)), run.signal);
    }
  } catch (error) {
    await stopped(pipeline);
    throw error;
  }
}

/** Ends it, read or not. */
export async function stopped(pipeline: Pipeline): Promise<void> {
  pipeline.stop();
  pipeline.stdout?.destroy();
  await pipeline.done.then(
    () => undefined,
    () => undefined,
  );
}

/** What pg_dump left out, or doubts, in its own words: its exit code says nothing of that. */
export function dumpWarnings(stderr: string): string[] {
  const found = [...stderr.matchAll(/^(?:\S*\/)?pg_dump: warning: (.*)$/gm)].map(([, words]) => `pg_dump: ${words}`);
  return [...new Set(found)].slice(0, MOST_WARNINGS);
}

/** How many tables we have a lock on and the dump has not yet, and whom it waits for: `pid 12 (user, active: TRUNCATE …)`. */
function locksQuery(name: string): string {
  return `
    with dump as (select pid from pg_catalog.pg_stat_activity where application_name = ${quoteText(name)}),
      theirs as (select l.relation, l.granted from pg_catalog.pg_locks l join dump on dump.pid = l.pid
        where l.locktype = 'relation')
    select
      -- EXCEPT sorts or hashes. NOT EXISTS is planned as if there were few locks: half a minute for 20,000 of them.
      (select count(*) from (
        select mine.relation from pg_catalog.pg_locks mine
        where mine.pid = pg_catalog.pg_backend_pid() and mine.locktype = 'relation' and mine.relation >= 16384
        except select theirs.relation from theirs where theirs.granted) as lacking),
      (select 'pid ' || coalesce(pg_catalog.string_agg(b.pid::pg_catalog.text, ', '), '?') from dump,
          pg_catalog.unnest(pg_catalog.pg_blocking_pids(dump.pid)) as b(pid)
        where exists (select from theirs where not theirs.granted) having count(*) > 0),
      -- Past its locks for certain, whatever else we hold: it copies, or its reader (nobody yet) is what it waits for.
      exists (select from pg_catalog.pg_stat_activity where application_name = ${quoteText(name)}
        and (query like 'COPY %' or (wait_event_type = 'Client' and pg_catalog.clock_timestamp() - state_change > interval '3 s')))`;
}
