import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { afterEach, describe, test } from 'node:test';
import { makeDatabase } from '#test/cli/small-plan';
import { FastTime, type Happening } from '#test/jobs/fast-time';
import { brief, Serving } from '#test/jobs/serving';
import { type HttpSink, startHttpSink } from '#test/servers/http-sink';
import { until } from '#test/until';

const hour = (text: string): Date => new Date(`2026-11-21T${text}:00Z`);

const SOURCES = [
  'app: { sqlite: { file: app.db }, schedule: [{ every: 4h, tiers: [hourly, daily], to: [here] }] }',
  'tree: { files: { paths: [tree] }, schedule: [{ cron: "30 2 * * *", tier: daily, to: [here] }], prove: { cron: "0 5 * * *" } }',
];

function plan(sources: readonly string[] = SOURCES, more = ''): string {
  return `version: 1
name: small
encryption: none
vaults: { here: { disk: ./vault } }
tiers: { hourly: { keep: 7d }, daily: { keep: 30d } }
sources:
${sources.map((line) => `  ${line}`).join('\n')}
${more}`;
}

describe('serve, in fast time', () => {
  const open: Serving[] = [];
  const sinks: HttpSink[] = [];

  async function serving(
    from: string,
    to: string,
    happenings: readonly Happening[] = [],
    text = plan(),
  ): Promise<{ readonly here: Serving; readonly time: FastTime }> {
    const time = new FastTime(hour(from), hour(to), happenings);
    const here = new Serving(time);
    open.push(here);
    here.write('holdfast.yaml', text);
    makeDatabase(here.path('app.db'), ['one']);
    mkdirSync(here.path('tree'));
    here.write('tree/a', 'a');
    return { here, time };
  }

  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
    for (const sink of sinks.splice(0)) await sink.stop();
  });

  test('a day: every run at its time, a proof by its cron, retention at midnight, watch every five minutes', async () => {
    const calls: string[] = [];
    const { here, time } = await serving('00:30', '23:59');
    const host = await here.open();
    const noted = (what: string) => async () => {
      calls.push(`${time.now().toISOString().slice(11, 16)} ${what}`);
      return null;
    };
    await here.run(host, { watch: async () => void (await noted('watch')()), retain: noted('retain') });
    assert.deepEqual((await here.ledger('app')).map(brief), [
      ...['04:00', '08:00', '12:00', '16:00', '20:00'].flatMap((at) => [`${at} backup schedule`, `${at} proof`]),
    ]);
    assert.deepEqual((await here.ledger('tree')).map(brief), ['02:30 backup schedule', '05:00 proof']);
    assert.deepEqual(calls.slice(0, 3), ['00:31 watch', '00:36 watch', '00:41 watch']);
    assert.equal(calls.length, Math.ceil((23 * 60 + 59 - 31) / 5));
    assert.deepEqual(
      readdirSync(here.path('scratch', `holdfast-${process.getuid?.()}`)).length,
      1,
      'its own world only',
    );
  });

  test('I10: a clock that was ahead and is set back stops nothing: runs and watches go on by the new time', async () => {
    const calls: string[] = [];
    const { here, time } = await serving('00:10', '09:45', [
      { at: hour('00:20'), act: () => time.set(hour('07:55')) },
      { at: hour('09:31'), act: () => time.set(hour('00:30')) },
    ]);
    const host = await here.open();
    await here.run(host, {
      watch: async () => {
        calls.push(time.now().toISOString().slice(11, 16));
      },
    });
    const runs = (await here.ledger('app')).map(brief).filter((line) => line.includes('backup'));
    assert.deepEqual(runs, [
      '07:55 backup catch-up',
      '08:00 backup schedule',
      '04:00 backup schedule',
      '08:00 backup schedule',
    ]);
    const setBack = calls.findIndex((at, index) => at < (calls[index - 1] ?? ''));
    assert.deepEqual(calls.slice(setBack, setBack + 2), ['00:35', '00:40']);
  });

  test('retention runs when the plan says, in the plan’s zone', async () => {
    const calls: string[] = [];
    const { here, time } = await serving('00:30', '23:59', [], plan(SOURCES, 'timezone: Asia/Kathmandu\n'));
    const host = await here.open();
    await here.run(host, {
      retain: async () => {
        calls.push(time.now().toISOString().slice(11, 16));
        return null;
      },
    });
    assert.deepEqual(calls, ['18:15']);
  });

  test('a source that is down for an hour: tried again after 15, 30 minutes, caught up, and watch hears of each at once', async () => {
    const watched: string[] = [];
    const { here, time } = await serving('03:00', '09:00', [
      { at: hour('03:50'), act: () => renameSync(here.path('app.db'), here.path('away')) },
      { at: hour('04:50'), act: () => renameSync(here.path('away'), here.path('app.db')) },
    ]);
    const host = await here.open();
    await here.run(host, { watch: async () => void watched.push(time.now().toISOString().slice(11, 16)) });
    assert.deepEqual((await here.ledger('app')).map(brief), [
      '04:00 failed source-unreachable',
      '04:15 failed source-unreachable',
      '04:45 failed source-unreachable',
      '05:45 backup catch-up',
      '05:45 proof',
      '08:00 backup schedule',
      '08:00 proof',
    ]);
    for (const at of ['04:00', '04:15', '04:45']) assert.ok(watched.includes(at), `${at} in ${watched.join(' ')}`);
  });

  test('a vault that is away: nothing is tried for ever, the run is made when it is back', async () => {
    const { here } = await serving('03:00', '06:00', [
      { at: hour('03:50'), act: () => renameSync(here.path('vault'), here.path('unmounted')) },
      { at: hour('05:01'), act: () => renameSync(here.path('unmounted'), here.path('vault')) },
    ]);
    const host = await here.open();
    await here.run(host);
    assert.deepEqual((await here.ledger('app')).map(brief), ['05:01 backup catch-up', '05:01 proof']);
    assert.deepEqual(here.lines.filter((line) => line.includes('app')).length, 2, here.lines.join('\n'));
  });

  test('a machine that was away for a day makes one catch-up a schedule', async () => {
    const { here, time } = await serving('03:00', '09:00');
    const host = await here.open();
    const first = here.run(host);
    await first;
    assert.equal((await here.ledger('app')).filter(({ event }) => event === 'backup').length, 2);
    const later = new FastTime(new Date('2026-11-23T10:00:00Z'), new Date('2026-11-23T11:00:00Z'));
    const again = new Serving(later);
    open.push(again);
    const elsewhere = plan()
      .replace('./vault', here.path('vault'))
      .replace('app.db', here.path('app.db'))
      .replace('[tree]', `[${here.path('tree')}]`);
    again.write('holdfast.yaml', elsewhere);
    const host2 = await again.open({ created: false });
    await again.run(host2);
    const made = (await again.ledger('app')).filter(({ event }) => event === 'backup').slice(2);
    assert.deepEqual(made.map(brief), ['10:00 backup catch-up']);
    assert.equal(made[0]?.details['scheduledAt'], '2026-11-23T08:00:00.000Z');
    assert.ok(time.over.aborted);
  });

  test('I10: a job that throws what nobody expected is told once, and the loop goes on; its end is told once', async () => {
    const sink = await startHttpSink();
    sinks.push(sink);
    let broken = true;
    const mend = (): void => {
      broken = false;
    };
    const { here } = await serving(
      '03:00',
      '05:00',
      [{ at: hour('04:20'), act: mend }],
      plan(SOURCES, `alerts: { high: [{ webhook: "${sink.url}/hook" }] }\n`),
    );
    const host = await here.open();
    await here.run(host, {
      watch: async () => {
        if (broken) throw new TypeError('nobody thought of this');
      },
    });
    assert.deepEqual((await here.ledger('app')).map(brief), ['04:00 backup schedule', '04:00 proof']);
    const told = sink.received.map(({ body }) => body);
    assert.equal(told.length, 2, told.join('\n'));
    assert.match(told[0] ?? '', /watch failed/);
    assert.match(told[0] ?? '', /nobody thought of this/);
    assert.match(told[1] ?? '', /closed|recovered|over/i);
  });

  test('a plan that was changed is in force a minute later; a broken one is told once, and the old one stays', async () => {
    const sink = await startHttpSink();
    sinks.push(sink);
    const alerts = `alerts: { high: [{ webhook: "${sink.url}/hook" }] }\n`;
    const { here } = await serving(
      '03:00',
      '06:00',
      [
        {
          at: hour('03:20'),
          act: () => here.write('holdfast.yaml', plan([(SOURCES[0] as string).replace('4h', '1h')], alerts)),
        },
        { at: hour('04:20'), act: () => here.write('holdfast.yaml', plan(['app: { sqlite: {} }'], alerts)) },
        { at: hour('05:20'), act: () => here.write('holdfast.yaml', plan(SOURCES, alerts)) },
      ],
      plan(SOURCES, alerts),
    );
    const host = await here.open();
    await here.run(host);
    assert.deepEqual(
      (await here.ledger('app'))
        .filter(({ event }) => event === 'backup')
        .map(({ at, details }) => `${at.slice(11, 16)} ${details['schedule']}`),
      ['04:00 every 1h', '05:00 every 1h', '05:20 every 4h'],
    );
    const told = sink.received.map(({ body }) => body);
    assert.equal(told.length, 2, told.join('\n'));
    assert.match(told[0] ?? '', /reading the plan/);
    assert.match(told[0] ?? '', /holdfast\.yaml/);
  });

  test('SIGTERM in the middle of a backup: it ends, the ledger says so, nothing is left, the lease is free', async () => {
    const { here, time } = await serving(
      '03:59',
      '12:00',
      [],
      plan([
        `tree: { files: { paths: [tree] }, schedule: [{ every: 4h, tier: daily, to: [here] }], before: ["touch started; exec sleep 30"] }`,
      ]),
    );
    const host = await here.open();
    const running = here.run(host);
    await until(() => existsSync(here.path('started')), 'the backup to begin');
    const began = performance.now();
    here.stop();
    await running;
    assert.ok(performance.now() - began < 10_000);
    assert.deepEqual((await here.ledger('tree')).map(brief), ['04:00 failed cancelled']);
    assert.equal(readdirSync(here.path('scratch', `holdfast-${process.getuid?.()}`)).length, 1);
    assert.ok(!time.over.aborted);
  });

  test('watch goes on beside a long backup', async () => {
    const watched: string[] = [];
    const { here, time } = await serving(
      '03:59',
      '05:30',
      [],
      plan([
        `tree: { files: { paths: [tree] }, schedule: [{ every: 4h, tier: daily, to: [here] }], before: ["sleep 3"] }`,
      ]),
    );
    const host = await here.open();
    // Three real seconds are half an hour.
    time.speed = 600;
    await here.run(host, { watch: async () => void watched.push(time.now().toISOString().slice(11, 16)) });
    const [backup] = (await here.ledger('tree')).filter(({ event }) => event === 'backup');
    const ended = backup?.at.slice(11, 16) ?? '';
    assert.ok(ended >= '04:29', `the backup ended at ${ended}`);
    const during = watched.filter((at) => at > '04:01' && at < ended);
    assert.ok(during.length >= 4, `watched at ${watched.join(' ')}, the backup ended at ${ended}`);
  });

  test('I8: a process that made many runs holds on to none of them', async () => {
    const { here } = await serving(
      '03:00',
      '04:15',
      [],
      plan(['app: { sqlite: { file: app.db }, schedule: [{ every: 5m, tier: hourly, to: [here] }] }']),
    );
    const host = await here.open();
    const listening: number[] = [];
    await here.run(host, { watch: async () => void listening.push(getEventListeners(here.signal, 'abort').length) });
    assert.equal((await here.ledger('app')).filter(({ event }) => event === 'backup').length, 14);
    assert.ok(Math.max(...listening) - (listening[0] ?? 0) <= 2, `listeners: ${listening.join(' ')}`);
  });
});
