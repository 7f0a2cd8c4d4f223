import { strict as assert } from 'node:assert';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError } from '#core/errors';
import { canonicalJson } from '#core/manifest';
import type { CheckLine } from '#core/ports';

export async function lines(check: AsyncIterable<CheckLine>): Promise<readonly CheckLine[]> {
  const all: CheckLine[] = [];
  for await (const line of check) all.push(line);
  return all;
}

/** Files below scratch; the notes of service pids are the host's. */
export async function leftIn(scratch: string): Promise<readonly string[]> {
  const entries = await readdir(scratch, { recursive: true, withFileTypes: true });
  return entries.map((entry) => join(entry.parentPath, entry.name)).filter((path) => path !== join(scratch, 'pids'));
}

/** Either the load says that the backup is bad, or the comparison does. */
export async function neverGreen(work: () => Promise<readonly string[]>): Promise<void> {
  let found: readonly string[];
  try {
    found = await work();
  } catch (error) {
    withCode('disproven')(error);
    return;
  }
  assert.notDeepEqual(found, [], 'a damaged backup was called equal');
}

export function isToldToPeople(error: unknown): true {
  if (!(error instanceof HoldfastError)) throw error;
  assert.notEqual(error.message, '');
  return true;
}

export function withCode(code: string): (error: unknown) => true {
  return (error) => {
    isToldToPeople(error);
    assert.equal((error as HoldfastError).code, code, (error as HoldfastError).message);
    return true;
  };
}

/** Everything a failure says: its message, hint, stderr, and those of its causes. */
export async function words(work: () => Promise<unknown>): Promise<readonly string[]> {
  const thrown = await work().then(
    () => assert.fail('was expected to fail'),
    (error: unknown) => error,
  );
  const said: string[] = [];
  for (let at = thrown; at instanceof Error; at = at.cause)
    said.push(at.message, canonicalJson({ ...at }), at.stack ?? '');
  return said;
}
