import { strict as assert } from 'node:assert';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { conninfo, parseAddress, printable } from '#engines/postgres/address';
import { parseCsv } from '#engines/postgres/csv';
import type { SequencePrint } from '#engines/postgres/fingerprint';
import { sequenceFits } from '#engines/postgres/sequences';

describe('postgres addresses', () => {
  test('I7: any password comes through, and stands in no text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !/[\r\n]/.test(text)),
        fc.string({ unit: 'grapheme', minLength: 1 }),
        (password, database) => {
          const address = parseAddress(
            `postgresql://user:${encodeURIComponent(password)}@host:5433/${encodeURIComponent(database)}`,
          );
          assert.equal(address.password, password);
          assert.deepEqual(address.keywords, { user: 'user', host: 'host', port: '5433', dbname: database });
          if (password.length > 8 && !database.includes(password))
            assert.ok(!conninfo(address).includes(password) && !printable(address).includes(password));
        },
      ),
    );
  });

  test('sockets, several hosts, IPv6 and parameters are read as libpq reads them', () => {
    assert.deepEqual(parseAddress('postgres:///db?host=/var/run/postgresql&port=5433&sslmode=require').keywords, {
      dbname: 'db',
      host: '/var/run/postgresql',
      port: '5433',
      sslmode: 'require',
    });
    assert.deepEqual(parseAddress('postgresql://u@a:1,b:2/db?target_session_attrs=any').keywords, {
      user: 'u',
      host: 'a,b',
      port: '1,2',
      dbname: 'db',
      target_session_attrs: 'any',
    });
    assert.equal(parseAddress('postgresql://[::1]:5432/db').keywords['host'], '::1');
    assert.equal(parseAddress('postgresql://u:p%40s@h').password, 'p@s');
    assert.equal(parseAddress('postgresql://u@h/db?password=x').password, 'x');
  });

  test('what is no address is refused without being shown', () => {
    for (const url of [
      'mysql://u:secret@h/db',
      'postgresql://u:sec/ret@h/db',
      'postgresql://u:%zzsecret@h',
      'secret',
    ]) {
      assert.throws(
        () => parseAddress(url),
        (error: Error) => !/sec/.test(error.message.replace('psql', '')),
      );
    }
  });
});

describe('psql output', () => {
  test('rows come back as they were, nulls apart from empty texts', () => {
    const cell = fc.option(
      fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\r')),
      { nil: null },
    );
    fc.assert(
      fc.property(
        fc
          .integer({ min: 1, max: 4 })
          .chain((width) => fc.array(fc.array(cell, { minLength: width, maxLength: width }))),
        (rows) => {
          const quote = (text: string | null): string =>
            text === null ? 'NULLMARK' : /[",\n]|^\\\.$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
          const text = rows.map((row) => `${row.map(quote).join(',')}\n`).join('');
          assert.deepEqual(parseCsv(text, 'NULLMARK'), rows);
        },
      ),
    );
  });
});

describe('sequences', () => {
  const print = (before: string, after: string, more: Partial<SequencePrint> = {}): SequencePrint => ({
    schema: 'public',
    name: 's',
    increment: '1',
    min: '1',
    max: '9223372036854775807',
    cycle: false,
    before: { value: before, called: true },
    after: { value: after, called: true },
    ...more,
  });
  const at = (value: string) => ({ value, called: true });

  test('tried 3: a restored sequence stands between what was read before and after the dump, in its own direction', () => {
    assert.ok(sequenceFits(print('5', '9'), at('7')));
    assert.ok(!sequenceFits(print('5', '9'), at('10')));
    assert.ok(!sequenceFits(print('5', '9'), at('4')));
    assert.ok(sequenceFits(print('-5', '-9', { increment: '-2' }), at('-7')));
    assert.ok(!sequenceFits(print('-5', '-9', { increment: '-2' }), at('-11')));
    const long = { max: '99000000', cycle: true };
    assert.ok(sequenceFits(print('98999990', '20', long), at('98999999')));
    assert.ok(sequenceFits(print('98999990', '20', long), at('1')));
    assert.ok(!sequenceFits(print('98999990', '20', long), at('5000')));
    // Seven steps come round many times.
    assert.ok(sequenceFits(print('4', '4', { max: '7', cycle: true }), at('6')));
    assert.ok(!sequenceFits(print('4', '4', { max: '7', cycle: true }), at('8')));
    assert.ok(sequenceFits(print('9223372036854775806', '9223372036854775807'), at('9223372036854775807')));
  });

  test('one that was never called differs from one that gave out its first value', () => {
    const never = { value: '1', called: false };
    assert.ok(sequenceFits({ ...print('1', '1'), before: never, after: never }, never));
    assert.ok(!sequenceFits({ ...print('1', '1'), before: never, after: never }, at('1')));
  });
});
