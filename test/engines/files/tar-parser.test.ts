import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { CaptureIncomplete } from '#core/errors';
import type { TarEntry } from '#engines/files/tar-header';
import { TarParser } from '#engines/files/tar-parser';
import { readTarWords } from '#engines/files/tar-words';
import { endMark, hardLinkMember } from '#engines/files/tar-writer';
import { tarOf } from '#test/engines/files/hand-made';
import { fillOddTree, fillTree, sparse, temporary } from '#test/engines/files/trees';

type Seen = readonly [TarEntry, string | null];

function parse(chunks: Iterable<Buffer>): readonly Seen[] {
  const seen: Seen[] = [];
  const parser = new TarParser({ end: (entry, sha256) => seen.push([entry, sha256]) });
  for (const chunk of chunks) for (let at = parser.push(chunk); at < chunk.length; ) at = parser.push(chunk, at);
  parser.finish();
  return seen;
}

function* pieces(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] as number;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

describe('reading an archive as it flows by', () => {
  const place = temporary('tar-parser');
  let archive: Buffer;

  before(() => {
    const folder = join(place.folder(), 'tree');
    mkdirSync(folder);
    fillTree(folder);
    const odd = join(folder, 'odd');
    mkdirSync(odd);
    fillOddTree(odd);
    for (let extents = 1; extents < 60; extents += 7)
      sparse(
        join(folder, `sparse ${extents}`),
        3_000_000,
        Array.from({ length: extents }, (_, index) => index * 50_000),
      );
    archive = execFileSync('tar', ['-c', '--format=posix', '--sparse', '-C', join(folder, '..'), 'tree'], {
      maxBuffer: 1 << 28,
    });
  });
  after(() => place.remove());

  test('wherever it is cut into pieces, the members and their hashes are the same', () => {
    const expected = parse([archive]);
    assert.ok(expected.length > 250);
    assert.ok(expected.some(([entry]) => entry.sparse));
    const sizes = fc.array(
      fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.constantFrom(511, 512, 513, 65_536, 1_000_000)),
      {
        minLength: 1,
        maxLength: 20,
      },
    );
    fc.assert(
      fc.property(sizes, (some) => assert.deepEqual(parse(pieces(archive, some)), expected)),
      { numRuns: 25 },
    );
  });

  test('cut off anywhere, it is never whole', () => {
    const small = tarOf([
      { name: 'a', body: 'x'.repeat(700), pax: { mtime: '1.5' } },
      { name: 'b', body: '' },
    ]);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: small.length - 513 }), (length) => {
        assert.throws(() => parse([small.subarray(0, length)]), CaptureIncomplete);
      }),
      { numRuns: 300 },
    );
    assert.equal(parse([small]).length, 2);
  });

  test('a changed header is noticed', () => {
    const small = tarOf([{ name: 'a', body: 'x' }]);
    for (const at of [0, 100, 130, 156, 300, 511]) {
      const changed = Buffer.from(small);
      changed[at] = (changed[at] as number) ^ 1;
      assert.throws(() => parse([changed]), `byte ${at}`);
    }
  });

  test('a file beyond 8 GiB, where tar’s own size field ends', () => {
    const file = join(place.folder(), 'image');
    const size = 9 * 2 ** 30 + 1;
    writeFileSync(file, '');
    truncateSync(file, size);
    const entries: TarEntry[] = [];
    const parser = new TarParser({ end: (entry) => entries.push(entry) }, false);
    parser.push(execFileSync('tar', ['-c', '--format=posix', '--sparse', '-C', join(file, '..'), 'image']));
    parser.finish();
    assert.equal(entries[0]?.size, size);
    let begun: TarEntry | null = null;
    const whole = new TarParser({
      begin: (entry) => {
        begun = entry;
      },
      end: () => assert.fail('its content has not come'),
    });
    whole.push(tarOf([{ name: 'image', pax: { size: String(size) } }], false));
    assert.equal((begun as TarEntry | null)?.stored, size);
    assert.throws(() => whole.finish(), CaptureIncomplete);
  });

  test('a hard link that Holdfast writes is read back as it was meant, by Holdfast and by tar', () => {
    const bytes = fc
      .uint8Array({ minLength: 1, maxLength: 300 })
      .map((array) => Buffer.from(array.map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte))).toString('latin1'));
    fc.assert(
      fc.property(bytes, bytes, fc.integer({ min: 0, max: 2 ** 40 }), (path, target, uid) => {
        const head = { path: target, mode: 0o4755, uid, gid: 5, mtime: '-1.25' } as TarEntry;
        const member = hardLinkMember(path, head);
        const [seen] = parse([Buffer.concat([member, endMark(member.length)])]);
        assert.deepEqual(
          { ...seen?.[0] },
          { ...head, path, kind: 'hard', target, size: 0, stored: 0, sparse: false, device: null },
        );
      }),
    );
    const member = hardLinkMember('b', { path: 'a', mode: 0o644, uid: 1, gid: 2, mtime: '1' } as TarEntry);
    const listed = execFileSync('tar', ['-tv', '--numeric-owner'], {
      input: Buffer.concat([member, endMark(member.length)]),
      encoding: 'utf8',
    });
    assert.match(listed, /^hrw-r--r-- 1\/2 .* b link to a\n$/);
  });

  test('tar’s words are told apart', () => {
    const words = readTarWords(
      [
        'tar: a\\nb\\303\\251\\\\c: file changed as we read it',
        'tar: é: File shrank by 12 bytes; padding with zeros',
        '/usr/bin/tar: gone: Cannot stat: No such file or directory',
        'tar: gone too: File removed before we read it',
        'tar: was a directory/gone: Cannot stat: Not a directory',
        'tar: x: Cannot open: Permission denied',
        'tar: y: Read error at byte 0, while reading 512 bytes: Input/output error',
        'tar: Exiting with failure status due to previous errors',
        '',
      ].join('\n'),
    );
    assert.deepEqual(words, {
      changed: ['a\nb\xc3\xa9\\c', '\xc3\xa9'],
      vanished: 3,
      others: [
        'x: Cannot open: Permission denied',
        'y: Read error at byte 0, while reading 512 bytes: Input/output error',
      ],
      cut: false,
    });
  });
});
