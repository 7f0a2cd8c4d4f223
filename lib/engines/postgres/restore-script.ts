import type { Fingerprint } from '#engines/postgres/fingerprint';
import { quoteText } from '#engines/postgres/sql';
import { settingsStatement } from '#engines/postgres/switch-database';

/** How many things of a user's a database holds: 0 in one that was just created. */
export const CONTENTS_COUNT = `select (select count(*) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema') + (select count(*) from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema') + (select count(*) from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema') + (select count(*) from pg_catalog.pg_namespace n where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'public')) + (select count(*) from pg_catalog.pg_extension where extname <> 'plpgsql') + (select count(*) from pg_catalog.pg_largeobject_metadata)`;

/**
 * One statement for psql's \gexec: creates without login those roles that are missing, touches none that is there.
 * @param superusers those that own what only a superuser may own: the dump would not load without
 */
export function missingRoles(roles: readonly string[], superusers: readonly string[]): string {
  const names = roles
    .map((role, index) => `(${index}, ${quoteText(role)}, ${quoteText(superusers.includes(role) ? ' superuser' : '')})`)
    .join(', ');
  return `select pg_catalog.format('create role %I nologin%s', wanted.name, wanted.more) from (values ${names}) as wanted(place, name, more) where not exists (select from pg_catalog.pg_roles where rolname = wanted.name) order by place`;
}

/** POSIX sh that loads the artifacts with psql and pg_restore into `$TARGET`; `plain NAME` is given by its surroundings. */
export function restoreScript(fingerprint: Fingerprint): string {
  const { server, databases, scope, globals } = fingerprint;
  const roles = globals ? fingerprint.roles : [...new Set(databases.flatMap((database) => database.roles))];
  const parts = [
    `# TARGET: URL of an empty database${scope.all ? ' (one to connect to; the others are created beside it)' : ''}, as a superuser or its owner.
# Needs psql and pg_restore of PostgreSQL ${server.major} (pg_restore --version) on the PATH.`,
    scope.all ? '' : REFUSE_CONTENTS,
    `# Owners and grantees: created without login where they are missing.
psql -X -q -v ON_ERROR_STOP=1 -d "$TARGET" <<'SQL'
\\encoding UTF8
${missingRoles(
  roles,
  databases.flatMap((database) => database.superusers),
)} \\gexec
SQL`,
    // The roles are there by now; what follows sets their passwords, rights and memberships.
    globals ? `plain globals.sql | ${WITHOUT_CREATE_ROLE} | psql -X -q -v ON_ERROR_STOP=1 -d "$TARGET"` : '',
    scope.partial ? partialSchemas(databases.flatMap((database) => database.tables.map((table) => table.schema))) : '',
    fingerprint.format === 'directory' ? UNPACK : '',
    scope.all ? AT_DATABASE : '',
    ...databases.map((database) => {
      const existing = database.name === 'postgres' || !scope.all;
      const target = scope.all && existing ? `"$(at ${encodeName(database.name)})"` : '"$TARGET"';
      const options = `--exit-on-error${scope.all && !existing ? ' --create' : ''} --dbname ${target}`;
      return fingerprint.format === 'directory'
        ? `unpack ${database.artifact}\npg_restore --jobs ${fingerprint.jobs} ${options} "$dump"\nrm -rf "$dump"`
        : `plain ${database.artifact} | pg_restore ${options}`;
    }),
    scope.all ? '' : ownSettings(databases.flatMap((database) => database.settings)),
  ];
  return `${parts.filter(Boolean).join('\n')}\n`;
}

const REFUSE_CONTENTS = `found=$(psql -X -A -t -d "$TARGET" -c "${CONTENTS_COUNT}")
[ "$found" = 0 ] || { echo "TARGET holds $found objects already: give an empty database" >&2; exit 1; }`;

/** No dump of a database's contents holds them. One that the login may not set is told, and the rest goes on. */
function ownSettings(settings: readonly string[]): string {
  if (settings.length === 0) return '';
  return `psql -X -q -d "$TARGET" <<'SQL'\n\\encoding UTF8\n${settingsStatement(settings)} \\gexec\nSQL`;
}

/** A bare `-t` dump names the schemas of its tables without making them. */
function partialSchemas(schemas: readonly string[]): string {
  const statements = [...new Set(schemas)].map(
    (schema) => `select pg_catalog.format('create schema if not exists %I', ${quoteText(schema)}) \\gexec`,
  );
  return `psql -X -q -v ON_ERROR_STOP=1 -d "$TARGET" <<'SQL'\n\\encoding UTF8\n${statements.join('\n')}\nSQL`;
}

/** To the end of the statement: a role's name may hold a line break. */
const WITHOUT_CREATE_ROLE = `sed -e '/^CREATE ROLE /{' -e ':more' -e '/;$/!{' -e N -e 'b more' -e '}' -e d -e '}'`;

const UNPACK = `unpack() {
  dump=$(mktemp -d)
  plain "$1" | tar -C "$dump" -xf -
}`;

const AT_DATABASE = `at() {
  case "$TARGET" in *\\?*) query="?\${TARGET#*\\?}" ;; *) query= ;; esac
  place=\${TARGET%%\\?*}
  case "\${place#*://}" in */*) place=\${place%/*} ;; esac
  printf '%s/%s%s' "$place" "$1" "$query"
}`;

/** Percent-encoded also where `encodeURIComponent` leaves a character that means something to the shell. */
function encodeName(name: string): string {
  return encodeURIComponent(name).replace(/[!'()*~]/g, (character) => `%${character.charCodeAt(0).toString(16)}`);
}
