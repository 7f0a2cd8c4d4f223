import * as z from 'zod';
import { durationField } from '#core/duration';
import { sizeField } from '#core/size';

/**
 * The plan's shape (DESIGN section 9): fixed; add to it, rename nothing. Every object is strict, so a typing error is
 * an error and not a default. What a later version fills is accepted here and refused by `core/plan-support`.
 */

/** Names become parts of keys and file names. */
const nameField = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, { error: 'want lower-case letters, digits and dashes, at most 63' });

/** `${NAME}` and `${secret:ARN#field}` may stand in it; resolved late, never logged. */
const secretText = z.string().min(1).meta({ description: 'may contain ${NAME}, taken from the environment' });

const percentField = z
  .string()
  .regex(/^\d{1,3}(?:\.\d+)?%$/, { error: 'want a percentage such as 80%' })
  .transform((text) => Number(text.slice(0, -1)) / 100);

const commands = z.array(z.string().min(1));

const encryptionField = z.union(
  [
    z.literal('none'),
    z.strictObject({
      recipients: z.array(z.string().min(1)).min(1).meta({ description: 'age1…, ssh-ed25519 …, or "gpg:ID"' }),
      identity: z
        .union(
          [
            z.strictObject({ file: z.string().min(1) }),
            z.strictObject({ env: z.string().min(1) }),
            z.strictObject({ secret: z.string().min(1) }),
          ],
          { error: 'want { file: PATH }, { env: NAME } or { secret: ARN }' },
        )
        .optional(),
    }),
  ],
  { error: 'want { recipients: [age1…], identity: { file: PATH } } or the single word none' },
);

const s3Vault = z.strictObject({
  s3: z.string().min(3),
  prefix: z.string().optional(),
  region: z.string().optional(),
  endpoint: z.url().optional(),
  accessKeyId: secretText.optional(),
  secretAccessKey: secretText.optional(),
  sse: z.enum(['AES256', 'kms']).optional(),
  existing: z.boolean().optional(),
  lock: z.enum(['governance', 'compliance']).optional(),
  lockFor: durationField.optional(),
  capacity: sizeField.optional(),
  replica: z
    .strictObject({
      region: z.string().optional(),
      account: z.string().optional(),
      vault: nameField.optional(),
      lag: durationField.optional(),
      concurrent: z.int().min(1).max(64).optional(),
    })
    .optional(),
});
const diskVault = z.strictObject({
  disk: z.string().min(1),
  capacity: sizeField.optional(),
  replica: s3Vault.shape.replica,
});

const tierField = z.strictObject({
  keep: z.union([durationField, z.strictObject({ versions: z.int().min(1) })], {
    error: 'want a duration such as 4w, or {versions: 10}',
  }),
  class: z.enum(['standard', 'infrequent', 'archive-instant', 'archive', 'deep-archive']).optional(),
  after: durationField.optional(),
  every: durationField.optional(),
});

const walField = z.strictObject({
  via: z.enum(['stream', 'archive']),
  keep: durationField.optional(),
  flush: durationField.optional(),
  to: z.array(nameField).min(1).optional(),
});

export const postgresSettings = z.strictObject({
  url: secretText,
  tables: z.array(z.string().min(1)).min(1).optional(),
  mode: z.enum(['dump', 'physical']).optional(),
  jobs: z.int().min(1).max(64).optional(),
  schemaOnly: z.boolean().optional(),
  databases: z.literal('all').optional(),
  globals: z.boolean().optional(),
  partial: z.boolean().optional(),
  fingerprint: z.enum(['content', 'counts']).optional(),
  version: z.union([z.string(), z.int()]).optional(),
  packages: z.array(z.string()).optional(),
  bin: z.string().optional(),
  exec: z.array(z.string().min(1)).min(1).optional(),
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
  sanitise: z.boolean().optional(),
  onChange: z.boolean().optional(),
});

const gitSettings = z.strictObject({ repository: secretText });
const rdsSettings = z.looseObject({ instance: z.string().optional(), cluster: z.string().optional() });

const severity = z.enum(['critical', 'high', 'medium']);

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
  cron: z.string().min(1).optional(),
  every: durationField.optional(),
  tier: nameField.optional(),
  tiers: z.array(nameField).min(1).optional(),
  to: z.array(nameField).min(1),
  kind: z.enum(['full', 'differential']).optional(),
});

const proveField = z.union(
  [
    z.enum(['always', 'never']),
    z.strictObject({
      cron: z.string().min(1).optional(),
      with: z
        .union([z.strictObject({ url: secretText }), z.strictObject({ bin: z.string().min(1) })], {
          error: 'want { url: URL } or { bin: DIRECTORY }',
        })
        .optional(),
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
  probes: z.record(nameField.or(z.string().regex(/^[A-Za-z0-9_-]{1,63}$/)), probeField).optional(),
  schedule: z.array(scheduleField).min(1),
  prove: proveField.optional(),
  drill: z.strictObject({ cron: z.string().min(1), run: commands.optional() }).optional(),
  afterRestore: commands.optional(),
  objectives: z.strictObject({ rpo: durationField.optional(), rto: durationField.optional() }).optional(),
  before: commands.optional(),
  after: commands.optional(),
  runs: z.enum(['here', 'cloud']).optional(),
  hold: z.boolean().optional(),
});

const channel = z.union(
  [
    z.strictObject({ email: z.string().min(3) }),
    z.strictObject({ slack: secretText }),
    z.strictObject({ sms: z.string().min(3) }),
    z.strictObject({ webhook: secretText }),
  ],
  { error: 'want { email }, { slack }, { sms } or { webhook }' },
);

const alertsField = z.strictObject({
  critical: z.array(channel).optional(),
  high: z.array(channel).optional(),
  medium: z.array(channel).optional(),
  routes: z.record(z.enum(['failed', 'proof', 'anomaly', 'storage', 'age', 'replication']), severity).optional(),
  heartbeat: secretText.optional(),
  storageAbove: percentField.optional(),
  escalateAfter: z.int().min(1).optional(),
});

export const planSchema = z.strictObject({
  version: z.literal(1, { error: 'want 1' }),
  name: nameField,
  timezone: z.string().default('UTC'),
  encryption: encryptionField,
  vaults: z.record(nameField, z.union([diskVault, s3Vault], { error: 'want { disk: PATH } or { s3: BUCKET }' })),
  tiers: z.record(nameField, tierField),
  sources: z.record(nameField, sourceField),
  alerts: alertsField.optional(),
  retain: z.strictObject({ cron: z.string().min(1) }).optional(),
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
      network: z
        .strictObject({
          vpcId: z.string().optional(),
          subnetIds: z.array(z.string()).optional(),
          securityGroupIds: z.array(z.string()).optional(),
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
export type RedisSettings = z.output<typeof redisSettings>;
export type SqliteSettings = z.output<typeof sqliteSettings>;
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
