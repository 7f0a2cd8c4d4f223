import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import { createReplyReader, type Reply, ReplyError } from '#engines/redis/resp';

const reply: fc.Arbitrary<Reply> = fc.letrec<{ reply: Reply }>((tie) => ({
  reply: fc.oneof(
    { depthSize: 'small' },
    fc.integer(),
    fc.constant(null),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.string().filter((text) => !/[\r\n]/.test(text)),
    fc
      .string()
      .filter((text) => !/[\r\n]/.test(text))
      .map((text) => new ReplyError(text)),
    fc.array(tie('reply'), { maxLength: 4 }),
  ),
})).reply;

function encode(value: Reply): Buffer {
  if (value === null) return Buffer.from('$-1\r\n');
  if (typeof value === 'number') return Buffer.from(`:${value}\r\n`);
  if (typeof value === 'string') return Buffer.from(`+${value}\r\n`);
  if (value instanceof ReplyError) return Buffer.from(`-${value.message}\r\n`);
  if (Buffer.isBuffer(value)) return Buffer.concat([Buffer.from(`$${value.length}\r\n`), value, Buffer.from('\r\n')]);
  return Buffer.concat([Buffer.from(`*${value.length}\r\n`), ...value.map(encode)]);
}

test('replies come out as they were sent, wherever the bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(reply, { maxLength: 5 }), fc.integer({ min: 1, max: 9 }), (sent, size) => {
      const bytes = Buffer.concat(sent.map(encode));
      const reader = createReplyReader();
      const got: Reply[] = [];
      for (let at = 0; at < bytes.length; at += size) got.push(...reader.push(bytes.subarray(at, at + size)));
      assert.deepEqual(got, sent);
    }),
  );
});

test('what is not RESP is an error, not a reply', () => {
  assert.throws(() => createReplyReader().push(Buffer.from('HTTP/1.1 400 Bad Request\r\n')), /not RESP/);
});
