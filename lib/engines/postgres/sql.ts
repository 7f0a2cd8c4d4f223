/** `"a ""b"""`, always quoted: no list of reserved words to keep. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Bytes. A longer name is cut off by the server without a word, and may then be the name of something else. */
const LONGEST_NAME = 63;

/** `name` and an ending, as much of the name as there is room for. */
export function nameWith(name: string, ending: string): string {
  let room = LONGEST_NAME - Buffer.byteLength(ending);
  let kept = '';
  for (const character of name) {
    room -= Buffer.byteLength(character);
    if (room < 0) break;
    kept += character;
  }
  return `${kept}${ending}`;
}

export function qualified(object: { readonly schema: string; readonly name: string }): string {
  return `${quoteName(object.schema)}.${quoteName(object.name)}`;
}

/** A literal that means the same whatever `standard_conforming_strings` says; line breaks escaped, so one line stays one. */
export function quoteText(text: string): string {
  // A quote doubled, not behind a backslash: a server may forbid that (backslash_quote).
  const escaped = text.replaceAll('\\', '\\\\').replaceAll("'", "''").replaceAll('\n', '\\n').replaceAll('\r', '\\r');
  return `E'${escaped}'`;
}

/** For people: `public.events`. */
export function spoken(object: { readonly schema: string; readonly name: string }): string {
  return `${object.schema}.${object.name}`;
}

/** Batches of at most `size`. */
export function* batches<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}

/**
 * What decides how a value looks as text, the same at the source and in the restored copy; and what could end a long
 * snapshot: a role's or database's own timeouts. `row_security=off` makes a role that sees only some rows an error.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  search_path: '',
  datestyle: 'ISO, YMD',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  extra_float_digits: '3',
  bytea_output: 'hex',
  lc_monetary: 'C',
  xmloption: 'content',
  row_security: 'off',
  jit: 'off',
  quote_all_identifiers: 'off',
  standard_conforming_strings: 'on',
  statement_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  transaction_timeout: '0',
  idle_session_timeout: '0',
};

/** Sets those of them that this server's version has. */
export function settingsQuery(lockTimeout: string): string {
  const values = Object.entries({ ...SETTINGS, lock_timeout: lockTimeout })
    .map(([name, value]) => `(${quoteText(name)}, ${quoteText(value)})`)
    .join(', ');
  return `select count(pg_catalog.set_config(s.name, v.value, false))
    from (values ${values}) v(name, value) join pg_catalog.pg_settings s on pg_catalog.lower(s.name) = v.name`;
}
