import * as z from 'zod';
import { durationField } from '#core/duration';
import { sizeField } from '#core/size';

/**
 * The plan's shape (DESIGN section 9): fixed; add to it, rename nothing. Every object is strict, so a typing error is
 * an error and not a default. What a later version fills is accepted here and refused by `core/plan-support`; what a
 * shape cannot say is in `core/plan-rules`. Descriptions become the editors' help (`core/plan-json-schema`).
 */

/** Names become parts of keys and file names. */
const nameField = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, { error: 'want lower-case letters, digits and dashes, at most 63' });

/** A map of the user's own names. It inherits nothing: `constructor`, asked for on a command line, is in none of them. */
function named<T extends z.ZodType>(field: T) {
  return z
    .record(nameField, field)
    .transform((map): Record<string, z.output<T>> => Object.assign(Object.create(null), map));
}

/** `${NAME}` and `${secret:ARN#field}` may stand in it; resolved late, never logged. */
const secretText = z.string().min(1).meta({ description: 'may contain ${NAME}, taken from the environment' });

const percentField = z
  .string({ error: 'want a percentage such as 80%' })
  .regex(/^(?:100(?:\.0+)?|\d{1,2}(?:\.\d+)?)%$/, { error: 'want a percentage such as 80%' })
  .transform((text) => Number(text.slice(0, -1)) / 100);

const cronField = z.string().min(1).meta({
  description: 'five fields in the plan’s timezone: minute hour day-of-month month day-of-week, as "0 2 * * *"',
});

const commands = z.array(z.string().min(1));

const encryptionField = z.union(
  [
    z.literal('none'),
    z.strictObject({
      recipients: z
        .array(
          z.string().regex(/^(?:age1[0-9a-z]{10,}|ssh-(?:ed25519|rsa) \S+.*|gpg:\S.*)$/, {
            error: 'want a public key: age1…, ssh-ed25519 …, ssh-rsa …, or "gpg:ID"',
          }),
        )
        .min(1)
        .meta({ description: 'public keys: age1…, ssh-ed25519 …, or "gpg:ID"; two, one of them kept elsewhere' }),
      identity: z
        .union(
          [
            z.strictObject({ file: z.string().min(1) }),
            z.strictObject({
              env: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: 'want the name of a variable' }),
            }),
            z.strictObject({ secret: z.string().min(1) }),
          ],
          { error: 'want { file: PATH }, { env: NAME } or { secret: ARN }' },
        )
        .optional()
        .meta({ description: 'the private key; read by prove, restore and drill only' }),
    }),
  ],
  { error: 'want { recipients: [age1…], identity: { file: PATH } } or the single word none' },
);

const replicaField = z
  .strictObject({
    region: z.string().min(1).optional(),
    account: z.string().min(1).optional(),
    vault: nameField.optional(),
    lag: durationField.optional(),
    concurrent: z.int().min(1).max(64).optional(),
  })
  .meta({ description: 'a second copy: in another region or account, or in another vault of this plan' });

const siteField = z.string().min(1).optional().meta({
  description: 'where it stands, for counting sites: a disk is here unless it says else, a bucket in its region',
});

const ENDPOINT_ALLOWED = 'want a URL such as https://sgp1.example.com';

const s3Vault = z.strictObject({
  s3: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$/, {
    error: 'want the name of a bucket, such as archon72-backups',
  }),
  prefix: z
    .string()
    .regex(/^(?!\.)[A-Za-z0-9._-]+(?:\/(?!\.)[A-Za-z0-9._-]+)*$/, {
      error: 'want a path inside the bucket such as prod or team/prod, of [A-Za-z0-9._-], no / at its ends',
    })
    .optional()
    .meta({ description: 'where in the bucket the vault lies' }),
  region: z.string().min(1).optional(),
  endpoint: z
    .url({ error: ENDPOINT_ALLOWED })
    // Not by `protocol`: the JSON Schema would not know it.
    .regex(/^https?:\/\/[^\s/?#]/, { error: ENDPOINT_ALLOWED })
    .optional()
    .meta({ description: 'of an S3-compatible store; not needed for AWS' }),
  accessKeyId: secretText.optional(),
  secretAccessKey: secretText.optional(),
  sse: z.enum(['AES256', 'kms']).optional().meta({ description: 'encryption by the store, on top of the seal' }),
  existing: z.boolean().optional().meta({ description: 'the stack does not make this bucket' }),
  lock: z.enum(['governance', 'compliance']).optional().meta({ description: 'Object Lock, per object' }),
  lockFor: durationField.optional().meta({ description: 'lock of what is kept for ever, renewed; 1y unless told' }),
  capacity: sizeField.optional(),
  site: siteField,
  replica: replicaField.optional(),
});
const diskVault = z.strictObject({
  disk: z.string().min(1).meta({ description: 'a directory' }),
  capacity: sizeField.optional().meta({ description: 'what of the disk the vault may fill' }),
  site: siteField,
  replica: replicaField.optional(),
});

const tierField = z.strictObject({
  keep: z
    .union([durationField, z.strictObject({ versions: z.int().min(1) })], {
      error: 'want a duration such as 4w, or {versions: 10}',
    })
    .meta({ description: 'a duration such as 30d, forever, or { versions: 10 }' }),
  class: z
    .enum(['standard', 'infrequent', 'archive-instant', 'archive', 'deep-archive'])
    .optional()
    .meta({ description: 'storage class in S3' }),
  after: durationField.optional().meta({ description: 'archive and deep-archive: moved there when so old; 30d' }),
  every: durationField
    .optional()
    .meta({ description: 'one backup of this tier per period; for names other than hourly … yearly' }),
});

const walField = z.strictObject({
  via: z.enum(['stream', 'archive']),
  keep: durationField.optional(),
  flush: durationField.optional(),
  to: z.array(nameField).min(1).optional(),
});

export const postgresSettings = z.strictObject({
  url: secretText,
  tables: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .meta({ description: 'the whole schema, and the data of these tables only' }),
  mode: z.enum(['dump', 'physical']).optional(),
  jobs: z.int().min(1).max(64).optional().meta({ description: 'dump and restore in parallel, through a directory' }),
  schemaOnly: z.boolean().optional(),
  databases: z.literal('all', { error: 'want all, or leave it out' }).optional(),
  globals: z.boolean().optional().meta({ description: 'roles and tablespaces too' }),
  partial: z.boolean().optional().meta({ description: 'with tables: these tables alone, without the schema around' }),
  fingerprint: z
    .enum(['content', 'counts'])
    .optional()
    .meta({ description: 'content compares every value; counts only the number of rows' }),
  version: z
    .union([z.string(), z.int()], { error: 'want a major version such as 16' })
    .optional()
    .meta({ description: 'major version of the server' }),
  packages: z.array(z.string()).optional(),
  bin: z.string().min(1).optional().meta({ description: 'directory of pg_dump, pg_restore, initdb' }),
  exec: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .meta({ description: 'put before pg_dump and psql, as [docker, exec, -i, db]' }),
  wal: walField.optional(),
});

export const redisSettings = z.strictObject({
  url: secretText,
  aof: z.strictObject({ dir: z.string().min(1), keep: durationField.optional() }).optional(),
});

export const sqliteSettings = z.strictObject({ file: z.string().min(1) });

export const filesSettings = z.strictObject({
  paths: z.array(z.string().min(1)).min(1),
  exclude: z.array(z.string().min(1)).optional(),
  sanitise: z.boolean().optional().meta({ description: 'leaves out *.env, *secret* and keys' }),
  onChange: z.boolean().optional().meta({ description: 'a backup only when something changed' }),
});

const gitSettings = z.strictObject({ repository: secretText });
const rdsSettings = z.looseObject({ instance: z.string().optional(), cluster: z.string().optional() });

const severity = z.enum(['critical', 'high', 'medium']);

const probeName = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,63}$/, { error: 'want letters, digits, dashes and underscores, at most 63' });
const probeField = z.union(
  [
    z.string().min(1),
    z.strictObject({
      query: z.string().min(1),
      expect: z
        .union([z.enum(['equal', 'present']), z.strictObject({ atLeast: z.number() })], {
          error: 'want equal, present or { atLeast: NUMBER }',
        })
        .optional(),
      severity: severity.optional(),
    }),
  ],
  { error: 'want a query, or { query, expect, severity }' },
);

const scheduleField = z.strictObject({
  cron: cronField.optional(),
  every: durationField.optional().meta({ description: 'divides a day, or whole days; counted from midnight' }),
  tier: nameField.optional(),
  tiers: z
    .array(nameField)
    .min(1)
    .optional()
    .meta({ description: 'lowest first; a run belongs to the highest that is due' }),
  to: z.array(nameField).min(1).meta({ description: 'vaults' }),
  kind: z.enum(['full', 'differential']).optional(),
});

const proveField = z.union(
  [
    z.enum(['always', 'never']),
    z.strictObject({
      cron: cronField.optional(),
      with: z
        .union([z.strictObject({ url: secretText }), z.strictObject({ bin: z.string().min(1) })], {
          error: 'want { url: URL } or { bin: DIRECTORY }',
        })
        .optional()
        .meta({ description: 'a PostgreSQL of your own to restore into; redis: the directory of a redis-server' }),
    }),
  ],
  { error: 'want always, never, or { cron, with }' },
);

const sourceField = z.strictObject({
  postgres: postgresSettings.optional(),
  redis: redisSettings.optional(),
  sqlite: sqliteSettings.optional(),
  files: filesSettings.optional(),
  git: gitSettings.optional(),
  rds: rdsSettings.optional(),
  probes: z
    .record(probeName, probeField)
    .optional()
    .meta({ description: 'queries answered in the snapshot and asked again of the restored copy' }),
  schedule: z.array(scheduleField).min(1),
  prove: proveField.optional().meta({ description: 'always unless told' }),
  drill: z.strictObject({ cron: cronField, run: commands.optional() }).optional(),
  afterRestore: commands.optional(),
  objectives: z
    .strictObject({
      rpo: durationField.optional().meta({ description: 'how old the newest proven backup may be' }),
      rto: durationField.optional().meta({ description: 'how long a restore may take' }),
    })
    .optional(),
  before: commands.optional().meta({ description: 'commands before a capture' }),
  after: commands.optional().meta({ description: 'commands after a capture; they always run' }),
  runs: z.enum(['here', 'cloud']).optional(),
  hold: z.boolean().optional().meta({ description: 'nothing of this source is ever removed' }),
});

const channel = z.union(
  [
    z.strictObject({ email: z.string().min(3) }),
    z.strictObject({ slack: secretText }),
    z.strictObject({ sms: z.string().min(3) }),
    z.strictObject({ webhook: secretText }),
    z.strictObject({ sns: z.string().regex(/^arn:[a-z-]+:sns:/, { error: 'want the ARN of a topic' }) }),
  ],
  { error: 'want { email }, { slack }, { sms }, { sns } or { webhook }' },
);

const alertsField = z.strictObject({
  critical: z.array(channel).optional(),
  high: z.array(channel).optional(),
  medium: z.array(channel).optional(),
  routes: z
    .strictObject({
      failed: severity.optional(),
      proof: severity.optional(),
      anomaly: severity.optional(),
      storage: severity.optional(),
      age: severity.optional(),
      replication: severity.optional(),
    })
    .optional()
    .meta({ description: 'which alarm goes to which channels' }),
  heartbeat: secretText.optional().meta({ description: 'a URL that is asked for after each good watch' }),
  storageAbove: percentField.optional(),
  escalateAfter: z
    .int()
    .min(1)
    .optional()
    .meta({ description: 'told so many times, or failed so often, and it goes to the channels above too; 3' }),
  repeatEvery: durationField.optional().meta({ description: 'how often what is still wrong is told again; 1d' }),
  smtp: z
    .strictObject({ url: secretText, from: z.string().min(3).optional() })
    .optional()
    .meta({
      description: 'the mail server, as smtps://user:${SMTP_PASSWORD}@mail.example.com; else the local sendmail',
    }),
});

export const planSchema = z.strictObject({
  version: z.literal(1, { error: 'want 1' }),
  name: nameField.meta({ description: 'of the plan; a vault belongs to one plan' }),
  timezone: z.string().default('UTC').meta({ description: 'of all cron fields and periods, as Europe/Stockholm' }),
  encryption: encryptionField.meta({ description: 'public keys that backups are sealed for, or the single word none' }),
  vaults: named(z.union([diskVault, s3Vault], { error: 'want { disk: PATH } or { s3: BUCKET }' })),
  tiers: named(tierField),
  sources: named(sourceField),
  alerts: alertsField.optional(),
  retain: z.strictObject({ cron: cronField }).optional(),
  kpi: z
    .strictObject({
      success: percentField.optional(),
      full: durationField.optional(),
      lag: durationField.optional(),
      recovery: durationField.optional(),
    })
    .optional(),
  serve: z.strictObject({ listen: z.string().min(1), token: secretText.optional() }).optional(),
  cloud: z
    .strictObject({
      region: z.string().min(1),
      account: z
        .string()
        .regex(/^\d{12}$/, { error: 'want twelve digits in quotes' })
        .optional()
        .meta({ description: 'needed for a replica in another account; else whoever deploys' }),
      workers: named(
        z.strictObject({
          cpu: z
            .union(
              [0.25, 0.5, 1, 2, 4, 8, 16].map((size) => z.literal(size)),
              {
                error: 'want 0.25, 0.5, 1, 2, 4, 8 or 16',
              },
            )
            .optional(),
          memory: sizeField.optional(),
          scratch: sizeField.optional().meta({ description: 'for a whole restored copy; 21GiB to 200GiB' }),
        }),
      )
        .optional()
        .meta({ description: 'size of a source’s tasks, by its name; "default" is of all others' }),
      network: z
        .strictObject({
          vpcId: z.string().optional(),
          subnetIds: z.array(z.string()).optional(),
          securityGroupIds: z.array(z.string()).optional(),
          publicIp: z
            .boolean()
            .optional()
            .meta({ description: 'tasks get a public address: for public subnets, which have no NAT' }),
        })
        .optional(),
      restorers: z.array(z.string()).optional(),
    })
    .optional(),
});

export type Plan = z.output<typeof planSchema>;
export type Source = Plan['sources'][string];
export type Schedule = Source['schedule'][number];
export type Tier = Plan['tiers'][string];
export type VaultSettings = Plan['vaults'][string];
export type Encryption = Plan['encryption'];
export type PostgresSettings = z.output<typeof postgresSettings>;
export type FilesSettings = z.output<typeof filesSettings>;
export type ProbeSettings = z.output<typeof probeField>;

export const ENGINE_NAMES = ['postgres', 'redis', 'sqlite', 'files', 'git', 'rds'] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

/** The engine a source names; the loader has checked that there is exactly one. */
export function engineOf(source: Source): EngineName {
  const named = ENGINE_NAMES.find((name) => source[name] !== undefined);
  if (!named) throw new Error('a source without an engine passed the plan check');
  return named;
}
