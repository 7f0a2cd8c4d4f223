import { strict as assert } from 'node:assert';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { readTable } from '#engines/sqlite/digest';

type Row = readonly [SQLInputValue, SQLInputValue];

async function digestOf(rows: readonly Row[], columns = 'a, b'): Promise<string> {
  const database = new DatabaseSync(':memory:');
  database.exec(`create table t(${columns})`);
  const insert = database.prepare('insert into t values (?, ?)');
  for (const row of rows) insert.run(...row);
  const { contents } = await readTable(database, 't');
  database.close();
  assert.equal(contents.rows, rows.length);
  return contents.digest as string;
}

/** Reals that are whole would be bound as such; text without lone surrogates, which SQLite cannot hold. */
const value = fc.oneof(
  fc.constant(null),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.double({ noNaN: true }).filter((number) => !Object.is(number, -0)),
  fc.string({ unit: 'grapheme' }),
  fc.uint8Array({ maxLength: 40 }),
);
const table = fc.array(fc.tuple(value, value), { maxLength: 12 });

function textOf(rows: readonly Row[]): string {
  return JSON.stringify(rows, (_key, inner: unknown) =>
    typeof inner === 'bigint'
      ? `${inner}n`
      : inner instanceof Uint8Array
        ? `x${Buffer.from(inner).toString('hex')}`
        : inner,
  );
}

describe('the digest sqlite1', () => {
  test('is the same for the same rows', async () => {
    await fc.assert(
      fc.asyncProperty(table, async (rows) => {
        assert.equal(await digestOf(rows), await digestOf(rows));
      }),
      { numRuns: 50 },
    );
  });

  test('differs when rows differ', async () => {
    await fc.assert(
      fc.asyncProperty(table, table, async (one, other) => {
        fc.pre(textOf(one) !== textOf(other));
        assert.notEqual(await digestOf(one), await digestOf(other));
      }),
      { numRuns: 100 },
    );
  });

  test('sees two cells of a column exchanged', async () => {
    await fc.assert(
      fc.asyncProperty(table, fc.nat(), fc.nat(), async (rows, i, j) => {
        fc.pre(rows.length > 1);
        const [one, other] = [i % rows.length, j % rows.length];
        const exchanged = rows.map((row, at): Row => {
          if (at === one) return [row[0], (rows[other] as Row)[1]];
          return at === other ? [row[0], (rows[one] as Row)[1]] : row;
        });
        fc.pre(textOf(exchanged) !== textOf(rows));
        assert.notEqual(await digestOf(exchanged), await digestOf(rows));
      }),
      { numRuns: 100 },
    );
  });

  test("tells 1, 1.0, '1', x'31' and null apart", async () => {
    const digests = await Promise.all([1n, 1, '1', Buffer.from('1'), null].map((one) => digestOf([[one, 0n]])));
    assert.equal(new Set(digests).size, 5);
  });

  test('tells where one value ends and the next begins', async () => {
    assert.notEqual(await digestOf([['ab', 'c']]), await digestOf([['a', 'bc']]));
    assert.notEqual(await digestOf([['x', 'a\0b']]), await digestOf([['x', 'a']]));
    assert.notEqual(await digestOf([['x', '']]), await digestOf([['x', null]]));
  });

  test('holds values longer than its buffer, and sees a byte of them', async () => {
    const long = 'å'.repeat(60_000);
    assert.notEqual(await digestOf([[long, 1n]]), await digestOf([[`${long.slice(0, -1)}ä`, 1n]]));
    const bytes = new Uint8Array(200_000);
    const changed = bytes.with(150_000, 1);
    assert.notEqual(await digestOf([[bytes, 1n]]), await digestOf([[changed, 1n]]));
  });

  test('takes the length of a value over 1 MiB, whose bytes the file hash covers', async () => {
    const [small, large] = [new Uint8Array(1_200_000), new Uint8Array(1_200_001)];
    assert.notEqual(await digestOf([[small, 1n]]), await digestOf([[large, 1n]]));
  });

  test('does not depend on an index that could be read instead', async () => {
    const database = new DatabaseSync(':memory:');
    database.exec("create table t(a); insert into t values ('b'), ('a')");
    const before = (await readTable(database, 't')).contents.digest;
    database.exec('create index i on t(a)');
    assert.equal((await readTable(database, 't')).contents.digest, before);
    database.close();
  });
});
