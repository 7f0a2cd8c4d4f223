import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Artifact } from '#core/manifest';
import { restoreScript } from '#core/restore-script';

/** Run by a real sh over real zstd: what stands in every manifest must not lie about a stage that failed. */
describe('the restore script of a manifest', () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-script-'));
  const place = { source: 'app', tier: 'daily', id: '20261121T020000Z-7f3a', engine: 'sqlite' as const };
  const folder = join(directory, 'vault', 'backups', 'app', 'daily', place.id);
  let artifact: Artifact;
  const sealed = (): Buffer => execFileSync('zstd', ['-q', '-c'], { input: 'plain bytes '.repeat(10_000) });
  const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

  before(() => {
    mkdirSync(folder, { recursive: true });
    const bytes = sealed();
    const half = bytes.length >> 1;
    const parts = [bytes.subarray(0, half), bytes.subarray(half)];
    const volumes = parts.map((part, index) => {
      const name = index === 0 ? 'data.zst' : `data.zst.00${index + 1}`;
      writeFileSync(join(folder, name), part);
      return { name, bytes: part.length, sha256: sha256(part) };
    });
    artifact = { name: 'data', volumes, plain: { bytes: 120_000, sha256: null } };
  });
  after(() => rmSync(directory, { recursive: true }));

  const run = (text: string): { status: number | null; stderr: string } => {
    const file = join(directory, 'restore.sh');
    writeFileSync(file, text);
    return spawnSync('sh', ['-eu', file], {
      env: { PATH: process.env['PATH'] ?? '', VAULT: join(directory, 'vault'), TARGET: join(directory, 'out') },
      encoding: 'utf8',
    });
  };
  const script = (body = 'plain data > "$TARGET"'): string =>
    restoreScript({ ...place, encryption: { method: 'none' } }, [artifact], body);

  test('I6: puts the volumes together and gives the plain bytes', () => {
    const ran = run(script());
    assert.equal(ran.status, 0, ran.stderr);
    assert.equal(readFileSync(join(directory, 'out'), 'utf8'), 'plain bytes '.repeat(10_000));
  });

  test('a volume with another byte stops it before anything is written', () => {
    const file = join(folder, 'data.zst.002');
    const bytes = readFileSync(file);
    writeFileSync(
      file,
      Buffer.concat([bytes.subarray(0, 5), Buffer.from([(bytes[5] as number) ^ 1]), bytes.subarray(6)]),
    );
    rmSync(join(directory, 'out'), { force: true });
    const ran = run(script());
    assert.notEqual(ran.status, 0);
    assert.match(ran.stderr, /data\.zst\.002/);
    assert.throws(() => readFileSync(join(directory, 'out')));
    writeFileSync(file, bytes);
  });

  test('I2: a stage that fails in the middle of the pipe fails the script, though the last one is content', () => {
    const [first] = artifact.volumes;
    assert.ok(first);
    const torn = readFileSync(join(folder, first.name)).subarray(0, 20);
    writeFileSync(join(folder, 'torn.zst'), torn);
    const broken: Artifact = { ...artifact, volumes: [{ name: 'torn.zst', bytes: 20, sha256: sha256(torn) }] };
    const ran = run(
      restoreScript({ ...place, encryption: { method: 'none' } }, [broken], 'plain data | cat > "$TARGET"'),
    );
    assert.equal(ran.status, 1);
    assert.match(ran.stderr, /failed: zstd/);
  });

  test('the absence of VAULT or TARGET is said', () => {
    const file = join(directory, 'restore.sh');
    writeFileSync(file, script());
    const ran = spawnSync('sh', ['-eu', file], { env: { PATH: process.env['PATH'] ?? '' }, encoding: 'utf8' });
    assert.notEqual(ran.status, 0);
    assert.match(ran.stderr, /VAULT/);
  });
});
