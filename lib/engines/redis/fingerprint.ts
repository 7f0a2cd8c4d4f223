import * as z from 'zod';
import { RecordInvalid } from '#core/errors';

/** Name of this definition; another meaning needs another name. */
export const DIGEST = 'redis1';

const count = z.int().min(0);

/**
 * What the server held in the snapshot that was backed up. The RDB *is* the snapshot, written by the server itself, so
 * its hash stands for the content, and the counts say in words what must come back.
 */
const fingerprintSchema = z.strictObject({
  rdb: z.strictObject({
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
    bytes: count,
    magic: z.enum(['REDIS', 'VALKEY']),
    version: count,
  }),
  server: z.strictObject({ flavour: z.enum(['redis', 'valkey']), version: z.string() }),
  modules: z.array(z.string()),
  /** Memory it took there; what a scratch server will need. Null when the RDB does not say. */
  usedMemory: count.nullable(),
  /** Null when the redis-check-rdb of the day could not read this RDB version: only its transfer was checked. */
  keys: z
    .strictObject({
      read: count,
      expires: count,
      /** Of them over at the time of the check; they are in the RDB all the same. */
      expired: count,
      /** Null when the RDB does not count its databases. */
      databases: z.array(z.strictObject({ index: count, keys: count, expires: count })).nullable(),
    })
    .nullable(),
});

export type Fingerprint = z.output<typeof fingerprintSchema>;

/** @throws RecordInvalid */
export function readFingerprint(value: unknown): Fingerprint {
  const parsed = fingerprintSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new RecordInvalid(`the fingerprint is not a ${DIGEST}: ${z.prettifyError(parsed.error).split('\n')[0]}`, {
    hint: 'the manifest was edited, or is of another engine or a newer Holdfast',
  });
}
