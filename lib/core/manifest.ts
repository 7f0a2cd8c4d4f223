import { createHash } from 'node:crypto';
import * as z from 'zod';
import { RecordInvalid } from '#core/errors';
import { ENGINE_NAMES } from '#core/plan';

/** Manifest v1 (DESIGN section 4). Frozen once shipped: read by restores years from now. */

export const MANIFEST_LIMIT = 100 * 1024;

const time = z.iso.datetime();
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const bytes = z.int().min(0);

/** One part of a key: no separators, no way up. */
export const keyPart = z
  .string()
  .regex(/^(?!\.)[A-Za-z0-9._-]{1,128}$/, { error: 'want [A-Za-z0-9._-], not beginning with a dot' });
/** `20261121T020000Z-7f3a` */
export const backupId = z
  .string()
  .regex(/^\d{8}T\d{6}Z-[0-9a-f]{4}$/, { error: 'want an id such as 20261121T020000Z-7f3a' });

/** Which source it is, in the engine's terms: another value = another source (wrong database, rebuilt server). */
const identity = z.record(z.string(), z.string());
export type Identity = z.output<typeof identity>;

const probe = z.strictObject({
  name: z.string(),
  query: z.string(),
  expect: z.union([z.enum(['equal', 'present']), z.strictObject({ atLeast: z.number() })]),
  severity: z.enum(['critical', 'high', 'medium']),
  /** Rows as text, in the query's order; null = SQL null. */
  answer: z.array(z.array(z.string().nullable())),
});
/** A query of the user's and its answer in the snapshot. */
export type Probe = z.output<typeof probe>;

const artifact = z.strictObject({
  name: keyPart,
  /** In order; `cat` of them is the sealed artifact. */
  volumes: z.array(z.strictObject({ name: keyPart, bytes, sha256 })).min(1),
  /** Before compression and encryption. `sha256` is null where hashing it would have cost a pass through JavaScript. */
  plain: z.strictObject({ bytes, sha256: sha256.nullable() }),
});
export type Artifact = z.output<typeof artifact>;

const unsigned = z.strictObject({
  format: z.literal(1),
  plan: z.strictObject({ name: z.string(), sha256 }),
  source: keyPart,
  engine: z.enum(ENGINE_NAMES),
  identity,
  tools: z.record(z.string(), z.string()),
  id: backupId,
  kind: z.enum(['full', 'differential', 'log']),
  /** Id of the full that a differential needs. */
  base: backupId.nullable(),
  tier: keyPart,
  trigger: z.strictObject({
    by: z.enum(['schedule', 'manual', 'catch-up']),
    schedule: z.string().nullable(),
    scheduledAt: time.nullable(),
  }),
  snapshotAt: time,
  startedAt: time,
  finishedAt: time,
  host: z.string(),
  reason: z.string().nullable(),
  point: z.string().nullable(),
  artifacts: z.array(artifact).min(1),
  fingerprint: z.strictObject({
    digest: z.string(),
    measures: z.record(z.string(), z.number()),
    /** The engine's own JSON, or null when it is the artifact named `fingerprint.json`. */
    content: z.json().nullable(),
    /** Of the content's JSON text. */
    sha256,
  }),
  probes: z.array(probe),
  /** When the tier's promise ends; null = forever, or counted in versions. */
  expires: time.nullable(),
  /** Transition to a colder class, seconds after the backup; null = none. */
  after: z.number().nullable(),
  encryption: z.strictObject({
    method: z.enum(['age', 'gpg', 'none']),
    /** Public keys by fingerprint: enough to know which identity is needed, of no use to anybody else. */
    recipients: z.array(z.string()),
  }),
  /** Fencing number of the lease it was made under. */
  lease: z.int().min(1),
  ledgerHead: z.strictObject({ seq: z.int().min(0), sha256 }).nullable(),
  warnings: z.array(z.string()),
  restore: z.strictObject({ script: z.string() }),
});

const manifestSchema = unsigned.extend({
  /** Of the canonical JSON of everything else: a manifest that fails it is no backup (I1). */
  sha256,
});

export type Manifest = z.output<typeof manifestSchema>;
export type UnsignedManifest = z.output<typeof unsigned>;

/** JSON with keys sorted at every depth: the same value has the same text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : inner,
  );
}

export function sha256Hex(text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Whether a record carries the right hash of all that is in it: then nobody has edited it, and it came so from its writer. */
export function matchesOwnHash(json: unknown): boolean {
  if (json === null || typeof json !== 'object' || Array.isArray(json)) return false;
  const { sha256: own, ...rest } = json as Record<string, unknown>;
  return own === sha256Hex(canonicalJson(rest));
}

/** Adds the manifest's own hash. */
export function signManifest(manifest: UnsignedManifest): Manifest {
  return { ...manifest, sha256: sha256Hex(canonicalJson(manifest)) };
}

/**
 * Reads a manifest back. `key` is where it lay: a manifest in the place of another is refused.
 * @throws RecordInvalid not JSON, of a newer format, not by the schema, its own hash wrong, or of another source or id
 */
export function readManifest(text: string, key: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new RecordInvalid(`${key} is not JSON`, {
      cause,
      hint: 'it is not counted as a backup; look at it and at the ledger',
    });
  }
  const format = (json as { format?: unknown } | null)?.format;
  if (typeof format === 'number' && format > 1)
    throw new RecordInvalid(`${key} has format ${format}, this Holdfast reads format 1`, {
      hint: 'use a newer Holdfast',
    });
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success)
    throw new RecordInvalid(
      `${key} is not a manifest: ${z.prettifyError(parsed.error).split('\n').slice(0, 3).join(' ')}`,
      {
        hint: matchesOwnHash(json)
          ? 'nobody edited it: a newer Holdfast wrote it, use that one; its restore.script works without any'
          : 'it was edited or damaged and is not counted as a backup; compare another copy of the vault',
      },
    );
  const { sha256: own, ...rest } = parsed.data;
  if (sha256Hex(canonicalJson(rest)) !== own)
    throw new RecordInvalid(`${key} does not match its own hash: it was edited after it was written`, {
      hint: 'compare another copy of the vault; `holdfast ledger verify` tells what else changed',
    });
  const expected = manifestKey(parsed.data);
  if (expected !== key)
    throw new RecordInvalid(`${key} is the manifest of ${expected}`, {
      hint: 'somebody moved it; put it back where it belongs',
    });
  return parsed.data;
}

interface Place {
  readonly source: string;
  readonly tier: string;
  readonly id: string;
}

export function backupFolder({ source, tier, id }: Place): string {
  return `backups/${source}/${tier}/${id}`;
}

export function manifestKey(place: Place): string {
  return `${backupFolder(place)}/manifest.json`;
}

/**
 * `20261121T020000Z-7f3a`: sorts by time; the suffix makes two runs differ even when their time does not, because no
 * two leases of a source share a number.
 */
export function newBackupId(run: {
  readonly source: string;
  readonly schedule: string;
  readonly scheduledAt: Date;
  readonly lease: number;
}): string {
  const stamp = compactTime(run.scheduledAt);
  const suffix = sha256Hex(`${run.source}|${run.schedule}|${run.scheduledAt.toISOString()}|${run.lease}`).slice(0, 4);
  return `${stamp}-${suffix}`;
}

/** The time that an id begins with: the one it was scheduled for, or when it was asked for. */
export function timeOfId(id: string): Date {
  const [, day = '', hour, minute, second] = /^(\d{8})T(\d\d)(\d\d)(\d\d)Z/.exec(id) ?? [];
  return new Date(`${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}T${hour}:${minute}:${second}Z`);
}

/** `20261121T020000Z`, to the second. */
export function compactTime(moment: Date): string {
  return `${moment.toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
}

/** RFC 3339 Z to the second or millisecond, as `--json` and manifests want it. */
export function isoTime(moment: Date): string {
  return moment.toISOString();
}
