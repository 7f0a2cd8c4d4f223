/**
 * Seconds of those that take longest, in a whole run on two processors. They begin first: one that begins last is waited
 * for while the other processors have nothing to do. A number that is no longer true costs seconds, and nothing else.
 */
const SECONDS: Readonly<Record<string, number>> = {
  'test/cloud/lifecycle-year.test.ts': 88,
  'test/cloud/loop.test.ts': 63,
  'test/cloud/synth.test.ts': 55,
  'test/cli/several-vaults.test.ts': 50,
  'test/engines/postgres/under-load.test.ts': 50,
  'test/examples/run.test.ts': 47,
  'test/cli/bad-source.test.ts': 39,
  'test/engines/postgres/contract.test.ts': 37,
  'test/cloud/loop-rights.test.ts': 36,
  'test/cloud/loop-day.test.ts': 35,
  'test/cli/kill.test.ts': 35,
  'test/cli/replicate-kill.test.ts': 34,
  'test/examples/year-genesis.test.ts': 33,
  'test/jobs/watch.test.ts': 31,
  'test/examples/year-chatcard.test.ts': 27,
  'test/engines/postgres/restore.test.ts': 27,
  'test/cli/restore.test.ts': 26,
  'test/cli/retain-kill.test.ts': 26,
  'test/jobs/serve.test.ts': 24,
  'test/cli/thaw.test.ts': 22,
};

export function longestFirst(files: readonly string[]): string[] {
  return files.toSorted((a, b) => (SECONDS[b] ?? 0) - (SECONDS[a] ?? 0) || (a < b ? -1 : 1));
}
