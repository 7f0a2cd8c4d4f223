import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { tellStory } from '#host/demo/story';

export function addDemo(program: Command, invocation: Invocation): void {
  program
    .command('demo')
    .description('the main job on servers of its own: back up, prove, destroy, restore, compare; leaves demo/')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await invocation.run('demo', options, async (machine) => {
        const told = await tellStory({
          directory: machine.directory,
          bin: resolve(import.meta.dirname, '../../bin/holdfast'),
          environment: machine.environment,
          signal: machine.signal,
          say: (line) => {
            (options.json ? process.stderr : process.stdout).write(`${line}\n`);
          },
        });
        return {
          result: told,
          lines: [
            '',
            `Done in ${told.seconds} s. ${told.folder} holds the plan, the key, the vault, and in TRY.md the stock-tool commands to try by hand.`,
          ],
        };
      });
    });
}
