import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import type { HoldfastError } from '#core/errors';
import { clientArguments, clientEnvironment, parseAddress, printable } from '#engines/redis/address';

test('a url becomes arguments, and its password an environment variable', () => {
  const address = parseAddress(
    'rediss://ann:p%40ss%2F%25@cache.example:6380/2?cacert=%2Fetc%2Fca.crt&sni=other&insecure=true',
  );
  assert.deepEqual(clientArguments(address), [
    ...['-h', 'cache.example', '-p', '6380', '--user', 'ann', '--tls', '--cacert', '/etc/ca.crt', '--sni', 'other'],
    '--insecure',
  ]);
  assert.equal(clientEnvironment(address)['REDISCLI_AUTH'], 'p@ss/%');
  assert.equal(address.database, 2);
  assert.equal(printable(address), 'rediss://cache.example:6380');
});

test("what a url leaves out has Redis's own defaults", () => {
  assert.deepEqual(clientArguments(parseAddress('redis://')), ['-h', '127.0.0.1', '-p', '6379']);
  assert.deepEqual(clientArguments(parseAddress('valkey://:pw@[::1]/')), ['-h', '::1', '-p', '6379']);
  assert.equal(printable(parseAddress('redis://[::1]:7000')), 'redis://[::1]:7000');
  assert.deepEqual(clientArguments(parseAddress('unix:///run/redis/redis.sock')), ['-s', '/run/redis/redis.sock']);
  assert.deepEqual(clientEnvironment(parseAddress('redis://host')), {});
});

test('any user and password come back, and are printed nowhere', () => {
  const word = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => encodable(text));
  fc.assert(
    fc.property(word, word, (user, password) => {
      const address = parseAddress(`redis://${encodeURIComponent(user)}:${encodeURIComponent(password)}@h:1`);
      assert.equal(address.user, user);
      assert.equal(address.password, password);
      assert.equal(printable(address), 'redis://h:1');
    }),
  );
});

test('I7: a url that cannot be read is told without its password', () => {
  for (const url of [
    'http://u:geheim@host',
    'u:geheim@host',
    'redis://u:geheim@host:99999',
    'redis://u:geheim@host/three',
    'redis://u:geheim%zz@host',
    'redis://u:geheim@host?tls=1',
    'unix://u:geheim@relative/path',
    'redis://u:geheim@host:port',
  ])
    assert.throws(
      () => parseAddress(url),
      (error: HoldfastError) => {
        assert.equal(error.code, 'plan-invalid', url);
        assert.ok(!`${error.message} ${error.hint}`.includes('geheim'), error.message);
        assert.notEqual(error.hint, null);
        return true;
      },
      url,
    );
});

function encodable(text: string): boolean {
  return text.isWellFormed();
}
