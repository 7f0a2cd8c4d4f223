import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { StateUnwritable } from '#core/errors';
import { fileNotes } from '#host/notes';

describe('what a machine notes', () => {
  const state = mkdtempSync(join(tmpdir(), 'holdfast-notes-'));
  after(() => rmSync(state, { recursive: true, force: true }));
  const notes = fileNotes({ HOLDFAST_STATE: state }, 'small');

  test('is read again, by plan, and by nobody else', async () => {
    assert.equal(await notes.read('watch'), null);
    await notes.write('watch', { a: 1 });
    await notes.write('watch', { a: 2 });
    assert.deepEqual(await fileNotes({ HOLDFAST_STATE: state }, 'small').read('watch'), { a: 2 });
    assert.equal(await fileNotes({ HOLDFAST_STATE: state }, 'other').read('watch'), null);
    assert.deepEqual(readdirSync(join(state, 'notes/small')), ['watch.json']);
    assert.equal(statSync(join(state, 'notes/small/watch.json')).mode & 0o777, 0o600);
  });

  test('is nothing when it is damaged', async () => {
    writeFileSync(join(state, 'notes/small/half.json'), '{"a":');
    assert.equal(await notes.read('half'), null);
  });

  test('that it cannot be written is said, with what to do', async () => {
    writeFileSync(join(state, 'file'), '');
    const nowhere = fileNotes({ HOLDFAST_STATE: join(state, 'file') }, 'small');
    await assert.rejects(nowhere.write('watch', {}), (error) => error instanceof StateUnwritable && !!error.hint);
    assert.equal(await nowhere.read('watch'), null);
  });
});
