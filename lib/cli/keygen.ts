import { isAbsolute, resolve } from 'node:path';
import type { Command } from 'commander';
import type { Outcome } from '#cli/envelope';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { recoverySheet } from '#cli/recovery-sheet';
import { createProcesses } from '#host/processes';
import { keygen } from '#vault/encryption';

export function addKeygen(program: Command, invocation: Invocation): void {
  program
    .command('keygen')
    .description('make a key file that opens backups, and print its public key')
    .requiredOption('--out <file>', 'where the secret key goes; never overwritten')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { readonly out: string }>();
      await invocation.run('keygen', options, async (machine): Promise<Outcome> => {
        const file = isAbsolute(options.out) ? options.out : resolve(machine.directory, options.out);
        const publicKey = await keygen(createProcesses(machine.environment, machine.signal, null), file);
        return {
          result: { file, publicKey },
          lines: [
            `made ${options.out}, readable by its owner alone`,
            `public key: ${publicKey}`,
            '',
            ...recoverySheet(file, publicKey),
          ],
        };
      });
    });
}
