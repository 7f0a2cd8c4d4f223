import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { sqlite } from '#engines/sqlite/engine';
import { createProcesses } from '#host/processes';
import { openRun } from '#test/contracts/run-context';
import { sourceOf } from '#test/engines/sqlite/databases';

/** A Holdfast that captures FILE with its scratch below FOLDER, to be killed: capturer.ts FILE FOLDER */
const [file = '', folder = ''] = process.argv.slice(2);
const { run } = await openRun();
const scratch = join(folder, 'scratch');
mkdirSync(scratch);
const capturing = sqlite.capture(sourceOf(file), {
  ...run,
  scratch,
  processes: createProcesses(process.env, run.signal, scratch),
});
console.log('ready');
await capturing;
