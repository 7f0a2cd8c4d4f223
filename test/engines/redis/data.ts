import { randomBytes } from 'node:crypto';
import { write } from '#test/engines/redis/contents';
import type { RedisServer } from '#test/servers/redis';

/** Too short and too random for the RDB's own compression. */
export const MARKER = 'mk-7Qz9vK2xWf4';

/** Every type, in its small and its large encoding, several databases, times to live, consumer groups, a function. */
export async function fillWithEverything(server: RedisServer): Promise<void> {
  const many = (count: number, make: (index: number) => readonly string[]): readonly string[] =>
    Array.from({ length: count }, (_, index) => make(index)).flat();
  const inHours = (hours: number): string => String(Date.now() + hours * 3_600_000);
  await write(server, [
    ['SET', 'marker', MARKER],
    ['SET', 'number', '12345'],
    ['SET', 'empty', ''],
    ['SET', 'big', randomBytes(300_000)],
    ['SET', 'text', 'lorem ipsum '.repeat(2000)],
    ['SETBIT', 'bits', '100000', '1'],
    ['PFADD', 'hyperloglog', ...many(500, (index) => [`visitor${index}`])],
    ['RPUSH', 'list', 'a', 'b', 'c'],
    ['RPUSH', 'long-list', ...many(2000, (index) => [`item${index}`])],
    ['SADD', 'numbers', '1', '2', '3'],
    ['SADD', 'set', ...many(1000, (index) => [`member-${index}`])],
    ['ZADD', 'zset', '1.5', 'one', '-inf', 'low', '+inf', 'high'],
    ['ZADD', 'long-zset', ...many(1000, (index) => [String(index / 7), `member${index}`])],
    ['GEOADD', 'places', '18.07', '59.33', 'Stockholm'],
    ['HSET', 'hash', 'field', 'value', 'other', ''],
    ['HSET', 'long-hash', ...many(1000, (index) => [`field${index}`, `value${index}`])],
    ['XADD', 'stream', '1-1', 'a', '1', 'b', '2'],
    ['XADD', 'stream', '1-2', 'a', '3'],
    ['XADD', 'stream', '2-0', 'c', '4'],
    ['XGROUP', 'CREATE', 'stream', 'workers', '0'],
    ['XREADGROUP', 'GROUP', 'workers', 'anna', 'COUNT', '2', 'STREAMS', 'stream', '>'],
    ['XDEL', 'stream', '2-0'],
    ['SET', 'session', 'x'],
    ['PEXPIREAT', 'session', inHours(5)],
    ['HSET', 'expiring-hash', 'a', 'b'],
    ['PEXPIREAT', 'expiring-hash', inHours(30)],
    ['FUNCTION', 'LOAD', "#!lua name=mylib\nredis.register_function('answer', function() return 42 end)"],
    ['SELECT', '3'],
    ['SET', 'in-three', 'x'],
    ['RPUSH', 'list', 'other'],
    ['SELECT', '15'],
    ['SET', 'in-fifteen', 'y', 'EX', '86400'],
  ]);
}

/** Names and values no text is. */
export async function fillWithOddNames(server: RedisServer): Promise<void> {
  const names = [
    Buffer.from([0, 1, 2, 255]),
    'with "quotes" and \'quotes\'',
    'with\r\nlines',
    'ünï çødé 键 🗝',
    '',
    ' ',
    '-n',
    '*',
    'select',
    '$(touch /tmp/x)',
    'x'.repeat(5000),
  ];
  await write(server, [
    ...names.map((name) => ['SET', name, 'v']),
    ...names.map((name) => ['HSET', 'hash', name, name]),
    ...names.map((name) => ['SADD', 'set', name]),
    ...names.map((name) => ['RPUSH', 'list', name]),
    ...names.map((name, index) => ['ZADD', 'zset', String(index), name]),
    ...names.map((name, index) => ['XADD', 'stream', `1-${index + 1}`, name, name]),
  ]);
}
