import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { acknowledge } from '#jobs/acknowledge';
import { serveJobs } from '#jobs/serve-jobs';
import { flipByte, makeDatabase } from '#test/cli/small-plan';
import { FastTime } from '#test/jobs/fast-time';
import { Serving } from '#test/jobs/serving';
import { type HttpSink, startHttpSink } from '#test/servers/http-sink';
import { type RedisServer, startRedis } from '#test/servers/redis';
import { type SmtpSink, startSmtp } from '#test/servers/smtp';

const hour = (text: string): Date => new Date(`2026-11-21T${text}:00Z`);
const MEGABYTE = 1024 * 1024;

/**
 * One afternoon: real sources, real vaults, a real mail server; only time is fast. What goes wrong, and when:
 * 13:10–14:10 the application's database is away; 14:40–15:20 the second disk is unmounted; 15:30 a byte of the tree's
 * newest backup rots; 16:22–17:01 the first disk fills; 17:40 somebody empties the cache.
 */
describe('an afternoon of serve', () => {
  let smtp: SmtpSink;
  let heart: HttpSink;
  let redis: RedisServer;
  let here: Serving;
  const time = new FastTime(hour('11:58'), hour('19:00'), [
    { at: hour('13:10'), act: () => renameSync(here.path('app.db'), here.path('app.away')) },
    { at: hour('14:10'), act: () => renameSync(here.path('app.away'), here.path('app.db')) },
    { at: hour('14:40'), act: () => renameSync(here.path('usb'), here.path('usb.away')) },
    { at: hour('15:20'), act: () => renameSync(here.path('usb.away'), here.path('usb')) },
    { at: hour('15:30'), act: () => flipByte(newestArtifact('tree'), 20) },
    { at: hour('16:22'), act: () => writeFileSync(here.path('ssd', 'ballast'), Buffer.alloc(17 * MEGABYTE)) },
    { at: hour('17:01'), act: () => rmSync(here.path('ssd', 'ballast')) },
    { at: hour('17:40'), act: async () => void (await redis.cli(['FLUSHALL'])) },
    { at: hour('18:33'), act: () => lookedAt('cache') },
  ]);

  function newestArtifact(source: string): string {
    const folder = here.path('ssd', 'backups', source, 'hourly');
    const id = readdirSync(folder).sort().at(-1) as string;
    const file = readdirSync(join(folder, id)).find((name) => name.startsWith('tree.tar')) as string;
    return join(folder, id, file);
  }

  /** A person reads the mail and says that they know of it. */
  async function lookedAt(source: string): Promise<void> {
    const mail = smtp.mails.findLast(({ subject }) => subject.includes(`${source}: `));
    const id = /Backup (\S+) is proven, so this is/.exec(mail?.text ?? '')?.[1] ?? '';
    const environment = here.timed(here.environment());
    await acknowledge(source, { id, alert: null, reason: 'the shop was closed for good' }, environment);
  }

  before(async () => {
    smtp = await startSmtp();
    heart = await startHttpSink();
    here = new Serving(time);
    mkdirSync(here.path('redis'));
    redis = await startRedis(here.path('redis'));
    const carts = Array.from({ length: 500 }, (_, key) => `SET cart:${key} ${key}\n`).join('');
    await redis.cli([], carts);
    makeDatabase(here.path('app.db'), ['one', 'two']);
    mkdirSync(here.path('tree'));
    here.write('tree/a', 'a');
    here.write(
      'holdfast.yaml',
      `version: 1
name: afternoon
encryption: none
vaults: { ssd: { disk: ./ssd, capacity: 20MB }, usb: { disk: ./usb } }
tiers: { hourly: { keep: 7d } }
sources:
  app:   { sqlite: { file: app.db }, schedule: [{ every: 30m, tier: hourly, to: [ssd] }], objectives: { rpo: 2h } }
  tree:  { files: { paths: [tree] }, schedule: [{ every: 1h, tier: hourly, to: [ssd, usb] }], prove: { cron: "45 * * * *" } }
  cache: { redis: { url: "redis://127.0.0.1:${redis.port}" }, schedule: [{ every: 1h, tier: hourly, to: [ssd] }] }
alerts:
  critical: [{ email: boss@example.com }]
  high:     [{ email: ops@example.com }]
  medium:   [{ email: infra@example.com }]
  smtp: { url: "smtp://127.0.0.1:${smtp.port}", from: holdfast@example.com }
  heartbeat: "${heart.url}/beat"
`,
    );
  });
  after(async () => {
    await redis.stop();
    await here.close();
    await smtp.stop();
    await heart.stop();
  });

  /** `13:30 ops: HIGH app: backup failed: …`, ids and paths left out. */
  function mailbox(): string[] {
    return smtp.mails.map(({ to, subject, text }) => {
      const at = /at \d{4}-\d\d-\d\d (\d\d:\d\d) UTC, alert/.exec(text)?.[1];
      const who = to.map((address) => address.split('@')[0]).join(',');
      const words = subject
        .replace('[holdfast afternoon] ', '')
        .replaceAll(here.directory, '…')
        .replaceAll(/\d{8}T\d{6}Z-[0-9a-f]{4}/g, 'ID')
        .replace(/(not what the manifest says): tree.*/, '$1');
      return `${at} ${who}: ${words}`;
    });
  }

  test('done when 4: each change of state is told once, and the mailbox reads like a story', async () => {
    const host = await here.open();
    await here.run(host, serveJobs);
    assert.deepEqual(mailbox(), [
      '13:30 ops: HIGH app: backup failed: there is no file …/app.db',
      '14:00 boss: CRITICAL escalated: app: backup failed 3 times: there is no file …/app.db',
      '14:00 ops: CRITICAL escalated: app: backup failed 3 times: there is no file …/app.db',
      '14:20 boss: resolved: app: backup failed 3 times: there is no file …/app.db',
      '14:20 ops: resolved: app: backup failed 3 times: there is no file …/app.db',
      '14:40 infra: MEDIUM vault usb cannot be used: …/usb is not mounted, or not a vault: no such directory',
      '15:20 infra: resolved: vault usb cannot be used: …/usb is not mounted, or not a vault: no such directory',
      `15:45 boss: CRITICAL tree: newest backup ID is disproven: the stored bytes are not what the manifest says`,
      '16:25 infra: MEDIUM vault ssd is 90% full, the line is 80%',
      `16:50 boss: resolved: tree: newest backup ID is disproven: the stored bytes are not what the manifest says`,
      '17:05 infra: resolved: vault ssd is 90% full, the line is 80%',
      '18:05 infra: MEDIUM cache: keys 0 (median of the last 6: 500): nothing is left',
      '18:35 infra: resolved: cache: keys 0 (median of the last 6: 500): nothing is left',
    ]);
  });

  test('a mail says what is still safe, what to do, and carries the ledger’s head', () => {
    const failed = smtp.mails.find(({ subject }) => subject.includes('HIGH app: backup failed'));
    assert.match(
      failed?.text ?? '',
      /newest proven backup 20261121T130000Z-\w+, of 2026-11-21 13:00 UTC, in vault ssd/,
    );
    assert.match(failed?.text ?? '', /holdfast restore app --id 20261121T130000Z-\w+ --from ssd/);
    assert.match(failed?.text ?? '', /^ledger ssd\/app \d+ [0-9a-f]{64}$/m);
  });

  test('the runs went on around the trouble: each schedule by its times, repetitions and catch-ups where they belong', async () => {
    const runs = (await here.ledger('app', 'ssd'))
      .filter(({ event, at }) => ['backup', 'failed'].includes(event) && at > '2026-11-21T13' && at < '2026-11-21T15')
      .map(
        ({ at, event, details }) => `${at.slice(11, 16)} ${event} for ${String(details['scheduledAt']).slice(11, 16)}`,
      );
    assert.deepEqual(runs, [
      '13:00 backup for 13:00',
      '13:30 failed for 13:30',
      '13:45 failed for 13:30',
      '14:00 failed for 14:00',
      '14:15 backup for 14:00',
      '14:30 backup for 14:30',
    ]);
    // What the second disk missed was made up for; what had rotted before it could be copied was not spread.
    const copies = readdirSync(here.path('usb', 'backups', 'tree', 'hourly')).map((id) => id.slice(9, 13));
    assert.deepEqual(copies.sort(), ['1200', '1300', '1400', '1600', '1700', '1800']);
  });

  test('I10: the dead man’s service heard of each watch', () => {
    const watches = (hour('19:00').getTime() - hour('11:59').getTime()) / 300_000;
    assert.ok(heart.received.length >= Math.floor(watches), `${heart.received.length} beats`);
  });
});
