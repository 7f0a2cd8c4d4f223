import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Cancelled, CaptureIncomplete, SourceUnsupported } from '#core/errors';
import { partMeasures } from '#core/measures';
import type { Capture, RunContext, SourceRef } from '#core/ports';
import { DIGEST, type Fingerprint } from '#engines/redis/fingerprint';
import { ARTIFACT } from '#engines/redis/layout';
import { checkRdb, type RdbCheck, sha256OfFile } from '#engines/redis/rdb-file';
import { restoreScript } from '#engines/redis/restore-script';
import { identityOf, lookAtSource, sourceWarnings } from '#engines/redis/source';
import { findTool } from '#engines/redis/tools';
import { fetchRdb } from '#engines/redis/transfer';

/**
 * Fetches the RDB into the scratch directory; sealing reads it from there while redis-check-rdb and sha256 read it too.
 * No server is started: that is the proof's work.
 */
export async function capture(source: SourceRef, run: RunContext): Promise<Capture> {
  const { address, cli, facts } = await lookAtSource(source, run);
  if (Object.keys(source.settings.probes ?? {}).length > 0)
    throw new SourceUnsupported(`source ${source.name}: probes do not work for redis in this version`, {
      hint: 'take them out of the plan; keys are counted for each database anyway',
    });
  const checker = await findTool('check-rdb', run, { flavour: facts.flavour });
  const folder = await mkdtemp(join(run.scratch, 'redis-'));
  const file = join(folder, ARTIFACT);
  const started = run.clock.now();
  let handle: FileHandle | null = null;
  let evidence: Promise<readonly [string, RdbCheck]> | null = null;

  const close = async (): Promise<void> => {
    await handle?.close();
    await rm(folder, { recursive: true, force: true });
  };

  try {
    const { bytes, header } = await fetchRdb(cli.path, address, file, run);
    const usedMemory = header.aux.get('used-mem');
    return {
      snapshotAt: snapshotTime(started, header.aux.get('ctime'), facts.clockAhead),
      identity: identityOf(facts, address),
      tools: {
        [`${cli.flavour}-cli`]: cli.version,
        [`${checker.flavour}-check-rdb`]: checker.version,
        server: facts.version,
      },
      artifacts: [
        {
          name: ARTIFACT,
          async open() {
            handle = await open(file, 'r');
            evidence = Promise.all([sha256OfFile(file, run), checkRdb(checker, file, run)]);
            const whole = evidence.then(([, check]) => {
              if (check.result === 'damaged')
                throw new CaptureIncomplete(`the RDB file the server sent is damaged: ${check.reason}`, {
                  hint: 'run it again; if it stays so, see the memory and the log of the server',
                });
            });
            whole.catch(() => undefined);
            return { bytes: handle.fd, whole };
          },
        },
      ],
      async finish() {
        if (!evidence) throw new CaptureIncomplete('the RDB file was never read');
        const [sha256, check] = await evidence;
        // A file so short that it was read before anybody could be stopped.
        if (run.signal.aborted) throw new Cancelled('the backup was stopped', { cause: run.signal.reason });
        const fingerprint: Fingerprint = {
          rdb: { sha256, bytes, magic: header.magic, version: header.version },
          server: { flavour: facts.flavour, version: facts.version },
          modules: [...facts.modules],
          usedMemory: usedMemory !== undefined && /^\d+$/.test(usedMemory) ? Number(usedMemory) : facts.usedMemory,
          keys:
            check.result === 'good'
              ? {
                  read: check.keys,
                  expires: check.expires,
                  expired: check.expired,
                  databases: check.databases && [...check.databases],
                }
              : null,
        };
        return {
          digest: DIGEST,
          fingerprint,
          measures: check.result === 'good' ? { keys: check.keys, bytes, ...databaseMeasures(check) } : { bytes },
          probes: [],
          restoreScript: restoreScript(fingerprint),
          warnings: [
            ...sourceWarnings(facts, address),
            ...(check.result === 'good'
              ? []
              : [
                  `${checker.flavour}-check-rdb ${checker.version} cannot read RDB version ${header.version} (${check.reason}): only the transfer was checked`,
                ]),
          ],
        };
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function databaseMeasures({ databases }: Pick<RdbCheck, 'databases'>): Record<string, number> {
  if (databases === null) return {};
  return partMeasures(
    'keys',
    databases.map(({ index, keys }) => ({ name: `db${index}`, count: keys })),
  );
}

/**
 * When the server forked. Normally a little after we asked (repl-diskless-sync-delay), and then the time we asked is
 * given: an age may be too old, never too young. A server already saving for another replica hands that older save out;
 * then its own time, put on our clock, is the truth.
 */
export function snapshotTime(asked: Date, ctime: string | undefined, clockAhead: number | null): Date {
  if (ctime === undefined || clockAhead === null || !/^\d+$/.test(ctime)) return asked;
  const forked = Number(ctime) * 1000 - clockAhead;
  // ctime is cut to the second: within it, the fork was not before we asked.
  return forked + 1000 < asked.getTime() ? new Date(Math.floor(forked)) : asked;
}
