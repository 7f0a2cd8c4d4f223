import { fileIntents } from '#host/intents';
import { withHooks } from '#jobs/hooks';
import { openRun } from '#test/contracts/run-context';
import { filesSource } from '#test/engines/files/trees';

/** A run that its test kills: `hook-victim STATE FOLDER`. Says `captured` on stdout when it is between the hooks. */
const [state, folder] = process.argv.slice(2) as [string, string];
const { run } = await openRun();
const source = filesSource({ paths: [folder] }, { before: ['echo stopped >> log'], after: ['echo started >> log'] });
const intents = fileIntents({ ...process.env, HOLDFAST_STATE: state }, 'test', folder);
await withHooks(source, { run, intents }, async () => {
  process.stdout.write(`captured ${run.scratch}\n`);
  await new Promise((resolve) => setTimeout(resolve, 60_000));
});
