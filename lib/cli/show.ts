import type { Command } from 'commander';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { BackupMissing } from '#core/errors';
import { findBackup, newestBackup } from '#jobs/catalog';
import { homeVault } from '#jobs/home';

interface Options extends GlobalOptions {
  readonly id?: string;
  readonly from?: string;
}

export function addShow(program: Command, invocation: Invocation): void {
  program
    .command('show')
    .description('the manifest of a backup: the newest, or the one with --id')
    .argument('<source>')
    .argument('[id]')
    .option('--id <id>', 'which one')
    .option('--from <vault>', 'in which vault')
    .action(async (source: string, idArgument: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('show', options, async (world) => {
        const vault = await homeVault(source, options.from ?? null, world);
        const id = options.id ?? idArgument;
        const manifest = id === undefined ? await newestBackup(vault, source) : await findBackup(vault, source, id);
        if (!manifest)
          throw new BackupMissing(`no backup of ${source} in vault ${vault.name} (${vault.url})`, {
            source,
            hint: `holdfast backup ${source}`,
          });
        return { result: manifest, lines: JSON.stringify(manifest, null, 2).split('\n') };
      });
    });
}
