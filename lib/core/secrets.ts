import { NotThereYet, PlanInvalid, VariableMissing } from '#core/errors';

/** One `${…}` in a text of the plan. */
export type Reference =
  | { readonly kind: 'variable'; readonly text: string; readonly name: string }
  | { readonly kind: 'secret'; readonly text: string; readonly arn: string; readonly field: string | null }
  | { readonly kind: 'malformed'; readonly text: string };

export const REFERENCE_ALLOWED = '${NAME} of letters, digits and _, or ${secret:ARN#field}';

const ANY = /\$\{([^}]*)(\}?)/g;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const SECRET = /^secret:(arn:[^#\s]+)(?:#(\S+))?$/;

/** All `${…}` of a text, in order. */
export function references(text: string): Reference[] {
  return [...text.matchAll(ANY)].map(([whole, inner = '', end]) => {
    if (end === '') return { kind: 'malformed', text: whole };
    if (NAME.test(inner)) return { kind: 'variable', text: whole, name: inner };
    const [, arn, field] = SECRET.exec(inner) ?? [];
    if (arn !== undefined) return { kind: 'secret', text: whole, arn, field: field ?? null };
    return { kind: 'malformed', text: whole };
  });
}

/**
 * The text with its `${NAME}`s put in, once: what a value contains is never looked at again. An empty value counts as
 * missing, as an empty address means "the local default" to most clients: another database than the one meant.
 * @throws VariableMissing naming the variable
 * @throws NotThereYet `${secret:…}`
 * @throws PlanInvalid a `${` that is no reference
 */
export function reveal(text: string, lookup: (name: string) => string | undefined): string {
  const found = references(text);
  let next = 0;
  return text.replaceAll(ANY, () => {
    const reference = found[next++] as Reference;
    if (reference.kind === 'malformed') {
      throw new PlanInvalid(`got a \${ that names no variable, want ${REFERENCE_ALLOWED}`);
    }
    if (reference.kind === 'secret') {
      throw new NotThereYet('${secret:ARN} is accepted in a plan but not there yet in this version', {
        hint: 'put the value into the environment and write ${NAME}',
      });
    }
    const value = lookup(reference.name);
    if (value === undefined || value === '') {
      throw new VariableMissing(
        `the plan needs \${${reference.name}}, and that is ${value === '' ? 'empty' : 'not set'} here`,
        { hint: `set ${reference.name} in the environment or in .env` },
      );
    }
    return value;
  });
}

const MASK = '***';
/** Shorter ones would mask ordinary words. */
const SHORTEST_MASKED = 4;

/**
 * A text fit for logs and errors: without the given secrets, the passwords inside of those that are addresses, their
 * URL-encoded and JSON-quoted forms, and any `scheme://user:password@`.
 */
export function redact(text: string, secrets: Iterable<string>): string {
  const forms = new Set([...secrets].flatMap((secret) => [secret, ...passwordsIn(secret)]).flatMap(formsOf));
  const longestFirst = [...forms].filter((form) => form.length >= SHORTEST_MASKED).sort((a, b) => b.length - a.length);
  let safe = text;
  for (const form of longestFirst) safe = safe.replaceAll(form, MASK);
  return (
    safe
      // Up to the last @ of the word: a password may hold an @ that nobody encoded. PASSWORD stands in hints.
      .replaceAll(/\b([a-z][a-z0-9+.-]{0,20}:\/\/[^\s:/@"'<>]*:)(?!PASSWORD@)[^\s"'<>]*@/gi, `$1${MASK}@`)
      .replaceAll(/([?&](?:ssl)?passw(?:or)?d=)[^&\s"'<>]+/gi, `$1${MASK}`)
      .replaceAll(/AGE-SECRET-KEY-1[0-9A-Z]+/gi, MASK)
  );
}

function passwordsIn(secret: string): string[] {
  const inAddress = /^[a-z][a-z0-9+.-]*:\/\/[^:/@]*:(.*)@/i.exec(secret)?.[1];
  const asParameter = [...secret.matchAll(/[?&](?:ssl)?passw(?:or)?d=([^&#]+)/gi)].map(([, value]) => value as string);
  return [...(inAddress === undefined ? [] : [inAddress]), ...asParameter];
}

function formsOf(secret: string): string[] {
  const forms = [secret, JSON.stringify(secret).slice(1, -1)];
  // A lone surrogate cannot be encoded, and cannot be in an address either.
  if (secret.isWellFormed()) {
    const encoded = encodeURIComponent(secret);
    forms.push(encoded, encoded.replaceAll('%20', '+'), encodeURI(secret));
  }
  const decoded = percentDecoded(secret);
  if (decoded !== null) forms.push(decoded);
  return forms;
}

function percentDecoded(text: string): string | null {
  if (!/%[0-9a-f]{2}/i.test(text)) return null;
  try {
    return decodeURIComponent(text);
  } catch (thrown) {
    if (thrown instanceof URIError) return null;
    throw thrown;
  }
}
