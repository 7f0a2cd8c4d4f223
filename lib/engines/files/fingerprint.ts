import * as z from 'zod';
import { RecordInvalid } from '#core/errors';

export const DIGEST = 'files1';
export const TREE = 'tree.tar';
export const INDEX = 'index.jsonl';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.int().min(0);

/** `files1`: what the tree held, as the archive's own bytes say. */
const fingerprintSchema = z.strictObject({
  /** Directory that names in the archive are relative to. */
  base: z.string(),
  /** Members of the archive, lines of the index. */
  entries: count,
  /** Names of regular files, hard links included. */
  files: count,
  /** Their sizes, holes included, each hard-linked file once. */
  bytes: count,
  /** Bytes of the archive: what unpacking needs, holes not counted. */
  archive: count,
  devices: count,
  /** Of `index.jsonl`. */
  index: sha256,
  /** Of paths, kinds, modes, owners, sizes, contents and link targets: equal = unchanged, whatever the times say. */
  content: sha256,
});

export type FilesFingerprint = z.output<typeof fingerprintSchema>;

/** @throws RecordInvalid */
export function readFingerprint(value: unknown): FilesFingerprint {
  const parsed = fingerprintSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new RecordInvalid(`the fingerprint is not one of ${DIGEST}: ${z.prettifyError(parsed.error).split('\n')[0]}`, {
    hint: 'the manifest is of another engine or was altered',
  });
}
