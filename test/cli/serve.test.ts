import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { after, afterEach, before, describe, test } from 'node:test';
import { morningZone } from '#test/cli/morning';
import { edit, good, ledgerOf, refused, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { until } from '#test/until';

const DAYS_AGO = new Date(Date.now() - 3 * 86_400_000).toISOString();

/** `fetch` does not let the Host header be chosen. */
async function codeFor(url: string, host: string): Promise<number | undefined> {
  const [response] = (await once(get(url, { headers: { host } }), 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}

describe('holdfast serve', () => {
  const open: SmallPlan[] = [];
  const running: ChildProcess[] = [];

  /** A plan whose vault is three days old, so that a catch-up is due at once. */
  async function behind(more: string, environment: Record<string, string> = {}): Promise<SmallPlan> {
    const small = await smallPlan(environment);
    open.push(small);
    small.plan({
      timezone: morningZone(),
      sources: ['app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }] }'],
    });
    edit(small.place.path('holdfast.yaml'), (text) => `${text}${more}\n`);
    await good(small.place.run('check', '--create'));
    edit(small.place.path('vault/vault.json'), (text) =>
      text.replace(/"created": "[^"]+"/, `"created": "${DAYS_AGO}"`),
    );
    return small;
  }

  async function started(small: SmallPlan): Promise<{ readonly child: ChildProcess; said(): string; url(): string }> {
    const child = small.place.start(['serve']);
    running.push(child);
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    await until(() => /serving small/.test(stderr) || child.exitCode !== null, 'serve to say that it serves');
    assert.equal(child.exitCode, null, stderr);
    return { child, said: () => stderr, url: () => /http:\/\/\S+/.exec(stderr)?.[0] ?? '' };
  }

  async function stopped(child: ChildProcess): Promise<number | null> {
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    const [code] = (await ended) as [number | null];
    return code;
  }

  afterEach(async () => {
    for (const child of running.splice(0))
      if (child.exitCode === null && child.signalCode === null) await stopped(child);
    for (const small of open.splice(0)) small.place.remove();
  });

  test('makes what was missed, answers who asks, ends with 0 on SIGTERM and leaves nothing', async () => {
    const small = await behind('serve: { listen: "127.0.0.1:0" }');
    const { child, said, url } = await started(small);
    await until(() => /backup of app: .+ daily, .+ proven/.test(said()), `the catch-up: ${said()}`);
    const health = await fetch(`${url()}/healthz`);
    assert.equal(health.status, 200);
    assert.equal(((await health.json()) as { ok: boolean }).ok, true);
    const status = await fetch(`${url()}/status`);
    const document = (await status.json()) as {
      command: string;
      exit: number;
      result: { sources: { source: string }[] };
    };
    assert.deepEqual([status.status, document.command, document.exit], [200, 'status', 0]);
    assert.deepEqual(
      document.result.sources.map(({ source }) => source),
      ['app'],
    );
    assert.equal((await fetch(`${url()}/else`)).status, 404);
    assert.equal((await fetch(`${url()}/healthz`, { method: 'POST' })).status, 405);
    assert.equal(await codeFor(`${url()}/status`, 'evil.example'), 403);
    assert.equal(await codeFor(`${url()}/status`, 'localhost:1'), 200);
    assert.equal(await stopped(child), 0);
    const [entry] = await ledgerOf(small.place, 'app');
    assert.deepEqual([entry?.event, entry?.details['trigger']], ['backup', 'catch-up']);
    const uid = process.getuid?.() ?? 0;
    assert.deepEqual(readdirSync(small.place.path('scratch', `holdfast-${uid}`)), []);
    assert.deepEqual(
      readdirSync(small.place.path('state')).filter((name) => name.startsWith('serve-')),
      [],
    );
  });

  test('with a token, /status wants it, and says nothing else', async () => {
    const small = await behind('serve: { listen: "127.0.0.1:0", token: "${TOKEN}" }', { TOKEN: 'only-for-friends' });
    const { said, url } = await started(small);
    const asked = async (authorization?: string): Promise<number> =>
      (await fetch(`${url()}/status`, authorization ? { headers: { authorization } } : {})).status;
    assert.equal(await asked(), 401);
    assert.equal(await asked('Bearer wrong'), 401);
    assert.equal(await asked('Basic only-for-friends'), 401);
    assert.equal(await asked('Bearer only-for-friends'), 200);
    assert.equal((await fetch(`${url()}/healthz`)).status, 200);
    assert.doesNotMatch(said(), /only-for-friends/);
  });

  test('I12: a second serve of the same plan says who runs, and exits busy; after a kill the next one may', async () => {
    const small = await behind('');
    const { child } = await started(small);
    await refused(small.place, ['serve'], 4, new RegExp(`is running already: process ${child.pid} on `));
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    await started(small);
  });

  test('an address that cannot be had is an error at the start', async () => {
    const small = await behind('serve: { listen: "192.0.2.1:80" }');
    await refused(small.place, ['serve'], 2, /serve\.listen: cannot listen on 192\.0\.2\.1:80/);
    edit(small.place.path('holdfast.yaml'), (text) => text.replace('"192.0.2.1:80"', '"here"'));
    for (const command of ['serve', 'check'])
      await refused(small.place, [command], 2, /holdfast\.yaml:\d+:18 serve\.listen: got "here", want HOST:PORT/);
  });
});

describe('holdfast schedule', () => {
  let small: SmallPlan;
  before(async () => {
    small = await smallPlan();
    small.plan({
      encryption: 'none',
      vaults:
        '{ here: { disk: ./vault }, bucket: { s3: some-bucket, region: eu-north-1, accessKeyId: "${KEY}", secretAccessKey: "${SECRET}" } }',
      sources: [
        'app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }] }',
        'far: { postgres: { url: "postgres://db.example.com/x" }, runs: cloud, schedule: [{ every: 1d, tier: daily, to: [bucket] }] }',
      ],
    });
    edit(small.place.path('holdfast.yaml'), (text) => `${text}cloud: { region: eu-north-1 }\n`);
  });
  after(() => small.place.remove());

  test('--systemd writes units that systemctl takes, skips what runs in the cloud, and names what .env lacks', async () => {
    const ran = await good(small.place.run('schedule', '--systemd', '--user', 'backup', '--out', 'units'));
    assert.match(ran.stdout, /^ {2}systemctl enable --now holdfast-small\.target$/m);
    assert.match(ran.stderr, /far runs in the cloud \(runs: cloud\): skipped here/);
    assert.match(ran.stderr, /the plan needs KEY, SECRET, and there is no .+\.env/);
    const names = readdirSync(small.place.path('units'));
    assert.deepEqual(names.filter((name) => name.endsWith('.timer')).sort(), [
      'holdfast-small-backup-app.timer',
      'holdfast-small-due.timer',
      'holdfast-small-retain.timer',
      'holdfast-small-watch.timer',
    ]);
    const service = readFileSync(small.place.path('units/holdfast-small-backup-app.service'), 'utf8');
    const called = /^ExecStart=(\S+) backup --due app --plan (\S+)$/m.exec(service);
    assert.equal(called?.[2], small.place.path('holdfast.yaml'));
    assert.match(called?.[1] ?? '', /^\/.+\/bin\/holdfast$/);
    assert.match(service, new RegExp(`^Environment=HOLDFAST_STATE=${small.place.path('state')}$`, 'm'));
  });

  test('--cron prints lines, and --json gives the same to scripts', async () => {
    const ran = await good(small.place.run('schedule', '--cron'));
    assert.match(ran.stdout, /^(?:0 2|0 \*) \* \* \* .*bin\/holdfast backup --due app --plan \S+ >\/dev\/null$/m);
    assert.match(ran.stdout, /^@reboot sleep 60; /m);
    const { lines } = (await good(small.place.run('schedule', '--cron', '--json'))).json().result as {
      lines: string[];
    };
    for (const line of lines) assert.ok(ran.stdout.includes(`${line}\n`), line);
  });

  test('a wrong command line says what it wants', async () => {
    await refused(small.place, ['schedule'], 2, /wants one of --systemd, --cron/);
    await refused(small.place, ['schedule', '--systemd', '--cron'], 2, /wants one of/);
    await refused(small.place, ['schedule', '--cron', '--user', 'a b'], 2, /--user: got "a b"/);
    await refused(small.place, ['schedule', '--systemd', '--out', '/proc/x'], 2, /cannot be written to \/proc\/x/);
  });
});
