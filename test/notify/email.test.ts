import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { createProcesses } from '#host/processes';
import { PACE } from '#notify/delivery';
import { smtpReady } from '#notify/email';
import { parseSmtpAddress } from '#notify/smtp-address';
import { messengerOf, surroundings, telling } from '#test/notify/tellings';
import { type Certificates, makeCertificates } from '#test/servers/certificates';
import { parseMail, type SmtpOptions, type SmtpSink, startSmtp } from '#test/servers/smtp';

/** Of what must hold nobody up, on a machine that is slow. */
const LONGEST_MILLISECONDS = 20_000;

const PASSWORD = 'p@ss/w:rd#99%zz+=';
const LOGIN = { user: 'alerts@example.com', password: PASSWORD };
const directory = mkdtempSync(join(tmpdir(), 'holdfast-mail-'));
let certificates: Certificates;
const running: SmtpSink[] = [];

async function started(options: SmtpOptions = {}): Promise<SmtpSink> {
  const sink = await startSmtp({ certificates, ...options });
  running.push(sink);
  return sink;
}

function mailer(url: string, parts: Parameters<typeof messengerOf>[1] = {}, from = ', from: "backup@example.com"') {
  return messengerOf(`{ high: [{ email: ops@example.com }], smtp: { url: "${url}"${from} } }`, {
    variables: { SMTP_PASSWORD: PASSWORD },
    ...parts,
  });
}

before(async () => {
  certificates = await makeCertificates(join(directory, 'tls'));
});
afterEach(async () => {
  for (const sink of running.splice(0)) await sink.stop();
});
after(() => rmSync(directory, { recursive: true, force: true }));

describe('e-mail', () => {
  test('a mail arrives as plain text, from whom the plan says, dated when it was said', async () => {
    const sink = await started();
    assert.deepEqual(await mailer(`smtp://127.0.0.1:${sink.port}`).tell(telling()), [
      { channel: 'email ops@example.com', ok: true, error: null },
    ]);
    const [mail] = sink.mails;
    assert.equal(mail?.from, 'backup@example.com');
    assert.deepEqual(mail?.to, ['ops@example.com']);
    assert.equal(mail?.subject, '[holdfast archon72] HIGH events: backup failed 3 times in a row');
    assert.equal(mail?.headers.get('from'), 'backup@example.com');
    assert.equal(mail?.headers.get('to'), 'ops@example.com');
    assert.equal(mail?.headers.get('date'), 'Sat, 21 Nov 2026 07:12:30 +0000');
    assert.equal(mail?.headers.get('auto-submitted'), 'auto-generated');
    assert.match(mail?.headers.get('content-type') ?? '', /^text\/plain/);
    assert.match(
      mail?.text ?? '',
      /^ {2}holdfast restore events --id 20261120T020000Z-7f3a --to \.\/events\.restored$/m,
    );
    assert.match(mail?.text ?? '', /^ledger ssd\/events 42 c0ffee0{58}$/m);
  });

  test('all mails of one trouble make a thread, without anybody having to remember it', async () => {
    const sink = await started();
    const url = `smtp://127.0.0.1:${sink.port}`;
    await mailer(url).tell(telling());
    // Another process, days later.
    const later = mailer(url);
    const at = (day: number): Date => new Date(`2026-11-2${day}T07:00:00Z`);
    await later.tell(telling({ what: 'repeated', told: 2, at: at(2) }));
    await later.tell(telling({ what: 'repeated', told: 3, at: at(3), severity: 'critical' }));
    await later.tell(telling({ what: 'closed', told: 4, at: at(4) }));
    await later.tell(telling({ since: at(5), at: at(5) }));
    const [opened, ...others] = sink.mails.slice(0, 4).map(({ headers }) => headers);
    const id = opened?.get('message-id');
    assert.match(id ?? '', /^<holdfast\.[0-9a-f]{32}@example\.com>$/);
    assert.equal(opened?.get('references'), undefined);
    for (const headers of others) {
      assert.equal(headers.get('references'), id);
      assert.equal(headers.get('in-reply-to'), id);
    }
    const ids = sink.mails.map(({ headers }) => headers.get('message-id'));
    assert.equal(new Set(ids).size, 5);
    assert.equal(sink.mails[4]?.headers.get('references'), undefined, 'the same trouble anew is a new thread');
  });

  test('a name with a line break, or of another script, harms no header', async () => {
    const sink = await started();
    const odd = telling({
      title: 'événements 日本語: échec\r\nBcc: thief@example.com',
      happened: 'Größe: 0 →\n.\nend',
    });
    const [delivery] = await mailer(`smtp://127.0.0.1:${sink.port}`).tell(odd);
    assert.equal(delivery?.ok, true);
    const [mail] = sink.mails;
    assert.equal(mail?.subject, '[holdfast archon72] HIGH événements 日本語: échec Bcc: thief@example.com');
    assert.equal(mail?.headers.get('bcc'), undefined);
    assert.deepEqual(mail?.to, ['ops@example.com']);
    assert.match(mail?.text ?? '', /Größe: 0 →\n {2}\.\n {2}end/);
  });

  test('TLS from the first byte and STARTTLS carry the password; any character may stand in it', async () => {
    for (const [tls, scheme] of [
      ['implicit', 'smtps'],
      ['starttls', 'smtp'],
    ] as const) {
      const sink = await started({ tls, login: LOGIN });
      const at = `127.0.0.1:${sink.port}?tls=unverified`;
      for (const url of [
        `${scheme}://alerts@example.com:\${SMTP_PASSWORD}@${at}`,
        `${scheme}://alerts%40example.com:${encodeURIComponent(PASSWORD)}@${at}`,
      ]) {
        const [delivery] = await mailer(url, {}, '').tell(telling());
        assert.deepEqual(delivery, { channel: 'email ops@example.com', ok: true, error: null });
      }
      for (const mail of sink.mails) {
        assert.deepEqual([mail.secure, mail.user, mail.from], [true, 'alerts@example.com', 'alerts@example.com']);
      }
      assert.equal(sink.mails.length, 2);
    }
  });

  test('a certificate nobody vouches for is refused, with what can be done', async () => {
    const sink = await started({ tls: 'implicit' });
    const [delivery] = await mailer(`smtps://127.0.0.1:${sink.port}`).tell(telling());
    assert.match(
      delivery?.error ?? '',
      /^mail server 127\.0\.0\.1:\d+: no trusted TLS \(.*certificate.*\); .*NODE_EXTRA_CA_CERTS/,
    );
    assert.deepEqual(sink.mails, []);
  });

  test('I7: a password does not travel in the clear to a server that takes it so', async () => {
    const sink = await started({ tls: 'none', login: LOGIN });
    const url = `smtp://alerts@example.com:\${SMTP_PASSWORD}@127.0.0.1:${sink.port}`;
    const [refused] = await mailer(`${url}?tls=unverified`).tell(telling());
    assert.match(refused?.error ?? '', /offers no STARTTLS, and a password does not travel in the clear/);
    // On this very machine, or where the plan says so.
    assert.equal((await mailer(url).tell(telling()))[0]?.ok, true);
    assert.equal((await mailer(`${url}?tls=none`).tell(telling()))[0]?.ok, true);
    assert.deepEqual(
      sink.mails.map(({ secure }) => secure),
      [false, false],
    );
  });

  test('I7: a wrong login is said without the password, though the server repeats it', async () => {
    const sink = await started({ login: { user: LOGIN.user, password: 'another' } });
    const [delivery] = await mailer(`smtp://alerts@example.com:\${SMTP_PASSWORD}@127.0.0.1:${sink.port}`).tell(
      telling(),
    );
    assert.match(
      delivery?.error ?? '',
      /^mail server .* refuses the login: 535 .*; look at user and password in alerts\.smtp\.url$/,
    );
    for (const form of [PASSWORD, encodeURIComponent(PASSWORD), Buffer.from(PASSWORD).toString('base64')])
      assert.ok(!delivery?.error?.includes(form), delivery?.error ?? '');
    assert.equal(sink.connections, 1, 'not tried again');
  });

  test('I7: an address of a server that cannot be read is not printed', async () => {
    for (const url of [
      `smpt://u:${PASSWORD}@host`,
      `smtp://u:${PASSWORD}@`,
      `smtp://:${PASSWORD}@host`,
      'smtp://u:p@h?ssl=1',
      'smtp://h:99999',
    ]) {
      const [delivery] = await mailer('${URL}', { variables: { URL: url } }).tell(telling());
      assert.match(delivery?.error ?? '', /^alerts\.smtp\.url/);
      assert.ok(!delivery?.error?.includes('p@ss'), delivery?.error ?? '');
    }
  });

  test('a greylisted mail is sent again, a refused recipient is not', async () => {
    const sink = await started();
    sink.onConnection((number) => (number === 1 ? { at: 'rcpt', reply: { code: 451, text: 'greylisted' } } : null));
    const patient = mailer(`smtp://127.0.0.1:${sink.port}`);
    assert.equal((await patient.tell(telling()))[0]?.ok, true);
    assert.deepEqual(patient.slept, [1000]);
    sink.onConnection(() => ({ at: 'rcpt', reply: { code: 550, text: 'no such user' } }));
    const [refused] = await mailer(`smtp://127.0.0.1:${sink.port}`).tell(telling());
    assert.equal(refused?.error, `mail server 127.0.0.1:${sink.port} refuses: 550 no such user`);
    assert.equal(sink.connections, 3);
  });

  test('a server that hangs, hangs up or is not there holds nobody up', async () => {
    const sink = await started();
    const url = `smtp://127.0.0.1:${sink.port}`;
    const began = performance.now();
    sink.onConnection(() => ({ at: 'connect' }));
    const why = async (pace = {}): Promise<string> =>
      (await mailer(url, { pace: { attempts: 2, ...pace } }).tell(telling()))[0]?.error ?? '';
    const hurried = { attemptMs: 400 };
    assert.match(await why(hurried), /does not answer.*\(tried 2 times/);
    sink.onConnection(() => ({ at: 'connect', cut: true }));
    assert.match(await why(), /broke the connection off|cannot be reached/);
    let cuts = 1;
    sink.onConnection(() => (cuts-- > 0 ? { at: 'data', cut: true } : null));
    assert.equal(await why(), '', 'cut off after the text, the mail is sent again');
    assert.equal(sink.mails.length, 1);
    sink.onConnection(() => ({ at: 'data' }));
    assert.match(await why(hurried), /does not answer/);
    await sink.stop();
    running.length = 0;
    assert.match(await why(), /cannot be reached \(ECONNREFUSED\) \(tried 2 times/);
    assert.ok(performance.now() - began < LONGEST_MILLISECONDS);
  });

  test('what is no address is not sent to', async () => {
    const sink = await started();
    for (const to of ['ops', 'ops@', '-oX/etc/passwd@x y', 'a@example.com, b@example.com'])
      assert.deepEqual(
        await messengerOf(`{ high: [{ email: "${to}" }], smtp: { url: "smtp://127.0.0.1:${sink.port}" } }`).tell(
          telling(),
        ),
        [{ channel: `email ${to}`, ok: false, error: `"${to}" is no address, want one such as ops@example.com` }],
      );
    assert.equal(sink.connections, 0);
  });

  test('without a server in the plan the machine’s own sendmail takes it', async () => {
    const program = join(directory, 'sendmail');
    writeFileSync(program, `#!/bin/sh\necho "$@" > ${directory}/args\ncat > ${directory}/mail\n`);
    chmodSync(program, 0o755);
    const processes = createProcesses(
      { PATH: `${directory}:${process.env['PATH']}` },
      new AbortController().signal,
      null,
    );
    const messenger = messengerOf('{ high: [{ email: ops@example.com }] }', { processes });
    assert.deepEqual(await messenger.tell(telling({ title: 'événements' })), [
      { channel: 'email ops@example.com', ok: true, error: null },
    ]);
    assert.equal(readFileSync(join(directory, 'args'), 'utf8').trim(), '-t -i');
    const mail = parseMail(readFileSync(join(directory, 'mail'), 'utf8'));
    assert.equal(mail.headers.get('to'), 'ops@example.com');
    assert.equal(mail.headers.get('from'), undefined, 'the machine’s mail system knows who it is');
    assert.equal(mail.subject, '[holdfast archon72] HIGH événements');
    assert.ok(!mail.raw.includes('\r'));

    writeFileSync(program, '#!/bin/sh\necho "queue file write error" >&2\nexit 75\n');
    const [failed] = await messenger.tell(telling());
    assert.match(failed?.error ?? '', /^sendmail failed with exit code 75: queue file write error/);
  });

  test('without a server in the plan and without sendmail the hint says what to write', async () => {
    const processes = { ...createProcesses({}, new AbortController().signal, null), find: async () => null };
    const [delivery] = await messengerOf('{ high: [{ email: ops@example.com }] }', { processes }).tell(telling());
    assert.equal(
      delivery?.error,
      'there is no sendmail on this machine; name a mail server: alerts.smtp.url in the plan',
    );
  });

  test('a server is logged in to and left again without a mail', async () => {
    const sink = await started({ tls: 'starttls', login: LOGIN });
    const run = surroundings({ variables: { SMTP_PASSWORD: PASSWORD } });
    const url = `smtp://alerts@example.com:\${SMTP_PASSWORD}@127.0.0.1:${sink.port}?tls=unverified`;
    assert.deepEqual(await smtpReady({ url }, run, PACE), {
      server: `127.0.0.1:${sink.port}`,
      from: 'alerts@example.com',
    });
    const wrong = `smtp://alerts@example.com:wrong@127.0.0.1:${sink.port}?tls=unverified`;
    await assert.rejects(smtpReady({ url: wrong }, run, PACE), /refuses the login: 535/);
    assert.deepEqual(sink.mails, []);
  });

  test('addresses of mail servers', () => {
    assert.deepEqual(parseSmtpAddress('smtps://a%40b.se:s3%2Fcret@mail.example.com'), {
      implicitTls: true,
      host: 'mail.example.com',
      port: 465,
      user: 'a@b.se',
      password: 's3/cret',
      tls: 'verified',
    });
    assert.deepEqual(parseSmtpAddress('smtp://[::1]:25/?tls=none'), {
      implicitTls: false,
      host: '::1',
      port: 25,
      user: null,
      password: null,
      tls: 'none',
    });
    assert.equal(parseSmtpAddress('smtp://relay').port, 587);
  });
});
