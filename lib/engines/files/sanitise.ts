import { compilePattern, type Pattern } from '#engines/files/patterns';

/**
 * What `sanitise: true` leaves out, whatever its case: names under which secrets usually lie. It looks at names only:
 * a password inside `docker-compose.yml` stays. A directory that matches goes with all it holds.
 */
export const SECRET_NAMES: readonly string[] = [
  '*.env',
  '.env*',
  '*secret*',
  '*password*',
  'credentials*',
  '*.pem',
  '*.key',
  '*.p12',
  '*.pfx',
  '*.jks',
  '*.keystore',
  '*.kdbx',
  '*.ppk',
  'id_rsa*',
  'id_dsa*',
  'id_ecdsa*',
  'id_ed25519*',
  '.pgpass',
  '.netrc',
  '.npmrc',
  '.htpasswd',
  '.git-credentials',
];

export function secretPatterns(): readonly Pattern[] {
  return SECRET_NAMES.map((name) => compilePattern(name, { ignoreCase: true, what: 'sanitise' }));
}
