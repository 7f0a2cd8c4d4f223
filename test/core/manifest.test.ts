import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { RecordInvalid } from '#core/errors';
import {
  canonicalJson,
  manifestKey,
  newBackupId,
  readManifest,
  sha256Hex,
  signManifest,
  type UnsignedManifest,
} from '#core/manifest';

const hash = 'a'.repeat(64);

function unsigned(changes: Partial<UnsignedManifest> = {}): UnsignedManifest {
  return {
    format: 1,
    plan: { name: 'p', sha256: hash },
    source: 'events',
    engine: 'postgres',
    identity: { system: '7', database: 'events' },
    tools: { pg_dump: '15.18' },
    id: '20261121T020000Z-7f3a',
    kind: 'full',
    base: null,
    tier: 'daily',
    trigger: { by: 'manual', schedule: '0 2 * * *', scheduledAt: null },
    snapshotAt: '2026-11-21T02:00:01.000Z',
    startedAt: '2026-11-21T02:00:00.000Z',
    finishedAt: '2026-11-21T02:00:09.000Z',
    host: 'h',
    reason: null,
    point: null,
    artifacts: [
      {
        name: 'database.dump',
        volumes: [{ name: 'database.dump.zst.age', bytes: 12, sha256: hash }],
        plain: { bytes: 20, sha256: null },
      },
    ],
    fingerprint: { digest: 'pg1', measures: { rows: 3 }, content: { tables: [] }, sha256: hash },
    probes: [],
    expires: null,
    after: null,
    encryption: { method: 'age', recipients: ['sha256:0123456789abcdef'] },
    lease: 1,
    ledgerHead: null,
    warnings: [],
    restore: { script: 'true' },
    ...changes,
  };
}

describe('manifest v1', () => {
  const manifest = signManifest(unsigned());
  const key = manifestKey(manifest);

  test('what was written is read back', () => {
    assert.deepEqual(readManifest(JSON.stringify(manifest), key), manifest);
    assert.deepEqual(readManifest(JSON.stringify(manifest, null, 3), key), manifest);
  });

  test('I1: a manifest torn at any byte is no backup', () => {
    const text = JSON.stringify(manifest);
    fc.assert(
      fc.property(fc.nat(text.length - 1), (length) => {
        assert.throws(() => readManifest(text.slice(0, length), key), RecordInvalid);
      }),
    );
  });

  test('I15: any value edited by hand is noticed by its own hash', () => {
    const edits: Partial<UnsignedManifest>[] = [
      { host: 'other' },
      { tier: 'weekly' },
      { expires: '2030-01-01T00:00:00.000Z' },
      { warnings: ['x'] },
      { restore: { script: 'rm -rf /' } },
      { snapshotAt: '2026-11-21T03:00:01.000Z' },
    ];
    for (const edit of edits) {
      const edited = { ...manifest, ...edit };
      assert.throws(() => readManifest(JSON.stringify(edited), manifestKey(edited)), /own hash|another/);
    }
  });

  test('one that a newer Holdfast signed with a key of its own is refused, and not called edited', () => {
    const hintOf = (json: object): string => {
      try {
        readManifest(JSON.stringify(json), key);
      } catch (error) {
        assert.ok(error instanceof RecordInvalid);
        return error.hint ?? '';
      }
      return assert.fail('was read');
    };
    const { sha256: _own, ...rest } = { ...manifest, extra: true };
    assert.match(hintOf({ ...rest, sha256: sha256Hex(canonicalJson(rest)) }), /^nobody edited it: a newer Holdfast/);
    assert.match(hintOf({ ...manifest, extra: true }), /^it was edited or damaged/);
  });

  test('a manifest of a newer format says so, and a foreign key in it is refused', () => {
    assert.throws(() => readManifest(JSON.stringify({ ...manifest, format: 2 }), key), /format 2.*reads format 1/);
    assert.throws(() => readManifest(JSON.stringify({ ...manifest, extra: 1 }), key), RecordInvalid);
  });

  test('a whole manifest in the place of another is refused', () => {
    assert.throws(() => readManifest(JSON.stringify(manifest), key.replace('events', 'cache')), /is the manifest of/);
  });

  test('ids with a way out of the vault are refused', () => {
    for (const id of ['../../etc', '20261121T020000Z-7f3a/../x', '', '20261121T020000Z-7F3A'])
      assert.throws(() => readManifest(JSON.stringify(signManifest(unsigned({ id }))), key), RecordInvalid);
    for (const source of ['../x', '.hidden', 'a/b'])
      assert.throws(() => readManifest(JSON.stringify(signManifest(unsigned({ source }))), key), RecordInvalid);
  });

  test('canonical JSON does not depend on the order of keys', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const turned = Object.fromEntries(Object.entries(value).reverse());
        assert.equal(canonicalJson(turned), canonicalJson(value));
        assert.deepEqual(JSON.parse(canonicalJson(value)), JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  test('I3: two runs under different leases never share an id, and ids sort by time', () => {
    const run = { source: 's', schedule: '0 2 * * *', scheduledAt: new Date('2026-11-21T02:00:00Z') };
    const ids = new Set(Array.from({ length: 50 }, (_, lease) => newBackupId({ ...run, lease: lease + 1 })));
    assert.ok(ids.size >= 49, 'four hex digits: a rare collision is caught by create-only puts');
    const later = newBackupId({ ...run, scheduledAt: new Date('2026-11-21T02:00:01Z'), lease: 1 });
    for (const id of ids) assert.ok(id < later);
  });
});
