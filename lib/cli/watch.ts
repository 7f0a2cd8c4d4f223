import type { Command } from 'commander';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { EXIT } from '#core/errors';
import type { OpenTrouble } from '#jobs/alert-chain';
import { type WatchedChange, type WatchedDelivery, watch } from '#jobs/watch';

export function addWatch(program: Command, invocation: Invocation): void {
  program
    .command('watch')
    .description('look at everything, and tell what has changed; for every few minutes. Exit 3 when something is open')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await invocation.withWorld('watch', options, async (world) => {
        const { warnings, ...watched } = await watch(world);
        return {
          result: watched,
          lines: [
            ...(watched.healthy ? ['all is well'] : watched.open.map(openLine)),
            ...watched.changes.map(changeLine),
            ...watched.delivered.map(deliveryLine),
            ...(watched.heartbeat ? [heartbeatLine(watched.heartbeat)] : []),
          ],
          warnings,
          exit: watched.healthy ? EXIT.done : EXIT.partly,
        };
      });
    });
}

function openLine({ severity, title, since, told, acknowledged }: OpenTrouble): string {
  const said = acknowledged
    ? 'acknowledged'
    : told === 0
      ? 'nobody was reached'
      : told === 1
        ? 'told'
        : `told ${told}x`;
  return `${severity.toUpperCase().padEnd(8)}  ${title}  (since ${since}, ${said})`;
}

function changeLine({ what, title, told }: WatchedChange): string {
  return `${what}: ${title}${told ? '' : ' (no channel took it: tried again at the next watch)'}`;
}

function deliveryLine({ channel, key, ok, error }: WatchedDelivery): string {
  return ok ? `told ${channel} of ${key}` : `NOT told ${channel} of ${key}: ${error}`;
}

function heartbeatLine({ channel, ok, error }: { channel: string; ok: boolean; error: string | null }): string {
  return ok ? channel : `${channel}: ${error}`;
}
