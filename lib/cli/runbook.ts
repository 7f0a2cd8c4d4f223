import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Outcome } from '#cli/envelope';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { EXIT, messageOf, UsageError } from '#core/errors';
import { plainBytes, type RunbookFacts, runbook, storedBytes } from '#core/runbook';
import { type Machine, openBareWorld } from '#host/world';
import { factsFor, gather, gatherBare } from '#jobs/runbook-facts';

interface Options extends GlobalOptions {
  readonly from?: string;
  readonly vault?: string;
  readonly out?: string;
}

export function addRunbook(program: Command, invocation: Invocation): void {
  program
    .command('runbook')
    .description('the page to restore by with stock tools alone; every vault holds one, RUNBOOK.md')
    .option('--from <vault>', 'as it stands in this vault of the plan; else the newest backups of all of them')
    .option('--vault <url>', "without a plan: the vault's directory or s3://bucket/prefix")
    .option('--out <file>', 'into this file, never over one that is there; else it is printed')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const { vault: url, from } = options;
      if (url !== undefined) {
        await invocation.run('runbook', options, async (machine) => {
          if (from !== undefined) throw new UsageError('--vault and --from exclude each other');
          const world = await openBareWorld(machine, url, null);
          try {
            const { environment } = machine;
            const endpoint = environment['AWS_ENDPOINT_URL_S3'] ?? environment['AWS_ENDPOINT_URL'] ?? null;
            const gathered = await gatherBare(world.vault, world.run.clock, endpoint);
            return await give(factsFor(gathered, 'vault', world.run.clock.now()), options, machine);
          } finally {
            await world.close();
          }
        });
        return;
      }
      await invocation.withWorld('runbook', options, async (world, machine) => {
        if (from !== undefined) world.vault(from);
        const facts = factsFor(await gather(world), from ?? null, world.run.clock.now());
        return give(facts, options, machine);
      });
    });
}

async function give(facts: RunbookFacts, options: Options, machine: Machine): Promise<Outcome> {
  const text = runbook(facts);
  const path = options.out === undefined ? null : resolve(machine.directory, options.out);
  if (path !== null) await writeNew(path, text);
  const away = facts.vaults.filter(({ problem }) => problem !== null);
  const lacking = facts.sources.filter(({ backup }) => backup === null);
  return {
    result: {
      path,
      text,
      sources: facts.sources.map(({ source, backup }) => ({
        source,
        id: backup?.manifest.id ?? null,
        tier: backup?.manifest.tier ?? null,
        vault: backup?.vault ?? null,
        proven: backup?.proven ?? false,
        snapshotAt: backup?.manifest.snapshotAt ?? null,
        restoreSeconds: backup?.seconds ?? null,
        bytes: backup ? storedBytes(backup.manifest) : 0,
        plainBytes: backup ? plainBytes(backup.manifest) : 0,
      })),
    },
    lines: path === null ? text.trimEnd().split('\n') : [`wrote ${options.out}`],
    // The page says so itself; a script that prints it every week must hear it too.
    exit: away.length > 0 || lacking.length > 0 ? EXIT.partly : EXIT.done,
    warnings: [
      ...away.map(({ name, problem }) => `vault ${name} could not be read: ${problem}`),
      ...lacking.map(({ source }) => `${source} has no proven backup: it is not on the page`),
    ],
  };
}

async function writeNew(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text, { flag: 'wx' });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new UsageError(
      `--out: could not write ${path}: ${code === 'EEXIST' ? 'it is there already' : messageOf(cause)}`,
      { cause, hint: 'name a file that is not there yet, in a directory that you may write to' },
    );
  }
}
