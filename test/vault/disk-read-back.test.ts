import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Cancelled } from '#core/errors';
import { BEHIND_BYTES, ReadBack } from '#vault/disk-read-back';

const PIECE = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'holdfast-read-back-'));
after(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
async function begun(signal = new AbortController().signal): Promise<{ file: FileHandle; back: ReadBack }> {
  const path = join(folder, String(++files));
  const file = await open(path, 'wx');
  const back = await ReadBack.begin(path, signal);
  assert.ok(back, `${folder} lies on a file system with O_DIRECT`);
  return { file, back };
}

test('I2: what the disk gives back is read while it is written, whole, also past its last page', async () => {
  for (const length of [0, 1, 5000, BEHIND_BYTES, 2 * BEHIND_BYTES + 3 * PIECE + 77]) {
    const { file, back } = await begun();
    const sent = createHash('sha256');
    for (let at = 0; at < length; at += PIECE) {
      const piece = randomBytes(Math.min(PIECE, length - at));
      sent.update(piece);
      await file.write(piece);
      back.written(at + piece.length);
    }
    await file.sync();
    await file.close();
    assert.deepEqual(await back.finish(), { bytes: length, sha256: sent.digest('hex') });
  }
});

test('I2: a byte that the disk changed before it was read back is in the hash, in the first piece and in the last', async () => {
  for (const at of [1234, BEHIND_BYTES + 99]) {
    const { file, back } = await begun();
    const bytes = randomBytes(BEHIND_BYTES + PIECE);
    await file.write(bytes);
    await file.write(Buffer.from([(bytes[at] as number) ^ 1]), 0, 1, at);
    back.written(bytes.length);
    await file.sync();
    await file.close();
    const found = await back.finish();
    assert.equal(found?.bytes, bytes.length);
    assert.notEqual(found?.sha256, createHash('sha256').update(bytes).digest('hex'));
  }
});

test('reading back stops with the run, and lets go of the file when the writer failed', async () => {
  const stop = new AbortController();
  const { file, back } = await begun(stop.signal);
  await file.write(randomBytes(BEHIND_BYTES));
  stop.abort(new Error('got SIGINT'));
  back.written(BEHIND_BYTES);
  await assert.rejects(back.finish(), Cancelled);
  await file.close();
  const second = await begun();
  await second.file.write(randomBytes(2 * BEHIND_BYTES));
  second.back.written(2 * BEHIND_BYTES);
  await second.back.close();
  await second.back.close();
  await second.file.close();
});
