/** The policy of a vault's bucket, and what of it a policy of somebody else's hand lacks. */

export interface PolicyStatement {
  readonly Sid?: string | undefined;
  readonly Effect?: string | undefined;
  readonly Principal?: unknown;
  readonly Action?: string | readonly string[] | undefined;
  readonly Resource?: string | readonly string[] | undefined;
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined;
}

/** What no writer may overwrite (I3). */
export const WRITE_ONCE = ['backups', 'logs', 'proofs', 'ledger'] as const;

/** Exempts the calls that begin and feed a multipart upload: the one that completes it carries the condition. */
export const NOT_CREATE_ONLY = {
  Null: { 's3:if-none-match': 'true' },
  Bool: { 's3:ObjectCreationOperation': 'true' },
} as const;

const PLAIN_HTTP = { Bool: { 'aws:SecureTransport': 'false' } } as const;
const OLD_TLS = { NumericLessThan: { 's3:TlsVersion': '1.2' } } as const;

export interface PolicyPlace {
  readonly bucket: string;
  /** Of each vault in it: `prod/`, or nothing. */
  readonly roots: readonly string[];
  readonly region: string | null;
}

/** Denials alone: they take nothing from a bucket's other uses but overwriting in the vaults, and plain HTTP. */
export function bucketPolicy({ bucket, roots, region }: PolicyPlace): PolicyStatement[] {
  const arn = `arn:${partitionOf(region)}:s3:::${bucket}`;
  const deny = { Effect: 'Deny', Principal: '*' };
  const everywhere = { ...deny, Action: 's3:*', Resource: [arn, `${arn}/*`] };
  return [
    { Sid: 'HoldfastTls', ...everywhere, Condition: PLAIN_HTTP },
    { Sid: 'HoldfastTls12', ...everywhere, Condition: OLD_TLS },
    {
      Sid: 'HoldfastCreateOnly',
      ...deny,
      Action: 's3:PutObject',
      Resource: roots.flatMap((root) => WRITE_ONCE.map((folder) => `${arn}/${root}${folder}/*`)),
      Condition: NOT_CREATE_ONLY,
    },
  ];
}

/** Folders in which nothing keeps a writer from overwriting. */
export function overwritable(policy: readonly PolicyStatement[], bucket: string, root: string): string[] {
  const denials = policy.filter(
    (one) =>
      deniesEverybody(one, ['s3:PutObject']) && hasOnly(one, NOT_CREATE_ONLY) && one.Condition?.['Null'] !== undefined,
  );
  return WRITE_ONCE.filter((folder) => !denials.some((one) => coversBelow(one, `${bucket}/${root}${folder}/`)));
}

/** AWS itself takes no TLS below 1.2 any more; plain HTTP it does. */
export function allowsPlainHttp(policy: readonly PolicyStatement[], bucket: string): boolean {
  return !policy.some(
    (one) =>
      deniesEverybody(one, ['s3:GetObject', 's3:PutObject']) &&
      hasOnly(one, PLAIN_HTTP) &&
      one.Condition?.['Bool'] !== undefined &&
      coversBelow(one, `${bucket}/`),
  );
}

function deniesEverybody({ Effect, Principal, Action }: PolicyStatement, actions: readonly string[]): boolean {
  const who = typeof Principal === 'object' && Principal !== null && 'AWS' in Principal ? Principal.AWS : Principal;
  const patterns = listOf(Action);
  return (
    Effect === 'Deny' &&
    (who === '*' || (Array.isArray(who) && who.includes('*'))) &&
    actions.every((action) => patterns.some((pattern) => globOf(pattern, 'i').test(action)))
  );
}

/** A condition more narrows a denial, and then it denies less than is wanted. */
function hasOnly({ Condition = {} }: PolicyStatement, wanted: NonNullable<PolicyStatement['Condition']>): boolean {
  return Object.entries(Condition).every(([operator, keys]) =>
    Object.entries(keys).every(([key, value]) => {
      const [, allowed] =
        Object.entries(wanted[operator] ?? {}).find(([name]) => name.toLowerCase() === key.toLowerCase()) ?? [];
      return [value].flat().join() === allowed;
    }),
  );
}

function coversBelow({ Resource }: PolicyStatement, below: string): boolean {
  // A pattern that ends in * and takes the folder takes all that is below it.
  return listOf(Resource).some(
    (pattern) => pattern.endsWith('*') && globOf(pattern.replace(/^arn:[^:]*:s3:::/, ''), '').test(below),
  );
}

function globOf(pattern: string, flags: string): RegExp {
  const text = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${text}$`, flags);
}

function listOf(value: string | readonly string[] | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === 'string' ? [value] : value;
}

export function partitionOf(region: string | null): string {
  if (region?.startsWith('cn-')) return 'aws-cn';
  return region?.startsWith('us-gov-') ? 'aws-us-gov' : 'aws';
}
