import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import type { Outcome } from '#cli/envelope';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { crontab } from '#core/crontab';
import { messageOf, UsageError } from '#core/errors';
import { variablesOf as variablesOfPlan } from '#core/plan-variables';
import { systemdUnits, type Unit } from '#core/systemd-units';
import { callsOf } from '#core/timers';
import { planPath, variablesOf, type World } from '#host/world';
import { sourcesHere } from '#jobs/serve-agenda';

interface Options extends GlobalOptions {
  readonly systemd?: boolean;
  readonly cron?: boolean;
  readonly user?: string;
  readonly out?: string;
}

/** Where things lie is this machine's choice, and a timer's run must look in the same places. */
const CARRIED = ['HOLDFAST_STATE', 'HOLDFAST_SCRATCH'];

export function addSchedule(program: Command, invocation: Invocation): void {
  program
    .command('schedule')
    .description('print systemd units or cron lines that run the plan on this machine')
    .option('--systemd', 'services and timers')
    .option('--cron', 'lines for crontab, or with --user for /etc/cron.d')
    .option('--user <name>', 'whom they run as')
    .option('--out <directory>', 'write the units there instead of printing them: /etc/systemd/system')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('schedule', options, async (world, machine) => {
        const path = planPath(options.plan, process.env, machine.directory);
        return schedule(options, path, world);
      });
    });
}

function schedule(options: Options, planFile: string, world: World): Outcome {
  if ((options.systemd === true) === (options.cron === true))
    throw new UsageError('schedule wants one of --systemd, --cron');
  if (options.cron && options.out !== undefined)
    throw new UsageError('--out is for --systemd; > FILE takes cron lines');
  if (options.user !== undefined && !/^[a-z_][a-z0-9_-]*\$?$/i.test(options.user))
    throw new UsageError(`--user: got "${options.user}", want the name of a user of this machine`);
  const { plan } = world.plan;
  const { sources, skipped } = sourcesHere(plan);
  const calls = callsOf(plan, sources);
  const common = {
    plan: plan.name,
    zone: plan.timezone,
    program: fileURLToPath(new URL('../../bin/holdfast', import.meta.url)),
    planFile,
    user: options.user ?? null,
    environment: Object.fromEntries(CARRIED.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : []))),
  };
  const warnings = [...skipped, ...missingVariables(world, planFile)];
  if (options.cron) {
    const machineZone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const lines = crontab(calls, { ...common, machineZone, now: world.run.clock.now() });
    const howTo =
      common.user === null
        ? ['# To take them up:  (crontab -l; holdfast schedule --cron) | crontab -']
        : [`# Save as /etc/cron.d/holdfast-${plan.name}`];
    return { result: { lines }, lines: [...howTo, ...lines], warnings };
  }
  const units = systemdUnits(calls, common);
  const target = units[0] as Unit;
  const enable = ['systemctl daemon-reload', `systemctl enable --now ${target.name}`];
  const out = options.out === undefined ? null : written(units, resolve(options.out));
  const lines = out
    ? [...out.map((file) => `wrote ${file}`), 'now, as root:', ...enable.map((line) => `  ${line}`)]
    : [
        '# Save each as /etc/systemd/system/NAME (or let --out /etc/systemd/system do it), then, as root:',
        ...enable.map((line) => `#   ${line}`),
        ...units.flatMap(({ name, text }) => ['', `# ==> ${name} <==`, ...text.trimEnd().split('\n')]),
      ];
  return { result: { units, enable, written: out ?? [] }, lines, warnings };
}

function written(units: readonly Unit[], directory: string): readonly string[] {
  try {
    // Not `recursive`: Node.js makes no end of that below /proc.
    if (!existsSync(directory)) mkdirSync(directory);
    return units.map(({ name, text }) => {
      const file = join(directory, name);
      writeFileSync(file, text);
      return file;
    });
  } catch (cause) {
    throw new UsageError(`--out: the units cannot be written to ${directory}: ${messageOf(cause)}`, {
      cause,
      hint: 'run it as root, or print them: leave --out away',
    });
  }
}

/** A timer's run has no environment but what stands in `.env`. */
function missingVariables(world: World, planFile: string): string[] {
  const beside = variablesOf({}, dirname(planFile));
  const missing = variablesOfPlan(world.plan.plan).filter((name) => !beside(name));
  if (missing.length === 0) return [];
  const file = join(dirname(planFile), '.env');
  const where = existsSync(file) ? `not in ${file}` : `and there is no ${file}`;
  return [
    `the plan needs ${missing.join(', ')}, ${where}: a timer has no other environment (mode 600, of the user it runs as)`,
  ];
}
