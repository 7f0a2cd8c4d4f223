import { sha256Hex } from '#core/manifest';
import { range, wallTimes } from '#core/on-calendar';
import { nextRun, type Timing, timingText } from '#core/schedule';
import { shellWord } from '#core/shell';
import type { Call } from '#core/timers';
import { offsetAt, wallSeconds } from '#core/zone';

export interface CrontabOptions {
  readonly plan: string;
  /** The plan's zone, and the one in which this machine's cron counts. */
  readonly zone: string;
  readonly machineZone: string;
  readonly program: string;
  readonly planFile: string;
  /** With a name, lines for `/etc/cron.d`, which want one; else for `crontab`. */
  readonly user: string | null;
  readonly environment: Readonly<Record<string, string>>;
  /** The zones are compared over the two years after it. */
  readonly now: Date;
}

/**
 * Lines for cron. Where the plan's zone is not the machine's, each call is made every hour at the minutes at which it
 * may be due, and `--due` decides: that stays right when one of the two changes its clock and the other does not.
 */
export function crontab(calls: readonly Call[], options: CrontabOptions): readonly string[] {
  const { plan, zone, machineZone, user, environment, now } = options;
  const apart = differences(zone, machineZone, now).some((seconds) => seconds !== 0);
  const said = apart ? `, not ${machineZone} as this machine's` : '';
  const lines = [
    `# Holdfast: the plan ${plan}, its times in ${zone}${said}. Written by: holdfast schedule --cron`,
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ...Object.entries(environment).map(([name, value]) => `${name}=${value}`),
  ];
  const whose = user === null ? '' : `${user} `;
  for (const call of calls) {
    for (const timing of call.timings) {
      lines.push(`# ${call.title}: ${timingText(timing)}`);
      const fields = apart ? shifted(timing, call, options) : linesOf(timing);
      for (const one of fields) lines.push(`${one} ${whose}${command(call, options)}`);
    }
  }
  lines.push('# After a start: what was missed, once.');
  const due = [options.program, 'backup', '--due', '--plan', options.planFile].map(quoted).join(' ');
  lines.push(`@reboot ${whose}sleep 60; ${due} >/dev/null`);
  return lines;
}

/** What is said on stdout nobody wants to have mailed; errors go to stderr, and cron mails them. */
function command(call: Call, { program, planFile, plan }: CrontabOptions): string {
  const called = [program, ...call.args, '--plan', planFile].map(quoted).join(' ');
  const wait =
    call.spreadSeconds > 1
      ? Number.parseInt(sha256Hex(`${plan}|${call.name}`).slice(0, 8), 16) % call.spreadSeconds
      : 0;
  return `${wait > 0 ? `sleep ${wait}; ` : ''}${called} >/dev/null`;
}

/** A `%` ends a command in a crontab. */
function quoted(text: string): string {
  return shellWord(text).replaceAll('%', '\\%');
}

/** The timing in cron's own five fields, on the machine's clock. */
function linesOf(timing: Timing): string[] {
  if (timing.cron !== undefined) return [timing.cron.trim().replaceAll(/\s+/g, ' ')];
  const { groups, days, months, weekdays } = wallTimes(timing);
  return groups.map(({ hours, minutes }) =>
    [
      numbers(minutes, 0, 59),
      numbers(hours, 0, 23),
      numbers(days, 1, 31),
      numbers(months, 1, 12),
      numbers(weekdays, 0, 6),
    ].join(' '),
  );
}

/**
 * On a machine with another clock: every hour at the minutes that may be meant. What does not ask `--due` and has an hour
 * of its own (retention) is done at the machine's hour of its next time; an hour more or less is no matter there.
 */
function shifted(timing: Timing, call: Call, { zone, machineZone, now }: CrontabOptions): string[] {
  const { groups, days, months, weekdays } = wallTimes(timing);
  const anyHour = groups.every(({ hours }) => hours.length === 24);
  if (!anyHour && !call.args.includes('--due')) {
    const next = Math.floor(nextRun(timing, zone, now).getTime() / 1000);
    const minute = Math.floor(wallSeconds(next, machineZone) / 60) % 1440;
    const dates = [numbers(days, 1, 31), numbers(months, 1, 12), numbers(weekdays, 0, 6)].join(' ');
    return [`${minute % 60} ${Math.floor(minute / 60)} ${dates}`];
  }
  const shifts = new Set(differences(zone, machineZone, now).map((seconds) => (seconds / 60) % 60));
  const meant = groups.flatMap(({ minutes }) => minutes);
  const here = meant.flatMap((minute) => [...shifts].map((shift) => (minute - shift + 60) % 60));
  const sorted = [...new Set(here)].sort((a, b) => a - b);
  return [`${numbers(sorted, 0, 59)} * * * *`];
}

/** Seconds that the plan's clock is ahead of the machine's, in each week of the two years. */
function differences(zone: string, machineZone: string, now: Date): readonly number[] {
  const from = Math.floor(now.getTime() / 1000);
  return range(0, 104).map((week) => {
    const at = from + week * 7 * 86_400;
    return offsetAt(at, zone) - offsetAt(at, machineZone);
  });
}

/** `*`, `0-59/15` where it repeats, or a list. */
function numbers(values: readonly number[], low: number, high: number): string {
  if (values.length === high - low + 1) return '*';
  const [first, second] = values;
  if (first === low && second !== undefined && values.length > 2) {
    const step = second - first;
    const regular = values.every((value, index) => value === first + index * step);
    if (regular && first + values.length * step > high) return `*/${step}`;
  }
  return values.join(',');
}
