import type { RunContext } from '#core/ports';
import { redact, references } from '#core/secrets';
import { Undelivered } from '#notify/delivery';

/** An address whose path or query is what lets one in: only its host is ever said. */
export interface SecretUrl {
  /** Without user and password. */
  readonly href: string;
  readonly host: string;
  /** What an address with a user and a password asks to be sent along; null without. */
  readonly authorization: string | null;
  /** Takes the address out of a foreign text, whole or in parts. */
  clean(text: string): string;
}

/** A segment of a path that is shorter is a word, not a token. */
const SHORTEST_TOKEN = 8;

/** @throws Undelivered it is no http or https address; VariableMissing */
export function secretUrl(text: string, reveal: RunContext['reveal']): SecretUrl {
  const href = reveal(text).trim();
  const url = URL.parse(href);
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:') || url.hostname === '')
    throw new Undelivered('its address cannot be read, want https://host/path; it is not printed, as it is a secret');
  const secrets = secretsIn(url, href);
  const login = loginOf(url);
  url.username = '';
  url.password = '';
  if (login !== null) secrets.push(login);
  return {
    href: url.href,
    host: url.host,
    authorization: login === null ? null : `Basic ${login}`,
    clean: (foreign) => redact(foreign, secrets),
  };
}

/** Base64 of `user:password`. */
function loginOf({ username, password }: URL): string | null {
  if (username === '' && password === '') return null;
  return Buffer.from(`${decoded(username)}:${decoded(password)}`).toString('base64');
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (thrown) {
    if (thrown instanceof URIError) return text;
    throw thrown;
  }
}

/** The host an address of the plan names, if it can be told without looking into variables; else those. */
export function printableHost(text: string): string {
  const host = /^https?:\/\/(?:[^\s/?#]*@)?([A-Za-z0-9.-]+(?::\d+)?|\[[0-9A-Fa-f:.]+\](?::\d+)?)(?:[/?#]|$)/.exec(
    text.trim(),
  )?.[1];
  if (host !== undefined) return host;
  const names = references(text).map((reference) => reference.text);
  return names.length > 0 ? names.join(' ') : 'without a readable address';
}

function secretsIn(url: URL, href: string): string[] {
  const query = [...url.searchParams.values()];
  const segments = url.pathname.split('/').filter((segment) => segment.length >= SHORTEST_TOKEN);
  const path = `${url.pathname}${url.search}`;
  const whole = [href, url.href, path, url.pathname].filter((form) => form.length > 1);
  // PHP's json_encode writes \/, HTML &amp;.
  const quoted = whole.flatMap((form) => [form.replaceAll('/', '\\/'), form.replaceAll('&', '&amp;')]);
  return [...whole, ...quoted, ...segments, ...query, url.search.slice(1), url.password];
}
