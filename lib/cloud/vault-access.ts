import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import { READING_RIGHTS } from '#core/bucket-settings';

/** A vault as a role sees it. */
export interface VaultPlace {
  readonly bucket: IBucket;
  /** Null: an adopted bucket's own business. */
  readonly key: IKey | null;
  /** `prod/`, or nothing. */
  readonly root: string;
  /** Null: its objects are not locked. */
  readonly lock: { readonly mode: 'governance' | 'compliance'; readonly days: number } | null;
}

/**
 * What each role may do in a vault (DESIGN section 7). Written out call by call: the ready-made grants bring tagging,
 * retention and whole-bucket reads along. Nobody may delete.
 */

/** Puts what a run of one source makes; reads names, manifests, ledger and leases, never an artifact. */
export function writerAccess(vault: VaultPlace, source: string): PolicyStatement[] {
  return [
    puts(vault, [`backups/${source}/*`, `logs/${source}/*`, 'plans/*', `ledger/${source}/*`, `leases/${source}/*`]),
    ...(vault.lock ? [statement(['s3:PutObjectRetention'], objects(vault, [`backups/${source}/*`]))] : []),
    gets(vault, [...records(source), 'vault.json']),
    lists(vault, [...foldersOf(source), 'vault.json']),
    ...keyUse(vault, ['kms:GenerateDataKey', 'kms:Decrypt']),
  ];
}

/** Reads the artifacts of one source, and puts proofs. It is the only role of a task that can open what is sealed. */
export function proverAccess(vault: VaultPlace, source: string): PolicyStatement[] {
  return [
    puts(vault, [`proofs/${source}/*`, `ledger/${source}/*`, `leases/${source}/*`, 'RUNBOOK.md']),
    gets(vault, [`backups/${source}/*`, ...records(source), 'vault.json', 'plans/*']),
    lists(vault, [...foldersOf(source), 'vault.json']),
    ...keyUse(vault, ['kms:GenerateDataKey', 'kms:Decrypt']),
  ];
}

/** Marks what retention gave up: one tag, one value, nothing else; and makes locks longer, never shorter. */
export function retainAccess(vault: VaultPlace): PolicyStatement[] {
  return [
    new PolicyStatement({
      actions: ['s3:PutObjectTagging'],
      resources: objects(vault, ['backups/*']),
      conditions: {
        StringEquals: { 's3:RequestObjectTag/holdfast': 'expired' },
        'ForAllValues:StringEquals': { 's3:RequestObjectTagKeys': ['holdfast'] },
      },
    }),
    statement(['s3:GetObjectTagging'], objects(vault, ['backups/*'])),
    ...lifecycleAccess(vault),
    ...renewsLocks(vault),
    puts(vault, ['ledger/*', 'leases/*']),
    gets(vault, ['backups/*/manifest.json', 'proofs/*', 'holds/*', 'ledger/*', 'leases/*', 'vault.json']),
    lists(vault, ['*']),
    ...keyUse(vault, ['kms:GenerateDataKey', 'kms:Decrypt']),
  ];
}

/** Looks at everything that is not an artifact, and writes down what it saw. */
export function watcherAccess(vault: VaultPlace): PolicyStatement[] {
  return [
    puts(vault, ['ledger/*', 'leases/*', 'plans/*', 'vault.json', 'RUNBOOK.md', 'holds/*']),
    gets(vault, ['backups/*/manifest.json', 'proofs/*', 'holds/*', 'ledger/*', 'leases/*', 'vault.json', 'plans/*']),
    lists(vault, ['*']),
    ...keyUse(vault, ['kms:GenerateDataKey', 'kms:Decrypt']),
  ];
}

/** Copies whole backups between vaults: reads sealed bytes, which it cannot open. */
export function replicatorAccess(vault: VaultPlace): PolicyStatement[] {
  return [
    puts(vault, ['backups/*', 'proofs/*', 'plans/*', 'ledger/*', 'leases/*']),
    ...(vault.lock ? [statement(['s3:PutObjectRetention'], objects(vault, ['backups/*']))] : []),
    gets(vault, ['*']),
    lists(vault, ['*']),
    ...keyUse(vault, ['kms:GenerateDataKey', 'kms:Decrypt']),
  ];
}

/** A task that copies one source: from here it reads sealed bytes, which it cannot open, and writes nothing. */
export function copiedFromAccess(vault: VaultPlace, source: string): PolicyStatement[] {
  return [
    gets(vault, [`backups/${source}/*`, ...records(source), 'vault.json', 'plans/*']),
    lists(vault, [...foldersOf(source), 'vault.json', 'plans/*']),
    ...keyUse(vault, ['kms:Decrypt']),
  ];
}

/** And into here it puts them; what a stopped copy left it reads again, and does not send it twice. */
export function copiedToAccess(vault: VaultPlace, source: string): PolicyStatement[] {
  const folders = ['backups', 'proofs', 'ledger', 'leases'];
  return [
    puts(vault, [...folders.map((folder) => `${folder}/${source}/*`), 'plans/*']),
    ...(vault.lock ? [statement(['s3:PutObjectRetention'], objects(vault, [`backups/${source}/*`]))] : []),
    ...copiedFromAccess(vault, source),
    ...keyUse(vault, ['kms:GenerateDataKey', 'kms:Decrypt']),
  ];
}

/** Everything to read, nothing to write: for a named person on the worst day. */
export function restorerAccess(vault: VaultPlace): PolicyStatement[] {
  return [
    statement(['s3:GetObject', 's3:GetObjectVersion'], objects(vault, ['*'])),
    statement(['s3:ListBucket', 's3:ListBucketVersions'], [vault.bucket.bucketArn]),
    // A thaw is no change of what is stored.
    statement(['s3:RestoreObject'], objects(vault, ['backups/*', 'logs/*'])),
    ...keyUse(vault, ['kms:Decrypt']),
  ];
}

/** Reads how the bucket is set up, to compare it with the plan; changes nothing of it. */
export function settingsAccess(vault: VaultPlace): PolicyStatement[] {
  return [statement(Object.values(READING_RIGHTS), [vault.bucket.bucketArn])];
}

/** Sees the rules that could end what nobody gave up. */
export function lifecycleAccess(vault: VaultPlace): PolicyStatement[] {
  return [statement([READING_RIGHTS.lifecycle], [vault.bucket.bucketArn])];
}

/**
 * In the vault's own mode, and for no longer than the plan locks anything: a stolen role could else lock for a hundred
 * years what nobody can remove then. To shorten or lift a lock takes s3:BypassGovernanceRetention, which nobody has.
 */
function renewsLocks(vault: VaultPlace): PolicyStatement[] {
  if (!vault.lock) return [];
  const { mode, days } = vault.lock;
  return [
    statement(['s3:GetObjectRetention'], objects(vault, ['backups/*'])),
    new PolicyStatement({
      actions: ['s3:PutObjectRetention'],
      resources: objects(vault, ['backups/*']),
      conditions: {
        StringEquals: { 's3:object-lock-mode': mode.toUpperCase() },
        NumericLessThanEquals: { 's3:object-lock-remaining-retention-days': days },
      },
    }),
  ];
}

function records(source: string): string[] {
  return [
    `backups/${source}/*/manifest.json`,
    `proofs/${source}/*`,
    `holds/${source}/*`,
    `ledger/${source}/*`,
    `leases/${source}/*`,
  ];
}

function foldersOf(source: string): string[] {
  return ['backups', 'logs', 'proofs', 'holds', 'ledger', 'leases'].map((folder) => `${folder}/${source}/*`);
}

function objects({ bucket, root }: VaultPlace, keys: readonly string[]): string[] {
  return keys.map((key) => bucket.arnForObjects(`${root}${key}`));
}

function puts(vault: VaultPlace, keys: readonly string[]): PolicyStatement {
  return statement(['s3:PutObject', 's3:AbortMultipartUpload'], objects(vault, keys));
}

function gets(vault: VaultPlace, keys: readonly string[]): PolicyStatement {
  return statement(['s3:GetObject'], objects(vault, keys));
}

function lists({ bucket, root }: VaultPlace, prefixes: readonly string[]): PolicyStatement {
  return new PolicyStatement({
    actions: ['s3:ListBucket'],
    resources: [bucket.bucketArn],
    conditions: { StringLike: { 's3:prefix': prefixes.map((prefix) => `${root}${prefix}`) } },
  });
}

function keyUse({ key }: VaultPlace, actions: readonly string[]): PolicyStatement[] {
  return key === null ? [] : [statement(actions, [key.keyArn])];
}

function statement(actions: readonly string[], resources: readonly string[]): PolicyStatement {
  return new PolicyStatement({ actions: [...actions], resources: [...resources] });
}
