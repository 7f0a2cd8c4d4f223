import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseCron } from '#core/cron';
import { crontab } from '#core/crontab';
import { parseDuration } from '#core/duration';
import { onCalendar } from '#core/on-calendar';
import { loadPlan } from '#core/plan-load';
import { isEvery, nextRun, type Timing, timingText } from '#core/schedule';
import { systemdUnits } from '#core/systemd-units';
import { callsOf } from '#core/timers';
import { offsetAt, wallSeconds } from '#core/zone';

const ZONES = ['UTC', 'Europe/Stockholm', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe'];
const FROM = Date.UTC(2026, 10, 21) / 1000;
const DAY = 86_400;
const WEEKDAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

const every = (text: string): Timing => ({ every: parseDuration(text)! });
const field = (low: number, high: number) =>
  fc.oneof(
    fc.constant('*'),
    fc.integer({ min: 1, max: 7 }).map((step) => `*/${step}`),
    fc.uniqueArray(fc.integer({ min: low, max: high }), { minLength: 1, maxLength: 4 }).map((all) => all.join(',')),
    fc
      .tuple(fc.integer({ min: low, max: high }), fc.integer({ min: low, max: high }))
      .map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`),
  );
const anyCron = fc
  .tuple(
    field(0, 59),
    field(0, 23),
    fc.oneof(fc.tuple(field(1, 28), fc.constant('*')), fc.tuple(fc.constant('*'), field(0, 6))),
    fc.oneof(fc.constant('*'), field(1, 12)),
  )
  .map(([minute, hour, [day, weekday], month]): Timing => ({ cron: `${minute} ${hour} ${day} ${month} ${weekday}` }));
const anyEvery = fc
  .constantFrom('1m', '5m', '15m', '30m', '45m', '48m', '90m', '1h', '2h', '4h', '8h', '12h', '1d', '1w')
  .map(every);
const zones = fc.constantFrom(...ZONES);
const day = fc.integer({ min: 0, max: 730 }).map((days) => FROM + days * DAY);

/** The minutes of one day of the zone's calendar at which an OnCalendar line fires: systemd.time(7), as far as we print it. */
function firings(line: string, zone: string, midday: number): number[] {
  const found = /^(?:([A-Z][a-z,A-Z]*) )?\*-(\S+)-(\S+) ([^:]+):([^:]+):00 (\S+)$/.exec(line);
  assert.ok(found, `not an OnCalendar of ours: ${line}`);
  const [, weekdays, months = '', days = '', hours = '', minutes = '', where] = found;
  assert.equal(where, zone);
  const today = new Date(wallSeconds(midday, zone) * 1000);
  const start = Math.floor(wallSeconds(midday, zone) / DAY) * DAY;
  if (weekdays && !weekdays.split(',').includes(WEEKDAYS[today.getUTCDay()]!)) return [];
  if (!has(months, today.getUTCMonth() + 1) || !has(days, today.getUTCDate())) return [];
  const offset = offsetAt(midday, zone);
  const all: number[] = [];
  for (let minute = 0; minute < 1440; minute++)
    if (has(hours, Math.floor(minute / 60)) && has(minutes, minute % 60)) all.push(start + minute * 60 - offset);
  return all;
}

function has(spec: string, value: number): boolean {
  if (spec === '*') return true;
  return spec.split(',').some((part) => {
    const [first = '', step] = part.split('/');
    return step === undefined
      ? Number(first) === value
      : value >= Number(first) && (value - Number(first)) % Number(step) === 0;
  });
}

function runsOn(timing: Timing, zone: string, midday: number): number[] {
  const start = Math.floor(wallSeconds(midday, zone) / DAY) * DAY - offsetAt(midday, zone);
  const all: number[] = [];
  for (let at = nextRun(timing, zone, new Date((start - 1) * 1000)).getTime() / 1000; at < start + DAY; ) {
    all.push(at);
    at = nextRun(timing, zone, new Date(at * 1000)).getTime() / 1000;
  }
  return all;
}

/** Whether the zone keeps its clock from a day before to a day after. */
function calm(midday: number, zone: string): boolean {
  return offsetAt(midday - 1.5 * DAY, zone) === offsetAt(midday + 1.5 * DAY, zone);
}

describe('timers of systemd', () => {
  test('an OnCalendar fires exactly when core/schedule says, on each day without a clock change', () => {
    fc.assert(
      fc.property(fc.oneof(anyCron, anyEvery), zones, day, (timing, zone, midnight) => {
        const midday = midnight + 43_200;
        fc.pre(calm(midday, zone));
        const { lines, exact } = onCalendar(timing, zone);
        assert.ok(exact);
        const fired = lines.flatMap((line) => firings(line, zone, midday)).sort((a, b) => a - b);
        assert.deepEqual(fired, runsOn(timing, zone, midday), `${timingText(timing)} = ${lines.join(' + ')}`);
      }),
      { numRuns: 400 },
    );
  });

  test('days that systemd cannot count fire too often rather than too seldom, and say so', () => {
    for (const text of ['2d', '3d', '10d', '4w']) {
      assert.ok(isEvery(parseDuration(text)!));
      const { lines, exact } = onCalendar(every(text), 'UTC');
      assert.ok(!exact);
      for (let at = FROM + 43_200; at < FROM + 60 * DAY; at += DAY)
        for (const run of runsOn(every(text), 'UTC', at))
          assert.ok(
            lines.some((line) => firings(line, 'UTC', at).includes(run)),
            `${text} at ${run}`,
          );
    }
  });

  test('the table that people read', () => {
    const shown = (timing: Timing): string => onCalendar(timing, 'Europe/Stockholm').lines.join(' | ');
    assert.deepEqual(
      ['0 2 * * *', '*/15 8-18 * * 1-5', '30 3 1 */3 *', '0 3 * * SUN'].map((cron) => shown({ cron })),
      [
        '*-*-* 02:00:00 Europe/Stockholm',
        'Mon,Tue,Wed,Thu,Fri *-*-* 08,09,10,11,12,13,14,15,16,17,18:00/15:00 Europe/Stockholm',
        '*-01/3-01 03:30:00 Europe/Stockholm',
        'Sun *-*-* 03:00:00 Europe/Stockholm',
      ],
    );
    assert.deepEqual(
      ['1m', '15m', '90m', '1h', '4h', '1d', '1w'].map((text) => shown(every(text))),
      [
        '*-*-* *:*:00 Europe/Stockholm',
        '*-*-* *:00/15:00 Europe/Stockholm',
        '*-*-* 00/3:00:00 Europe/Stockholm | *-*-* 01/3:30:00 Europe/Stockholm',
        '*-*-* *:00:00 Europe/Stockholm',
        '*-*-* 00/4:00:00 Europe/Stockholm',
        '*-*-* 00:00:00 Europe/Stockholm',
        'Mon *-*-* 00:00:00 Europe/Stockholm',
      ],
    );
  });

  test('systemd itself reads each of them as we do, where it is installed; else our own reading stands alone', () => {
    const table: [Timing, string][] = [
      [{ cron: '*/15 8-18 * * 1-5' }, 'Europe/Stockholm'],
      [{ cron: '30 3 1 */3 *' }, 'America/New_York'],
      [every('90m'), 'Asia/Kathmandu'],
      [every('1w'), 'Europe/Stockholm'],
    ];
    const midday = FROM + 43_200;
    for (const [timing, zone] of table) {
      const { lines } = onCalendar(timing, zone);
      const ours = lines.flatMap((line) => firings(line, zone, midday)).sort((a, b) => a - b);
      assert.deepEqual(ours, runsOn(timing, zone, midday));
      if (!existsSync('/usr/bin/systemd-analyze')) continue;
      for (const line of lines) {
        const args = ['calendar', '--iterations=3', `--base-time=@${FROM - 1}`, line];
        const said = execFileSync('/usr/bin/systemd-analyze', args, { encoding: 'utf8', env: { TZ: 'UTC' } });
        const theirs = [...said.matchAll(/(?:Next elapse|Iter\. #\d+): \w+ (\S+) (\S+) UTC/g)].map(
          ([, date, time]) => Date.parse(`${date}T${time}Z`) / 1000,
        );
        assert.equal(theirs.length, 3, said);
        for (const at of theirs)
          assert.equal(nextRun(timing, zone, new Date((at - 1) * 1000)).getTime() / 1000, at, `${line} at ${at}`);
      }
    }
  });
});

describe('lines of cron', () => {
  const options = {
    plan: 'p',
    program: '/opt/holdfast/bin/holdfast',
    planFile: '/srv/holdfast.yaml',
    user: null,
    environment: {},
    now: new Date(FROM * 1000),
  };
  const call = (timing: Timing) => ({
    name: 'backup-x',
    title: 'backups of x',
    args: ['backup', '--due', 'x'],
    timings: [timing],
    catchUp: true,
    spreadSeconds: 0,
    alsoGood: [4],
    hooked: false,
  });

  /** Whether any of the lines fires at this moment on a machine in this zone. */
  function fires(lines: readonly string[], machineZone: string, at: number): boolean {
    const wall = new Date(wallSeconds(at, machineZone) * 1000);
    return lines.some((line) => {
      const [minute, hour, days, month, weekday] = line.split(' ');
      const fields = parseCron([minute, hour, days, month, weekday].join(' '));
      assert.ok(typeof fields !== 'string', `${line}: want ${fields}`);
      return (
        fields.minutes.includes(wall.getUTCMinutes()) &&
        fields.hours.includes(wall.getUTCHours()) &&
        fields.days.includes(wall.getUTCDate()) &&
        fields.months.includes(wall.getUTCMonth() + 1) &&
        fields.weekdays.includes(wall.getUTCDay())
      );
    });
  }

  test('at each time of a schedule a line fires, whatever the two zones, and in one zone at no other', () => {
    fc.assert(
      fc.property(fc.oneof(anyCron, anyEvery), zones, zones, day, (timing, zone, machineZone, midnight) => {
        const midday = midnight + 43_200;
        fc.pre(calm(midday, zone) && calm(midday, machineZone));
        const lines = crontab([call(timing)], { ...options, zone, machineZone }).filter((line) => /^[\d*]/.test(line));
        const runs = runsOn(timing, zone, midday);
        for (const run of runs)
          assert.ok(fires(lines, machineZone, run), `${timingText(timing)} in ${zone}: ${lines.join(' + ')} at ${run}`);
        if (zone !== machineZone) return;
        const start = runs[0] ?? midday;
        for (let at = start; at < start + 2 * 3600 && at < (runs.at(-1) ?? 0); at += 60)
          assert.equal(fires(lines, zone, at), runs.includes(at), lines.join());
      }),
      { numRuns: 60 },
    );
  });

  test('zones of two names and one clock are one; a % is no end of the command', () => {
    const lines = crontab([call({ cron: '0 2 * * *' })], {
      ...options,
      planFile: '/srv/100%/my plan.yaml',
      zone: 'UTC',
      machineZone: 'Etc/UTC',
    });
    assert.ok(
      lines.includes(
        "0 2 * * * /opt/holdfast/bin/holdfast backup --due x --plan '/srv/100\\%/my plan.yaml' >/dev/null",
      ),
      lines.join('\n'),
    );
  });

  test('what has no --due is done at about its hour on a machine in another zone', () => {
    const retain = { ...call({ cron: '0 0 * * *' }), args: ['retain'] };
    const lines = crontab([retain], { ...options, user: 'root', zone: 'Asia/Kathmandu', machineZone: 'UTC' });
    assert.ok(
      lines.some((line) => line.startsWith('15 18 * * * root /opt/')),
      lines.join('\n'),
    );
  });
});

describe('what is called', () => {
  const plan = loadPlan(
    `version: 1
name: small
timezone: Europe/Stockholm
encryption: none
vaults: { here: { disk: /v }, there: { disk: /w, replica: { vault: here, lag: 7m } } }
tiers: { daily: { keep: 30d } }
sources:
  app:
    sqlite: { file: app.db }
    schedule: [{ every: 4h, tier: daily, to: [here] }, { cron: "30 2 * * 0", tier: daily, to: [there] }, { every: 5m, kind: differential, tier: daily, to: [here] }]
    prove: { cron: "0 4 * * *" }
    objectives: { rpo: 26h }
  tree: { files: { paths: [x] }, before: ["true"], schedule: [{ every: 1d, tier: daily, to: [here] }] }
retain: { cron: "10 1 * * *" }
`,
    'holdfast.yaml',
  ).plan;
  const calls = callsOf(plan, ['app', 'tree']);

  test('per source its backups and its proofs; and repetitions, watch, retention, copies', () => {
    assert.deepEqual(
      calls.map(({ name, args, timings }) => `${name}: ${args.join(' ')}: ${timings.map(timingText).join(', ')}`),
      [
        'backup-app: backup --due app: every 4h, 30 2 * * 0',
        'prove-app: prove --due app: 0 4 * * *',
        'backup-tree: backup --due tree: every 1d',
        'due: backup --due: 7-59/15 * * * *',
        'watch: watch: every 5m',
        'retain: retain: 10 1 * * *',
        'replicate: replicate: every 5m',
      ],
    );
    assert.equal(calls.find(({ name }) => name === 'backup-app')?.spreadSeconds, 288);
  });

  test('units: absolute paths, catch-up after a start, a spread that stays, hardening only where no hook may need more', () => {
    const units = systemdUnits(calls, {
      plan: 'small',
      zone: 'Europe/Stockholm',
      program: '/opt/hold fast/bin/holdfast',
      planFile: '/srv/50%/holdfast.yaml',
      user: 'backup',
      environment: { HOLDFAST_STATE: '/state' },
    });
    const text = (name: string): string => units.find((unit) => unit.name === name)?.text ?? '';
    assert.equal(units[0]?.name, 'holdfast-small.target');
    assert.match(text('holdfast-small.target'), /^Wants=holdfast-small-backup-app\.timer$/m);
    const timer = text('holdfast-small-backup-app.timer');
    assert.match(timer, /^OnCalendar=\*-\*-\* 00\/4:00:00 Europe\/Stockholm$/m);
    assert.match(timer, /^OnCalendar=Sun \*-\*-\* 02:30:00 Europe\/Stockholm$/m);
    for (const line of [
      'Persistent=true',
      'RandomizedDelaySec=288',
      'FixedRandomDelay=true',
      'PartOf=holdfast-small.target',
    ])
      assert.ok(timer.split('\n').includes(line), timer);
    assert.doesNotMatch(text('holdfast-small-watch.timer'), /Persistent/);
    const service = text('holdfast-small-backup-app.service').split('\n');
    for (const line of [
      'Type=oneshot',
      'User=backup',
      'WorkingDirectory=/srv/50%%',
      'Environment=HOLDFAST_STATE=/state',
      'ExecStart="/opt/hold fast/bin/holdfast" backup --due app --plan /srv/50%%/holdfast.yaml',
      'SuccessExitStatus=4',
      'TimeoutStartSec=infinity',
      'PrivateTmp=no',
      'ProtectKernelModules=yes',
    ])
      assert.ok(service.includes(line), `${line} in\n${service.join('\n')}`);
    assert.doesNotMatch(text('holdfast-small-backup-tree.service'), /Protect/);
    assert.match(text('holdfast-small-watch.service'), /^SuccessExitStatus=3 4$/m);
  });
});
