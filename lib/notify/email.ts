import { isIP } from 'node:net';
import type { NodemailerError, SendMailOptions, SMTPTransportOptions } from 'nodemailer';
import type { Telling } from '#core/alert';
import type { Alerts } from '#core/audience';
import { idempotencyKey, type Message, threadOf } from '#core/message';
import { redact } from '#core/secrets';
import { type Pace, type Send, type Surroundings, Undelivered, untilDelivered } from '#notify/delivery';
import { sendmail } from '#notify/sendmail';
import { parseSmtpAddress, printableSmtp, type SmtpAddress } from '#notify/smtp-address';

const SHOWN = 200;
const ADDRESS = /^[^\s@<>(),;:"[\]\\]+@[^\s@<>(),;:"[\]\\]+$/;

/** Through the plan's mail server, or where it names none through the local `sendmail`. */
export function email(to: string, smtp: Alerts['smtp'], run: Surroundings, pace: Pace): Send {
  return async (telling, message) => {
    assertAddress(to);
    if (!smtp) return sendmail(mailOf(telling, message, { to, from: null, host: run.host }), run, pace);
    const address = parseSmtpAddress(run.reveal(smtp.url));
    const mail = mailOf(telling, message, { to, from: senderOf(address, smtp.from, run.host), host: run.host });
    const { createTransport } = await import('nodemailer');
    await untilDelivered(run, pace, async (signal) => {
      const transport = createTransport(transportOptions(address, pace));
      try {
        await transport.sendMail({ ...mail, signal });
      } catch (cause) {
        throw undelivered(cause, address);
      } finally {
        transport.close();
      }
    });
  };
}

/** Connects, says who it is, logs in, and leaves: nothing is sent. Throws `Undelivered`, `VariableMissing`. */
export async function smtpReady(
  smtp: NonNullable<Alerts['smtp']>,
  run: Surroundings,
  pace: Pace,
): Promise<{ readonly server: string; readonly from: string }> {
  const address = parseSmtpAddress(run.reveal(smtp.url));
  const { createTransport } = await import('nodemailer');
  await untilDelivered(run, pace, async () => {
    const transport = createTransport(transportOptions(address, pace));
    try {
      await transport.verify();
    } catch (cause) {
      throw undelivered(cause, address);
    } finally {
      transport.close();
    }
  });
  return { server: printableSmtp(address), from: senderOf(address, smtp.from, run.host) };
}

/** @throws Undelivered */
export function assertAddress(to: string): void {
  if (!ADDRESS.test(to)) throw new Undelivered(`"${to}" is no address, want one such as ops@example.com`);
}

/** Who writes: the plan's `from`, else the user if that is an address, else `holdfast` on this machine. */
function senderOf({ user }: SmtpAddress, from: string | undefined, host: string): string {
  return from ?? (user !== null && ADDRESS.test(user) ? user : `holdfast@${host}`);
}

/**
 * The first message of a trouble has an id that all later ones can work out, so that they refer to it without anybody
 * having to remember it: one thread from its opening to its end.
 */
function mailOf(
  telling: Telling,
  message: Message,
  { to, from, host }: { readonly to: string; readonly from: string | null; readonly host: string },
): SendMailOptions {
  const domain = /@([^\s@<>]+)>?$/.exec(from ?? '')?.[1] ?? host;
  const opening = `<holdfast.${threadOf(telling)}@${domain}>`;
  const opens = telling.what === 'opened';
  return {
    ...(from === null ? {} : { from }),
    to,
    subject: message.subject,
    text: message.text,
    date: telling.at,
    messageId: opens ? opening : `<holdfast.${idempotencyKey(telling)}@${domain}>`,
    ...(opens || telling.what === 'test' ? {} : { inReplyTo: opening, references: [opening] }),
    ...(telling.severity === 'critical' && telling.what !== 'closed' ? { priority: 'high' } : {}),
    // Holiday notices and mailing lists leave it alone.
    headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All', 'X-Holdfast-Plan': telling.plan },
    xMailer: false,
    disableFileAccess: true,
    disableUrlAccess: true,
  };
}

function transportOptions(address: SmtpAddress, pace: Pace): SMTPTransportOptions {
  const { implicitTls, host, port, user, password, tls } = address;
  const local = host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
  const plain = tls === 'none' || (local && tls === 'verified' && !implicitTls);
  return {
    host,
    port,
    secure: implicitTls && tls !== 'none',
    // On this very machine there is nobody in between, and its certificate is mostly one it made itself. Elsewhere a
    // password never travels in the clear.
    ignoreTLS: plain,
    requireTLS: !implicitTls && !plain && user !== null,
    ...(user === null ? {} : { auth: { user, pass: password ?? '' }, forceAuth: true }),
    tls: { rejectUnauthorized: tls !== 'unverified' },
    connectionTimeout: pace.attemptMs / 2,
    greetingTimeout: pace.attemptMs / 2,
    dnsTimeout: pace.attemptMs / 2,
    socketTimeout: pace.attemptMs,
    socketCloseTimeout: 0,
    maxResponseSize: 64 * 1024,
    logger: false,
  };
}

const WORDS: Readonly<Record<string, string>> = {
  EDNS: 'has no address: its name does not resolve',
  ETIMEDOUT: 'does not answer',
  ECONNECTION: 'broke the connection off',
  ESOCKET: 'cannot be reached',
  EABORT: 'does not answer',
};

function undelivered(thrown: unknown, address: SmtpAddress): Undelivered {
  const { code = '', message = '', response, responseCode, originalCode } = thrown as Partial<NodemailerError>;
  const server = `mail server ${printableSmtp(address)}`;
  if (code === 'ETLS' && responseCode !== undefined)
    return new Undelivered(
      `${server} offers no STARTTLS, and a password does not travel in the clear: want smtps://, or ?tls=none`,
    );
  if (responseCode !== undefined) {
    const [what, hint] = code === 'EAUTH' ? [' the login', '; look at user and password in alerts.smtp.url'] : ['', ''];
    const retryable = responseCode >= 400 && responseCode < 500;
    return new Undelivered(`${server} refuses${what}: ${clean(response ?? '', address)}${hint}`, { retryable });
  }
  if (/certificate|altname|SSL/i.test(`${originalCode} ${message}`))
    return new Undelivered(
      `${server}: no trusted TLS (${clean(message, address)}); a CA of your own goes into NODE_EXTRA_CA_CERTS, ?tls=unverified takes any certificate`,
    );
  const words = WORDS[code];
  if (words === undefined) return new Undelivered(`${server} fails: ${clean(message, address)}`);
  const cause = originalCode === undefined ? '' : ` (${originalCode})`;
  // Also where it may have been taken already: the second has the same Message-ID, and none at all would be worse.
  return new Undelivered(`${server} ${words}${cause}`, { retryable: true });
}

/** Without the password, also in the shapes in which it travels. */
function clean(text: string, { user, password }: SmtpAddress): string {
  const base64 = (value: string): string => Buffer.from(value).toString('base64');
  const secrets =
    password === null ? [] : [password, base64(password), base64(`\0${user}\0${password}`)].filter((one) => one !== '');
  return redact(text, secrets)
    .replace(/[\s\p{C}]+/gu, ' ')
    .trim()
    .slice(0, SHOWN);
}
