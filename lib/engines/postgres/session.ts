import { randomBytes } from 'node:crypto';
import { StringDecoder } from 'node:string_decoder';
import { Cancelled } from '#core/errors';
import type { Ended, RunContext, Service } from '#core/ports';
import { type Access, clientCommand, startClient } from '#engines/postgres/access';
import { parseCsv, type Row } from '#engines/postgres/csv';
import { connectionLost, SqlFailed } from '#engines/postgres/failures';
import { quoteText } from '#engines/postgres/sql';

/** One psql child, one connection, statements one after the other. */
export interface Session {
  /** One statement of ours. Throws `SqlFailed`, or the error of a lost connection. */
  query(sql: string): Promise<Row[]>;
  /** Its only row. */
  one(sql: string): Promise<Row>;
  /** A statement of the user's: sent as it is, so that psql sees no backslash commands or variables in it. */
  foreign(sql: string): Promise<Row[]>;
  /** Ends the connection and the child. Harmless when it has ended already. */
  close(): Promise<void>;
}

/**
 * Connects. `psql` instead of a driver: it is there anyway, knows every way of authentication and of reaching a
 * server, and works unchanged behind `exec`.
 * @param psql the program: a path, or a name for `exec`
 */
export async function openSession(access: Access, psql: string, run: RunContext): Promise<Session> {
  const mark = randomBytes(12).toString('hex');
  const nullMark = `null-${mark}`;
  const child = startClient(access, clientCommand(access, psql, ['-X', '-q', '-A', '-t']), run);
  const decoder = new StringDecoder('utf8');
  let buffer: string[] = [];
  let tail = '';
  let waiting: { resolve(text: string): void; reject(error: unknown): void } | null = null;
  let ended: Ended | null = null;
  let lost: Error | null = null;

  const endMark = `\nend-${mark}\n`;
  child.stdout.on('data', (chunk: Buffer) => {
    const piece = decoder.write(chunk);
    buffer.push(piece);
    // The mark comes last; chunks may cut it anywhere.
    tail = `${tail}${piece}`.slice(-2 * endMark.length);
    if (!tail.endsWith(endMark)) return;
    tail = '';
    const text = buffer.join('');
    buffer = [];
    waiting?.resolve(text.slice(0, text.indexOf(endMark)));
    waiting = null;
  });
  const over = child.ended.then((how) => {
    ended = how;
    lost = run.signal.aborted
      ? new Cancelled('the database session was stopped', { cause: run.signal.reason })
      : connectionLost(how, access);
    waiting?.reject(lost);
    waiting = null;
  });

  let turn: Promise<unknown> = Promise.resolve();
  function exchange(input: string): Promise<Row[]> {
    const answer = turn.then(async () => {
      if (lost) throw lost;
      const before = child.stderr();
      const text = await new Promise<string>((resolve, reject) => {
        waiting = { resolve, reject };
        child.stdin.write(
          `${input}\n\\echo\n\\echo said-${mark} :ERROR :SQLSTATE :LAST_ERROR_MESSAGE\n\\echo end-${mark}\n`,
        );
      });
      const at = text.lastIndexOf(`\nsaid-${mark} `);
      const [, failed, sqlstate = '', message = ''] =
        /^(true|false) (\S*) ?(.*)$/s.exec(text.slice(at + mark.length + 7)) ?? [];
      if (at < 0 || failed === undefined) throw new Error('psql answered out of turn');
      if (failed === 'true')
        // psql 17 keeps nothing of what failed within \gexec; it said so on stderr, before the mark.
        throw new SqlFailed(sqlstate, message.trim() || (await lastError(child, before, run)));
      return parseCsv(text.slice(0, at), nullMark);
    });
    turn = answer.catch(() => undefined);
    return answer;
  }

  const session: Session = {
    query: (sql) => exchange(`${sql}\n;`),
    async one(sql) {
      const [row] = await session.query(sql);
      if (!row) throw new Error('a query that answers with one row answered with none');
      return row;
    },
    foreign: (sql) => exchange(`select ${quoteText(sql)} \\gexec`),
    async close() {
      if (ended) return;
      child.stdin.end('\\q\n');
      const timer = setTimeout(() => child.kill('SIGKILL'), 2000);
      await over;
      clearTimeout(timer);
    },
  };
  try {
    await exchange(`\\encoding UTF8\n\\pset format csv\n\\pset null ${nullMark}\nselect 1;`);
    return session;
  } catch (error) {
    await session.close();
    throw error;
  }
}

const ERROR_WITHIN = 1000;

async function lastError(child: Service, before: string, run: RunContext): Promise<string> {
  for (let waited = 0; waited < ERROR_WITHIN && child.stderr() === before; waited += 10)
    await run.clock.sleep(10, run.signal);
  const errors = [...child.stderr().matchAll(/^(?:psql:.*?)?(?:ERROR|FATAL): +(.*)$/gm)];
  return child.stderr() === before ? 'the statement failed' : (errors.at(-1)?.[1] ?? 'the statement failed');
}
