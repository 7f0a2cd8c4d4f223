import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NotThereYet } from '#core/errors';
import type { StreamingEngine } from '#core/ports';
import { files } from '#engines/files/engine';
import { postgres } from '#engines/postgres/engine';
import { redis } from '#engines/redis/engine';
import { sqlite } from '#engines/sqlite/engine';
import { engineNamed } from '#host/engines';

test('an engine that is loaded at its first use has all that the real one has', () => {
  for (const real of [files, postgres, redis, sqlite] as readonly StreamingEngine[])
    assert.deepEqual(Object.keys(engineNamed(real.name)).sort(), Object.keys(real).sort(), real.name);
});

test('an engine that a later version brings is said to be that', () => {
  assert.throws(() => engineNamed('git'), NotThereYet);
});
