/**
 * Seconds of those that take longest, alone on two processors. They begin first: one that begins last is waited for while
 * the other processors have nothing to do. A number that is no longer true costs seconds, and nothing else.
 */
const SECONDS: Readonly<Record<string, number>> = {
  'test/cloud/lifecycle-year.test.ts': 80,
  'test/cloud/synth.test.ts': 60,
  'test/cloud/loop.test.ts': 54,
  'test/engines/postgres/under-load.test.ts': 52,
  'test/cli/kill.test.ts': 51,
  'test/cli/several-vaults.test.ts': 48,
  'test/examples/year-genesis.test.ts': 46,
  'test/examples/run.test.ts': 45,
  'test/engines/postgres/contract.test.ts': 41,
  'test/cli/bad-source.test.ts': 39,
  'test/cli/busy.test.ts': 38,
  'test/cloud/loop-replicate.test.ts': 37,
  'test/engines/sqlite/contract.test.ts': 36,
  'test/cli/replicate-kill.test.ts': 35,
  'test/examples/year-chatcard.test.ts': 33,
  'test/jobs/watch.test.ts': 30,
  'test/cli/retain-kill.test.ts': 29,
};

export function longestFirst(files: readonly string[]): string[] {
  return files.toSorted((a, b) => (SECONDS[b] ?? 0) - (SECONDS[a] ?? 0) || (a < b ? -1 : 1));
}
