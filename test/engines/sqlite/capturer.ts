import { sqlite } from '#engines/sqlite/engine';
import { openRun } from '#test/contracts/run-context';
import { sourceOf } from '#test/engines/sqlite/databases';

/** A Holdfast that captures FILE with its scratch below FOLDER, to be killed: capturer.ts FILE FOLDER */
const [file = '', folder = ''] = process.argv.slice(2);
// Killed, it cannot remove its scratch directory: it goes with the folder.
process.env['TMPDIR'] = folder;
const { run } = await openRun();
const capturing = sqlite.capture(sourceOf(file), run);
console.log('ready');
await capturing;
