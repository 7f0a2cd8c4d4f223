import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync } from 'node:fs';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { OpenAlert } from '#core/alert';
import { machineClock } from '#host/clock';
import { BIN, type Ran } from '#test/cli/holdfast';
import { good, refused, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { makeCertificates } from '#test/servers/certificates';
import { type HttpSink, startHttpSink } from '#test/servers/http-sink';
import { type SmtpSink, startSmtp } from '#test/servers/smtp';
import { appendLedger } from '#vault/ledger-store';
import { openVault } from '#vault/open';

const PASSWORD = 'correct horse/battery@staple';
const TOKEN = 'B0IjKlMnOpqRsTuVwXyZ0123456789';

interface Deliveries {
  readonly deliveries: readonly {
    readonly severity: string | null;
    readonly channel: string;
    readonly ok: boolean;
    readonly error: string | null;
  }[];
}

describe('holdfast alerts', () => {
  let small: SmallPlan;
  let sink: HttpSink;
  let mail: SmtpSink;

  before(async () => {
    small = await smallPlan({ SMTP_PASSWORD: PASSWORD, no_proxy: '*' });
    const certificates = await makeCertificates(small.place.path('tls'));
    // Its own CA is trusted, and TLS is asked for in earnest.
    small.place.environment['NODE_EXTRA_CA_CERTS'] = certificates.ca;
    sink = await startHttpSink();
    small.place.environment['HOOK'] = `${sink.url}/services/${TOKEN}`;
    mail = await startSmtp({
      certificates,
      tls: 'implicit',
      login: { user: 'backup@example.com', password: PASSWORD },
    });
  });
  beforeEach(() => sink.onRequest(() => null));
  after(async () => {
    await sink.stop();
    await mail.stop();
    small.place.remove();
  });

  function plan(alerts: string): void {
    small.plan();
    const text = readFileSync(small.place.path('holdfast.yaml'), 'utf8');
    small.place.write('holdfast.yaml', `${text}alerts: ${alerts}\n`);
  }
  const smtp = (): string => `smtp: { url: "smtps://backup%40example.com:\${SMTP_PASSWORD}@localhost:${mail.port}" }`;
  const full = (): string =>
    `{ critical: [{ email: ops@example.com }, { slack: "\${HOOK}" }], medium: [{ webhook: "\${HOOK}" }], heartbeat: "\${HOOK}/beat", ${smtp()} }`;
  const deliveries = (ran: Ran): Deliveries['deliveries'] => (ran.json().result as Deliveries).deliveries;
  const secretsIn = ({ stdout, stderr }: Ran): string[] =>
    [PASSWORD, encodeURIComponent(PASSWORD), TOKEN].filter((secret) => `${stdout}${stderr}`.includes(secret));

  test('alerts test sends one message of each severity to each of its channels, and one heartbeat', async () => {
    plan(full());
    await good(small.place.run('check', '--create'));
    sink.onRequest(() => null);
    await good(small.place.run('backup', 'app'));
    const ran = await good(small.place.run('alerts', 'test'));
    assert.equal(
      ran.stdout,
      `sent    critical  email ops@example.com
sent    critical  slack \${HOOK}
sent    medium    webhook \${HOOK}
sent    -         heartbeat \${HOOK}
high has no channel of its own: it goes to those of critical
look into each inbox: sent means that the next one on the way took it
`,
    );
    assert.deepEqual(sink.received.map(({ method, path }) => `${method} ${path}`).toSorted(), [
      `GET /services/${TOKEN}/beat`,
      `POST /services/${TOKEN}`,
      `POST /services/${TOKEN}`,
    ]);
    const [one] = mail.mails;
    assert.equal(mail.mails.length, 1);
    assert.equal(one?.secure, true);
    assert.equal(one?.from, 'backup@example.com');
    assert.equal(one?.subject, '[holdfast small] test (critical): this is what a critical alert looks like');
    assert.match(one?.text ?? '', /this channel hears of: proof\./);
    assert.match(one?.text ?? '', /^ledger here\/app \d+ [0-9a-f]{64}$/m);
  });

  test('--severity tests one, by the channels it would go to', async () => {
    plan(full());
    const ran = await good(small.place.run('alerts', 'test', '--severity', 'high', '--json'));
    assert.deepEqual(deliveries(ran), [
      { severity: 'high', channel: 'email ops@example.com', ok: true, error: null },
      { severity: 'high', channel: 'slack ${HOOK}', ok: true, error: null },
      { severity: null, channel: 'heartbeat ${HOOK}', ok: true, error: null },
    ]);
  });

  test('I7: some failed is exit 3, all failed exit 1; reasons without secrets', async () => {
    plan(full());
    sink.onRequest(({ path, method }) =>
      method === 'POST' ? { status: 404, body: `nothing at ${path}, ${sink.url}${path}` } : null,
    );
    const some = await small.place.run('alerts', 'test', '--json');
    assert.equal(some.code, 3, some.stderr);
    assert.deepEqual(
      deliveries(some).map(({ channel, ok }) => [channel, ok]),
      [
        ['email ops@example.com', true],
        ['slack ${HOOK}', false],
        ['webhook ${HOOK}', false],
        ['heartbeat ${HOOK}', true],
      ],
    );
    assert.match(deliveries(some)[1]?.error ?? '', /answered 404: nothing at \*\*\*/);
    const host = sink.url.slice('http://'.length);
    plan(
      `{ critical: [{ email: ops@example.com }, { slack: "\${HOOK}" }], smtp: { url: "smtps://backup%40example.com:${encodeURIComponent(PASSWORD)}x@localhost:${mail.port}" } }`,
    );
    const all = await small.place.run('alerts', 'test', '--debug');
    assert.equal(all.code, 1, all.stderr);
    assert.match(
      all.stdout,
      /^FAILED {2}critical {2}email ops@example\.com: mail server localhost:\d+ refuses the login: 535/m,
    );
    assert.match(all.stdout, new RegExp(`^FAILED  critical  slack \\$\\{HOOK\\}: ${host} answered 404`, 'm'));
    for (const ran of [some, all]) assert.deepEqual(secretsIn(ran), []);
  });

  test('a plan that tells nobody, a severity and a word that do not exist are exit 2', async () => {
    small.plan();
    await refused(small.place, ['alerts', 'test'], 2, /^nobody is told: the plan names no channel and no heartbeat$/);
    plan(full());
    const severity = await small.place.run('alerts', 'test', '--severity', 'low');
    assert.equal(severity.code, 2);
    assert.match(severity.stderr, /Allowed choices are medium, high, critical/);
    await refused(small.place, ['alerts', 'tset'], 2, /^got "alerts tset", want alerts, or alerts test$/);
    await refused(small.place, ['alerts', '--severity', 'high'], 2, /^--severity belongs to alerts test$/);
  });

  test('I14: alerts lists what is open, and a vault that is away is not "none open"', async () => {
    plan(full());
    const none = await good(small.place.run('alerts'));
    assert.equal(none.stdout, 'no alert is open\n');
    const vault = openVault(
      'here',
      { disk: small.place.path('vault') },
      {
        reveal: (text) => text,
        processes: undefined as never,
        baseDirectory: small.place.directory,
      },
    );
    const alert: OpenAlert = {
      key: 'age',
      kind: 'age',
      severity: 'high',
      title: 'app: no proven backup for 31h, its RPO is 26h',
      since: '2026-11-20T02:00:00Z',
      toldAt: '2026-11-20T02:05:00Z',
      told: 2,
      escalated: false,
      acknowledged: false,
    };
    const entry = { id: null, host: 'db1', manifest: null };
    await appendLedger(vault, 'app', { ...entry, event: 'alert-opened', details: alert }, machineClock);
    const storage: OpenAlert = {
      ...alert,
      key: 'storage/here',
      kind: 'storage',
      acknowledged: true,
      since: '2026-11-19T00:00:00Z',
    };
    await appendLedger(vault, '_plan', { ...entry, event: 'alert-opened', details: storage }, machineClock);
    const open = await good(small.place.run('alerts', '--json'));
    assert.deepEqual(open.json().result, {
      alerts: [
        { source: null, ...storage },
        { source: 'app', ...alert },
      ],
    });
    const shown = await good(small.place.run('alerts'));
    assert.match(shown.stdout, /^high {6}app {5}2026-11-20T02:00:00Z {2}2x {5}age {11}app: no proven backup for 31h/m);
    assert.match(shown.stdout, /^high {6}- {7}2026-11-19T00:00:00Z {2}known {2}storage\/here/m);

    renameSync(small.place.path('vault'), small.place.path('away'));
    mkdirSync(small.place.path('vault'));
    await refused(
      small.place,
      ['alerts'],
      1,
      /^whether alerts are open cannot be said, as no vault answers: vault here: /,
    );
    renameSync(small.place.path('away'), small.place.path('vault.back'));
  });
});

describe('holdfast check of alerts', () => {
  let small: SmallPlan;
  let sink: HttpSink;
  before(async () => {
    small = await smallPlan({ HOOK: '' });
    sink = await startHttpSink();
    await good(small.place.run('check', '--create'));
  });
  after(async () => {
    await sink.stop();
    small.place.remove();
  });

  async function checked(alerts: string | null): Promise<{ readonly code: number | null; readonly lines: string[] }> {
    small.plan();
    const text = readFileSync(small.place.path('holdfast.yaml'), 'utf8');
    if (alerts !== null) small.place.write('holdfast.yaml', `${text}alerts: ${alerts}\n`);
    const { code, stdout } = await small.place.run('check', 'tree');
    return { code, lines: stdout.split('\n').filter((line) => / alerts/.test(line)) };
  }

  test('says whom each severity reaches and tries each channel, without sending anything', async () => {
    const mail = await startSmtp();
    try {
      const { code, lines } = await checked(
        `{ high: [{ email: ops@example.com }, { webhook: "${sink.url}/x" }], medium: [{ slack: "${sink.url}/y" }], heartbeat: "${sink.url}/z", smtp: { url: "smtp://127.0.0.1:${mail.port}", from: b@example.com } }`,
      );
      assert.equal(code, 0);
      const host = sink.url.slice('http://'.length);
      assert.deepEqual(lines, [
        `note  alerts: critical: no channel of its own; told by those of high: email ops@example.com, webhook ${host}`,
        '        hint: alerts.critical: name whom to wake',
        `ok    alerts: high: email ops@example.com, webhook ${host}`,
        `ok    alerts: medium: slack ${host}`,
        `ok    alerts: slack ${host}: ${host} answers`,
        'ok    alerts: email ops@example.com: is an address',
        `ok    alerts: webhook ${host}: ${host} answers`,
        `ok    alerts: mail server: 127.0.0.1:${mail.port} takes mail from b@example.com`,
        `ok    alerts: heartbeat ${host}: ${host} answers`,
      ]);
      assert.deepEqual([mail.mails.length, sink.received.length], [0, 0]);
    } finally {
      await mail.stop();
    }
  });

  test('says today what would not arrive at night, and does not hang', async () => {
    const mail = await startSmtp();
    mail.onConnection(() => ({ at: 'connect' }));
    try {
      const began = performance.now();
      const { code, lines } = await checked(
        `{ critical: [{ email: ops }, { webhook: "\${HOOK}" }, { slack: "http://127.0.0.1:9/x" }], smtp: { url: "smtp://127.0.0.1:${mail.port}" } }`,
      );
      assert.equal(code, 1);
      assert.ok(performance.now() - began < 30_000);
      assert.deepEqual(
        lines.filter((line) => line.startsWith('WRONG')),
        [
          'WRONG alerts: email ops: "ops" is no address, want one such as ops@example.com',
          'WRONG alerts: webhook ${HOOK}: the plan needs ${HOOK}, and that is empty here',
          'WRONG alerts: slack 127.0.0.1:9: 127.0.0.1:9 does not answer (ECONNREFUSED)',
          `WRONG alerts: mail server: mail server 127.0.0.1:${mail.port} does not answer`,
        ],
      );
      assert.ok(lines.includes('note  alerts: no heartbeat: when this machine dies, nobody is told'));
    } finally {
      await mail.stop();
    }
  });

  test('a plan without channels is told that nobody is told', async () => {
    for (const alerts of [null, '{ critical: [] }']) {
      const { code, lines } = await checked(alerts);
      assert.equal(code, 0);
      assert.match(lines[0] ?? '', /^note {2}alerts: nobody is told: the plan names no channel$/);
    }
  });

  test('mail and SNS libraries are loaded when there is something to say, not to look at a status', async () => {
    const mail = await startSmtp();
    small.plan();
    const text = readFileSync(small.place.path('holdfast.yaml'), 'utf8');
    const alerts = `{ high: [{ email: a@example.com }], medium: [{ sns: "arn:aws:sns:x:1:y" }], smtp: { url: "smtp://127.0.0.1:${mail.port}" } }`;
    small.place.write('holdfast.yaml', `${text}alerts: ${alerts}\n`);
    small.place.write(
      'watch.mjs',
      `import { registerHooks } from 'node:module';
registerHooks({ resolve(specifier, context, next) {
  if (/nodemailer|client-sns/.test(specifier)) process.stderr.write('LOADED ' + specifier + '\\n');
  return next(specifier, context);
} });`,
    );
    // Of the bundle nothing is loaded by its name.
    const { program } = small.place;
    small.place.program = [process.execPath, `--import=${small.place.path('watch.mjs')}`, `${BIN}.ts`];
    const status = await small.place.run('status');
    const sent = await small.place.run('alerts', 'test', '--severity', 'high');
    small.place.program = program;
    await mail.stop();
    assert.doesNotMatch(status.stderr, /LOADED/);
    assert.match(sent.stderr, /LOADED nodemailer/, 'the hook sees what is loaded');
  });
});
