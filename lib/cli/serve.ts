import type { Command } from 'commander';
import { envelope } from '#cli/envelope';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { EXIT } from '#core/errors';
import { machineClock } from '#host/clock';
import { HostOfServe } from '#host/serve-host';
import { listen, type ServeHttp } from '#host/serve-http';
import { holdServeLock } from '#host/serve-lock';
import { type Machine, planPath } from '#host/world';
import { serve } from '#jobs/serve';
import { serveJobs } from '#jobs/serve-jobs';
import { status } from '#jobs/status';

export function addServe(program: Command, invocation: Invocation): void {
  program
    .command('serve')
    .description('run the plan by itself: due backups, proofs, retention, copies, watch; until it is told to end')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      await invocation.run('serve', options, async (machine) => {
        const path = planPath(options.plan, process.env, machine.directory);
        const host = await HostOfServe.open(machine, path);
        try {
          const release = await holdServeLock(process.env, path);
          try {
            await serveUntilTold(host, machine);
          } finally {
            await release();
          }
        } finally {
          await host.close();
        }
        return { result: { stopped: true }, lines: ['stopped'], exit: EXIT.done };
      });
    });
}

async function serveUntilTold(host: HostOfServe, machine: Machine): Promise<void> {
  let turned = performance.now();
  let task: string | null = null;
  const liveness = () => ({ seconds: (performance.now() - turned) / 1000, task });
  const http = await listening(host, liveness);
  const { plan } = host.environment();
  machine.log.info(`serving ${plan.plan.name} (${plan.file})${http ? `, ${http.url}` : ''}`);
  try {
    await serve(host, {
      jobs: serveJobs,
      pacer: machineClock,
      signal: machine.signal,
      onTurn: (now) => {
        turned = performance.now();
        task = now;
      },
    });
  } finally {
    await http?.close();
  }
}

/** As the plan says at the start: another address or token needs another start. */
async function listening(
  host: HostOfServe,
  liveness: () => { readonly seconds: number; readonly task: string | null },
): Promise<ServeHttp | null> {
  const { plan, run } = host.environment();
  const settings = plan.plan.serve;
  if (!settings) return null;
  return listen({
    listen: settings.listen,
    token: settings.token === undefined ? null : run.reveal(settings.token),
    liveness,
    status: async () => {
      const environment = host.environment();
      const result = await status(Object.keys(environment.plan.plan.sources), environment);
      const exit = result.healthy ? EXIT.done : EXIT.partly;
      return envelope('status', environment.run.clock.now(), { result, lines: [], exit });
    },
  });
}
