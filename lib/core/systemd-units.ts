import { onCalendar } from '#core/on-calendar';
import { timingText } from '#core/schedule';
import type { Call } from '#core/timers';

export interface Unit {
  readonly name: string;
  readonly text: string;
}

export interface UnitOptions {
  readonly plan: string;
  readonly zone: string;
  /** Absolute paths: of `bin/holdfast` and of the plan. */
  readonly program: string;
  readonly planFile: string;
  /** Null: root. */
  readonly user: string | null;
  /** `HOLDFAST_STATE` and the like, where they are set now. */
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * A service and a timer for each call, and one target that starts them all: `systemctl enable --now` of it is enough.
 * A unit is never started a second time while it runs; between units the leases decide.
 */
export function systemdUnits(calls: readonly Call[], options: UnitOptions): readonly Unit[] {
  const prefix = `holdfast-${options.plan}`;
  const units = calls.flatMap((call) => [
    { name: `${prefix}-${call.name}.service`, text: service(call, options) },
    { name: `${prefix}-${call.name}.timer`, text: timer(call, prefix, options) },
  ]);
  const timers = units.filter(({ name }) => name.endsWith('.timer')).map(({ name }) => name);
  const target = [
    '[Unit]',
    `Description=Holdfast: the timers of the plan ${options.plan}`,
    ...timers.map((name) => `Wants=${name}`),
    '',
    '[Install]',
    'WantedBy=multi-user.target',
  ];
  return [{ name: `${prefix}.target`, text: lines(target) }, ...units];
}

function service(call: Call, options: UnitOptions): string {
  const { program, planFile, user, environment } = options;
  const folder = planFile.slice(0, planFile.lastIndexOf('/')) || '/';
  return lines([
    '[Unit]',
    `Description=Holdfast: ${call.title} (plan ${options.plan})`,
    'Wants=network-online.target',
    'After=network-online.target',
    '',
    '[Service]',
    'Type=oneshot',
    ...(user === null ? [] : [`User=${user}`]),
    `WorkingDirectory=${folder.replaceAll('%', '%%')}`,
    ...Object.entries(environment).map(([name, value]) => `Environment=${word(`${name}=${value}`)}`),
    `ExecStart=${[program, ...call.args, '--plan', planFile].map(word).join(' ')}`,
    `# ${call.alsoGood.includes(3) ? '3: something is off, which it has told; ' : ''}4: another process is at it.`,
    `SuccessExitStatus=${call.alsoGood.join(' ')}`,
    '# A backup takes as long as it takes. At a stop, `after` commands still run: only Holdfast itself is told to end.',
    'TimeoutStartSec=infinity',
    'TimeoutStopSec=20min',
    'KillMode=mixed',
    'Nice=10',
    'IOSchedulingClass=best-effort',
    'IOSchedulingPriority=7',
    'UMask=0077',
    '# Scratch directories lie in /var/tmp; the next run sweeps what a killed one left there.',
    'PrivateTmp=no',
    ...(call.hooked
      ? ['# No more hardening: its before and after commands may need anything.']
      : [
          'ProtectKernelTunables=yes',
          'ProtectKernelModules=yes',
          'ProtectControlGroups=yes',
          'ProtectHostname=yes',
          'RestrictRealtime=yes',
          'LockPersonality=yes',
        ]),
  ]);
}

function timer(call: Call, prefix: string, { plan, zone }: UnitOptions): string {
  const calendars = call.timings.flatMap((timing) => {
    const { lines: found, exact } = onCalendar(timing, zone);
    const said = exact ? timingText(timing) : `${timingText(timing)}: holdfast backup --due decides on which days`;
    return [`# ${said}`, ...found.map((line) => `OnCalendar=${line}`)];
  });
  return lines([
    '[Unit]',
    `Description=Holdfast: when ${call.title} run (plan ${plan})`,
    `PartOf=${prefix}.target`,
    '',
    '[Timer]',
    ...calendars,
    ...(call.catchUp ? ['# Missed while the machine was off: once, after its start.', 'Persistent=true'] : []),
    'AccuracySec=1s',
    ...(call.spreadSeconds > 0
      ? [
          '# Always the same delay on this machine.',
          `RandomizedDelaySec=${call.spreadSeconds}`,
          'FixedRandomDelay=true',
        ]
      : []),
  ]);
}

/** One word of a command line in a unit: systemd's own quoting, its `%` and `$` taken literally. */
function word(text: string): string {
  const literal = text.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[A-Za-z0-9_./:@%+,=$-]+$/.test(literal)
    ? literal
    : `"${literal.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

function lines(all: readonly string[]): string {
  return `${all.join('\n')}\n`;
}
