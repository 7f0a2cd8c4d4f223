import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { cannotLoad } from '#engines/redis/rdb-version';

type Server = Parameters<typeof cannotLoad>[0];
const redis = (version: string): Server => ({ flavour: 'redis', version });
const valkey = (version: string): Server => ({ flavour: 'valkey', version });

test('a server reads what it or an older one of its kind wrote', () => {
  for (const [writer, reader] of [
    [redis('7.0.15'), redis('7.0.1')],
    [redis('6.2.7'), redis('7.0.15')],
    [redis('7.2.4'), valkey('8.1.0')],
    [valkey('8.0.1'), redis('7.2.4')],
    [valkey('8.1.0'), valkey('9.0.0')],
  ] as const)
    assert.equal(cannotLoad(writer, reader), false, JSON.stringify([writer, reader]));
});

test("a newer one's, or the other project's new one's, it does not", () => {
  for (const [writer, reader] of [
    [redis('7.2.0'), redis('7.0.15')],
    [redis('8.6.0'), redis('7.4.0')],
    [redis('7.4.0'), valkey('9.0.0')],
    [valkey('9.0.0'), redis('8.6.0')],
    [valkey('9.0.0'), valkey('8.1.0')],
  ] as const)
    assert.equal(cannotLoad(writer, reader), true, JSON.stringify([writer, reader]));
});

test('of versions not known here nothing is said', () => {
  assert.equal(cannotLoad(redis('unknown'), redis('7.0.15')), null);
  assert.equal(cannotLoad(redis('3.2.1'), redis('7.0.15')), null);
});
