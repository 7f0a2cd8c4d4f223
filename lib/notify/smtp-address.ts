import { Undelivered } from '#notify/delivery';

/** A mail server. Holds the password: never print it whole. */
export interface SmtpAddress {
  /** TLS from the first byte (smtps), else STARTTLS. */
  readonly implicitTls: boolean;
  readonly host: string;
  readonly port: number;
  readonly user: string | null;
  readonly password: string | null;
  /** `verified` unless the address says `?tls=unverified` (any certificate) or `?tls=none` (no TLS at all). */
  readonly tls: 'verified' | 'unverified' | 'none';
}

const WANT =
  'want smtps://user:password@host[:465] or smtp://[user:password@]host[:587], with ?tls=unverified or ?tls=none';
const SHAPE = /^(smtps?):\/\/(?:(.*)@)?(\[[0-9a-f:.]+\]|[^@/?#:[\]]+)(?::(\d{1,5}))?\/?(?:\?([^?#]*))?$/is;

/**
 * Reads `smtp://` and `smtps://`. A password may be percent-encoded, or as it is: what is put in by `${NAME}` seldom
 * is encoded, and may hold any character.
 * @throws Undelivered; its message never holds the address
 */
export function parseSmtpAddress(text: string): SmtpAddress {
  const [, scheme = '', login, host = '', port, query = ''] = SHAPE.exec(text.trim()) ?? [];
  if (host === '') throw new Undelivered(`alerts.smtp.url cannot be read, ${WANT}`);
  const implicitTls = scheme.toLowerCase() === 'smtps';
  const number = port === undefined ? (implicitTls ? 465 : 587) : Number(port);
  if (number < 1 || number > 65_535) throw new Undelivered(`alerts.smtp.url: got port ${number}, want 1 to 65535`);
  const colon = login?.indexOf(':') ?? -1;
  if (login !== undefined && colon < 1)
    throw new Undelivered('alerts.smtp.url: a user and a password belong together, want user:password@host');
  return {
    implicitTls,
    host: host.replace(/^\[|\]$/g, ''),
    port: number,
    user: login === undefined ? null : decoded(login.slice(0, colon)),
    password: login === undefined ? null : decoded(login.slice(colon + 1)),
    tls: tlsOf(query),
  };
}

/** For people: host and port. */
export function printableSmtp({ host, port }: SmtpAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function tlsOf(query: string): SmtpAddress['tls'] {
  if (query === '') return 'verified';
  const options = new URLSearchParams(query);
  const tls = options.get('tls') ?? '';
  if ([...options.keys()].some((name) => name !== 'tls') || (tls !== 'unverified' && tls !== 'none'))
    throw new Undelivered('alerts.smtp.url: got an option that is not known, want ?tls=unverified or ?tls=none');
  return tls;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (thrown) {
    if (thrown instanceof URIError) return text;
    throw thrown;
  }
}
