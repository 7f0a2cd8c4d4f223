import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { NotThereYet, PlanInvalid, VariableMissing } from '#core/errors';
import { redact, references, reveal } from '#core/secrets';

const ARN = 'arn:aws:secretsmanager:eu-north-1:123456789012:secret:db-AbCdEf';

describe('references', () => {
  test('variables, secrets and what is neither are told apart, in order', () => {
    assert.deepEqual(references(`a \${A_1} \${secret:${ARN}#password} \${secret:${ARN}} \${a-b} \${} \${open`), [
      { kind: 'variable', text: '${A_1}', name: 'A_1' },
      { kind: 'secret', text: `\${secret:${ARN}#password}`, arn: ARN, field: 'password' },
      { kind: 'secret', text: `\${secret:${ARN}}`, arn: ARN, field: null },
      { kind: 'malformed', text: '${a-b}' },
      { kind: 'malformed', text: '${}' },
      { kind: 'malformed', text: '${open' },
    ]);
    assert.deepEqual(references('costs 5$ {not one}'), []);
  });
});

describe('reveal', () => {
  const values = new Map([
    ['USER', 'ann'],
    ['PASSWORD', 'p${USER}$&'],
    ['EMPTY', ''],
  ]);
  const lookup = (name: string) => values.get(name);

  test('puts values in as they are: nothing inside of a value is a reference or a replacement sign', () => {
    assert.equal(reveal('pg://${USER}:${PASSWORD}@h/${USER}', lookup), 'pg://ann:p${USER}$&@h/ann');
    assert.equal(reveal('no reference', lookup), 'no reference');
  });

  test('a variable that is missing or empty is named, with where to set it', () => {
    for (const [name, state] of [
      ['NOWHERE', 'not set'],
      ['EMPTY', 'empty'],
    ] as const) {
      assert.throws(
        () => reveal(`x\${${name}}`, lookup),
        (thrown) =>
          thrown instanceof VariableMissing &&
          thrown.message === `the plan needs \${${name}}, and that is ${state} here` &&
          thrown.hint === `set ${name} in the environment or in .env` &&
          thrown.exit === 2,
      );
    }
  });

  test('a secret of Secrets Manager is not there yet, and what is no reference is wrong: both exit 2', () => {
    assert.throws(() => reveal(`\${secret:${ARN}#x}`, lookup), NotThereYet);
    assert.throws(() => reveal('${a b}', lookup), PlanInvalid);
  });
});

describe('I7: redact', () => {
  test('the table: what is left of texts with secrets in them', () => {
    const table: [text: string, secrets: string[], safe: string][] = [
      ['login with hunter22 failed', ['hunter22'], 'login with *** failed'],
      ['at postgres://ann:hunter22@db/app', [], 'at postgres://ann:***@db/app'],
      ['at redis://:hunter22@db:6379', [], 'at redis://:***@db:6379'],
      ['at postgres://ann:p@ss:w/rd@db/app now', [], 'at postgres://ann:***@db/app now'],
      ['at postgres://db/app?password=hunter22&x=1', [], 'at postgres://db/app?password=***&x=1'],
      ['at https://example.com/a?b=c', [], 'at https://example.com/a?b=c'],
      ['got p%40ss%2Fword', ['p@ss/word'], 'got ***'],
      ['got p@ss/word', ['p%40ss%2Fword'], 'got ***'],
      ['password authentication: hunter22', ['postgres://ann:hunter22@db/app'], 'password authentication: ***'],
      ['password p@ss is wrong', ['postgres://ann:p%40ss@db/app'], 'password *** is wrong'],
      ['{"a":"say \\"hi\\" now"}', ['say "hi" now'], '{"a":"***"}'],
      ['the longer first: secretsecret', ['secret', 'secretsecret'], 'the longer first: ***'],
      ['abc is too short to mask', ['abc', ''], 'abc is too short to mask'],
      ['key AGE-SECRET-KEY-1QQQQ0 read', [], 'key *** read'],
    ];
    for (const [text, secrets, safe] of table) assert.equal(redact(text, secrets), safe);
  });

  test('no secret, and no encoded form of it, is left in any text', () => {
    const secret = fc
      .string({ minLength: 4, maxLength: 30, unit: 'binary' })
      .filter((text) => !'*'.repeat(30).includes(text));
    fc.assert(
      fc.property(secret, fc.string(), fc.string(), (value, before, after) => {
        const forms = [value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value), encodeURI(value)];
        for (const form of forms) {
          const safe = redact(`${before}\n${form}\n${after}`, [value]);
          assert.ok(!safe.split('\n').includes(form), safe);
        }
        const address = `postgres://ann:${encodeURIComponent(value)}@db/app`;
        assert.ok(!redact(`\n${value}\n`, [address]).split('\n').includes(value));
      }),
      { numRuns: 500 },
    );
  });
});

test('the word PASSWORD in an example address is no secret', () => {
  assert.equal(redact('write postgresql://USER:PASSWORD@HOST/DB', []), 'write postgresql://USER:PASSWORD@HOST/DB');
  assert.equal(redact('postgresql://u:PASSWORD1@h/d', []), 'postgresql://u:***@h/d');
});
