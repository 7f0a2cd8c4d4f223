/** Extensions whose Debian package (bookworm, trixie, apt.postgresql.org) has another name than theirs. */
const NAMED_OTHERWISE: Readonly<Record<string, string>> = {
  vector: 'pgvector',
  postgis: 'postgis-3',
  postgis_raster: 'postgis-3',
  postgis_topology: 'postgis-3',
  postgis_sfcgal: 'postgis-3',
  postgis_tiger_geocoder: 'postgis-3',
  address_standardizer: 'postgis-3',
  pg_cron: 'cron',
  pg_partman: 'partman',
  pg_repack: 'repack',
  pg_squeeze: 'squeeze',
};

const LANGUAGES: Readonly<Record<string, string>> = {
  plperl: 'plperl',
  plperlu: 'plperl',
  plpython3u: 'plpython3',
  pltcl: 'pltcl',
  pltclu: 'pltcl',
};

/** What to install for an extension; a good guess where it is not known here. */
export function packageOf(extension: string, major: number): string {
  const language = LANGUAGES[extension];
  if (language !== undefined) return `postgresql-${language}-${major}`;
  return `postgresql-${major}-${NAMED_OTHERWISE[extension] ?? extension.toLowerCase().replaceAll('_', '-')}`;
}
