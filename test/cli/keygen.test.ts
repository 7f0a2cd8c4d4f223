import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Place } from '#test/cli/holdfast';

describe('holdfast keygen', () => {
  const place = new Place();
  after(() => place.remove());

  test('writes a key for its owner alone, prints its public key and a recovery sheet, never the secret', async () => {
    const run = await place.run('keygen', '--out', 'holdfast.key');
    assert.equal(run.code, 0, run.stderr);
    const file = place.path('holdfast.key');
    const secret = /AGE-SECRET-KEY-1\w+/.exec(readFileSync(file, 'utf8'))?.[0] ?? assert.fail('no secret key');
    const publicKey = execFileSync('age-keygen', ['-y', file], { encoding: 'utf8' }).trim();
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.ok(run.stdout.includes(publicKey));
    assert.match(run.stdout, /RECOVERY SHEET[\s\S]*second key/);
    assert.ok(!(run.stdout + run.stderr).includes(secret));
  });

  test('--json gives the file and the public key', async () => {
    const run = await place.run('keygen', '--out', 'json.key', '--json');
    const { result } = run.json() as { result: { file: string; publicKey: string } };
    assert.equal(result.file, place.path('json.key'));
    assert.match(result.publicKey, /^age1[0-9a-z]+$/);
  });

  test('never overwrites a key: exit 2, and the old one still opens', async () => {
    const file = place.path('kept.key');
    await place.run('keygen', '--out', 'kept.key');
    const before = readFileSync(file, 'utf8');
    const run = await place.run('keygen', '--out', 'kept.key', '--json');
    assert.deepEqual([run.code, run.json().error?.code], [2, 'usage']);
    assert.match(run.json().error?.message ?? '', /kept\.key.*never overwritten/);
    assert.equal(readFileSync(file, 'utf8'), before);
    rmSync(file);
  });

  test('wrong input: no --out, or a directory that is not there, is exit 2 and says what is wanted', async () => {
    assert.equal((await place.run('keygen')).code, 2);
    const run = await place.run('keygen', '--out', join('absent', 'x.key'));
    assert.equal(run.code, 2);
    assert.match(run.stderr, /absent[\s\S]*hint: .*directory that exists/);
  });
});
