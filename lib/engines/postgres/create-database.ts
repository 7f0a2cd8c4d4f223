import type { DatabasePrint } from '#engines/postgres/fingerprint';
import { missingRoles } from '#engines/postgres/restore-script';
import type { Session } from '#engines/postgres/session';
import { quoteName, quoteText } from '#engines/postgres/sql';

/** Creates without login the roles that are missing, and returns their names. Throws `SqlFailed`. */
export async function createRoles(
  session: Session,
  roles: readonly string[],
  superusers: readonly string[],
): Promise<string[]> {
  if (roles.length === 0) return [];
  const known = new Set((await session.query('select rolname from pg_catalog.pg_roles')).map(([role]) => role));
  const missing = roles.filter((role) => !known.has(role));
  // One by one, and not by \gexec, which goes on when one of them is refused.
  if (missing.length > 0)
    for (const [statement] of await session.query(missingRoles(missing, superusers)))
      await session.query(statement as string);
  return missing;
}

/** An empty database that sorts, compares and encodes as the source's. Throws `SqlFailed`. */
export async function createDatabase(
  session: Session,
  name: string,
  print: DatabasePrint,
  owner: string | null,
): Promise<void> {
  const [number] = await session.one(`select pg_catalog.current_setting('server_version_num')`);
  const major = Math.floor(Number(number) / 10_000);
  const options = [
    'template template0',
    `encoding ${quoteText(print.encoding)}`,
    `lc_collate ${quoteText(print.collate)}`,
    `lc_ctype ${quoteText(print.ctype)}`,
  ];
  if (major >= 15) {
    options.push(`locale_provider ${{ i: 'icu', b: 'builtin' }[print.provider] ?? 'libc'}`);
    if (print.provider === 'i' && print.locale !== null) options.push(`icu_locale ${quoteText(print.locale)}`);
    if (print.provider === 'b' && print.locale !== null) options.push(`builtin_locale ${quoteText(print.locale)}`);
    if (print.icuRules !== null) options.push(`icu_rules ${quoteText(print.icuRules)}`);
  }
  if (owner !== null) options.push(`owner ${quoteName(owner)}`);
  await session.query(`create database ${quoteName(name)} ${options.join(' ')}`);
}
