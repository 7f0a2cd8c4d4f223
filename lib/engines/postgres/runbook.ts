import type { EngineGuide } from '#core/engine-guide';
import type { Manifest } from '#core/manifest';
import { inlineCode } from '#core/markdown';
import { hereDocument, shellWord } from '#core/shell';
import { packageOf } from '#engines/postgres/extension-packages';
import { type DatabasePrint, type Fingerprint, readFingerprint } from '#engines/postgres/fingerprint';
import { qualified, quoteName, quoteText, spoken } from '#engines/postgres/sql';

/** Where Debian's servers listen; a login of the same name as the Unix user needs no password there. */
const SOCKET = '/var/run/postgresql';
const TABLES_SHOWN = 200;
/** In the package of the server itself, or trusted to be known: no package to name. */
const CONTRIB = new Set(
  'plpgsql adminpack amcheck autoinc bloom btree_gin btree_gist citext cube dblink dict_int dict_xsyn earthdistance file_fdw fuzzystrmatch hstore insert_username intagg intarray isn lo ltree moddatetime old_snapshot pageinspect pg_buffercache pg_freespacemap pg_prewarm pg_stat_statements pg_surgery pg_trgm pg_visibility pg_walinspect pgcrypto pgrowlocks pgstattuple postgres_fdw refint seg sslinfo tablefunc tcn tsm_system_rows tsm_system_time unaccent uuid-ossp xml2'.split(
    ' ',
  ),
);

export function postgresGuide(manifest: Manifest): EngineGuide {
  const { content, measures } = manifest.fingerprint;
  const print = content === null ? null : readFingerprint(content);
  const version = print?.server.version ?? manifest.tools['server'] ?? '';
  const major = print?.server.major ?? majorOf(version);
  const all = print ? print.scope.all : manifest.artifacts.some(({ name }) => /^database-\d+\./.test(name));
  const globals = manifest.artifacts.some(({ name }) => name === 'globals.sql');
  const name = manifest.identity['database'] ?? 'restored';
  const server = `postgresql-${major}`;
  const missing = extensionsOf(print).filter((extension) => !CONTRIB.has(extension));
  return {
    packages: [server, ...missing.map((extension) => packageOf(extension, major))],
    beforeInstall: [
      `apt-cache show ${server} > /dev/null 2>&1 || {
  apt-get install -y postgresql-common ca-certificates && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y
}`,
    ],
    afterInstall: [
      ...localeLines(print),
      `service postgresql start
me=$(id -un)
su postgres -c "psql -X -A -t -c \\"select 1 from pg_roles where rolname = '$me'\\"" | grep -q 1 || su postgres -c "createuser --superuser $me"`,
    ],
    target: [
      all
        ? `URL of a database to connect to, as a superuser; the backup's databases are created beside it under their own names, which must be free${print ? `: ${print.databases.map((one) => inlineCode(one.name)).join(', ')}` : ''}.`
        : 'URL of an **empty** database, as a superuser: `postgres://postgres:PASSWORD@HOST:5432/NAME`. A password in it is seen by every user of the machine while the script runs; `PGPASSFILE` hides it.',
      `Needs PostgreSQL ${major} or newer, and \`pg_restore\` ${major} (${inlineCode('pg_restore --version')}).${missing.length > 0 ? ` The database uses the extensions ${missing.map(inlineCode).join(', ')}; their packages are guesses where they are not Debian's.` : ''}`,
    ],
    exampleTarget: shellWord(`postgresql:///${encodeURIComponent(all ? 'postgres' : name)}?host=${SOCKET}`),
    makeTarget: all ? null : createdb(name, print?.databases[0] ?? null),
    look: look(manifest, print),
    expect: expectations(print, measures),
    after: [
      'Then once, or the first queries are slow: `psql -d "$TARGET" -c analyze`',
      globals
        ? 'Roles came back with their rights, memberships and (if the backup was taken by a superuser) passwords. **`holdfast restore` does not do that**: it creates the roles that are missing without login. If you restore with Holdfast and want the roles too, read `globals.sql` of this backup, or run this script.'
        : rolesRemark(print),
    ],
    putInPlace: null,
    notCompared: [
      'definitions of functions, views, triggers and constraints (counted, not read); grants and comments',
      'the content of materialized views and foreign tables',
      'by this page: values. It counts rows; the proof that this backup passed compared every value',
      ...scopeRemarks(print),
    ],
  };
}

/** Before 10 a major version was two numbers. */
function majorOf(version: string): number {
  return Number.parseInt(version, 10) || 0;
}

function extensionsOf(print: Fingerprint | null): readonly string[] {
  return [...new Set(print?.databases.flatMap(({ extensions }) => extensions) ?? [])].sort();
}

function createdb(name: string, database: DatabasePrint | null): string {
  const options = database
    ? [
        `--encoding=${shellWord(database.encoding)}`,
        `--lc-collate=${shellWord(database.collate)}`,
        `--lc-ctype=${shellWord(database.ctype)}`,
        ...(database.provider === 'i' && database.locale !== null
          ? ['--locale-provider=icu', `--icu-locale=${shellWord(database.locale)}`]
          : []),
        ...(database.provider === 'b' && database.locale !== null
          ? ['--locale-provider=builtin', `--builtin-locale=${shellWord(database.locale)}`]
          : []),
      ]
    : ['--encoding=UTF8', '--locale=C.UTF-8'];
  return `createdb --host=${SOCKET} --template=template0 ${options.join(' ')} -- ${shellWord(name)}`;
}

/** A minimal Debian has no locale but C, POSIX and C.UTF-8. */
function localeLines(print: Fingerprint | null): string[] {
  const names = new Set(print?.databases.flatMap(({ collate, ctype }) => [collate, ctype]) ?? []);
  const known = [...names].flatMap((name) => {
    const [, language, charset] = /^([a-z]{2,3}_[A-Z]{2})\.([A-Za-z0-9-]+)$/.exec(name) ?? [];
    return language === undefined || charset === undefined ? [] : [`localedef -i ${language} -f ${charset} ${name}`];
  });
  return known.length === 0 ? [] : [['apt-get install -y locales', ...known.sort()].join('\n')];
}

function look(manifest: Manifest, print: Fingerprint | null): EngineGuide['look'] {
  const { source, probes } = manifest;
  const counted = (print?.databases ?? []).flatMap((database) => {
    const connect = print?.scope.all ? [`\\connect ${quoteName(database.name)}`] : [];
    const tables = rowTables(database, print as Fingerprint);
    return [
      {
        asked: [
          ...connect,
          ...tables.map((table) => `select count(*), ${quoteText(label(table))} from only ${qualified(table)};`),
        ],
        answers: tables.map((table) => `${table.rows}|${label(table)}`),
      },
    ];
  });
  const asked = counted.flatMap((one) => one.asked);
  const answers = counted.flatMap((one) => one.answers);
  const parts: string[] = [];
  if (answers.length > 0)
    parts.push(
      hereDocument(`cat > expected-${source}.txt`, answers.join('\n')),
      hereDocument(
        `psql -X -q -A -t -d "$TARGET" > found-${source}.txt`,
        ['\\encoding UTF8', 'set row_security = off;', ...asked].join('\n'),
      ),
      `diff expected-${source}.txt found-${source}.txt && echo "${source}: every table has its rows"`,
    );
  if (probes.length > 0) {
    const path = print?.databases.find(({ name }) => name === manifest.identity['database'])?.searchPath;
    parts.push(
      hereDocument(
        `psql -X -q -A -t -d "$TARGET"`,
        [
          '\\encoding UTF8',
          ...(print?.scope.all ? [`\\connect ${quoteName(manifest.identity['database'] ?? '')}`] : []),
          ...(path ? [`select set_config('search_path', ${quoteText(path)}, false) \\g /dev/null`] : []),
          "set timezone = 'UTC';",
          ...probes.flatMap(({ name, query }) => [`\\echo probe ${name}:`, query, ';']),
        ].join('\n'),
      ),
    );
  }
  if (parts.length === 0) return null;
  const told = probes.flatMap(({ name, answer }) => [
    `probe ${name}:`,
    ...answer.map((row) => row.map((cell) => cell ?? '').join('|')),
  ]);
  return { script: parts.join('\n'), answer: told.length === 0 ? null : told.join('\n') };
}

/** The largest, where there are many. */
function rowTables({ tables }: DatabasePrint, { scope }: Fingerprint): readonly DatabasePrint['tables'][number][] {
  if (scope.schemaOnly || tables.length <= TABLES_SHOWN) return tables;
  return tables.toSorted((a, b) => b.rows - a.rows).slice(0, TABLES_SHOWN);
}

/** One line, whatever the name. */
function label(table: { readonly schema: string; readonly name: string }): string {
  const name = spoken(table);
  return /[\p{Cc}\\]/u.test(name) ? JSON.stringify(name) : name;
}

function expectations(print: Fingerprint | null, measures: Manifest['fingerprint']['measures']): string[] {
  const total = `tables: ${measures['tables'] ?? 'unknown'}, rows in all: ${measures['rows'] ?? 'unknown'}`;
  if (!print) return [total, 'rows per table: too many to stand here; they are sealed in `fingerprint.json`'];
  const objects = print.databases.map((database) => {
    const counts = Object.entries(database.objects).map(([kind, count]) => `${kind} ${count}`);
    return `${inlineCode(database.name)}: ${[...counts, `large objects ${database.largeObjects?.count ?? 0}`].join(', ')}`;
  });
  const sequences = print.databases.flatMap(({ sequences: all }) => all).length;
  return [total, ...objects, ...(sequences > 0 ? [`sequences: ${sequences}`] : [])];
}

function rolesRemark(print: Fingerprint | null): string {
  const roles = [...new Set(print?.databases.flatMap((database) => database.roles) ?? [])].filter(
    (role) => role !== 'postgres',
  );
  const named = roles.length > 0 ? ` (${roles.map(inlineCode).join(', ')})` : '';
  return `Owners and grantees${named} that were missing are created **without login**: \`ALTER ROLE name LOGIN PASSWORD '…'\` for those that log in. Passwords and memberships are not in this backup (\`globals: true\` in the plan would add them).`;
}

function scopeRemarks(print: Fingerprint | null): string[] {
  if (!print) return [];
  const { scope } = print;
  return [
    ...(scope.schemaOnly ? ['rows: the backup holds the schema alone (`schemaOnly`)'] : []),
    ...(scope.tables
      ? [`rows of other tables than ${scope.tables.map(inlineCode).join(', ')}: not in the backup`]
      : []),
  ];
}
