import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { allowsPlainHttp, bucketPolicy, overwritable, type PolicyStatement, WRITE_ONCE } from '#core/bucket-policy';

const BUCKET = 'shop-backups';
const POLICY = bucketPolicy({ bucket: BUCKET, roots: ['prod/'], region: 'eu-north-1' });
const [, , CREATE_ONLY] = POLICY as [PolicyStatement, PolicyStatement, PolicyStatement];
const folders = (statement: PolicyStatement): string[] => overwritable([statement], BUCKET, 'prod/');
const all = [...WRITE_ONCE];

describe('the policy of a bucket', () => {
  test('the plan’s own lets nobody overwrite, and nobody in without TLS', () => {
    assert.deepEqual(overwritable(POLICY, BUCKET, 'prod/'), []);
    assert.equal(allowsPlainHttp(POLICY, BUCKET), false);
    assert.deepEqual(overwritable(POLICY, BUCKET, 'other/'), all);
    assert.deepEqual(overwritable(POLICY, 'other', 'prod/'), all);
    assert.deepEqual([overwritable([], BUCKET, ''), allowsPlainHttp([], BUCKET)], [all, true]);
  });

  test('two vaults of one bucket, in another partition', () => {
    const policy = bucketPolicy({ bucket: BUCKET, roots: ['', 'b/'], region: 'cn-north-1' });
    assert.match(JSON.stringify(policy), /arn:aws-cn:s3:::shop-backups\/b\/ledger\/\*/);
    for (const root of ['', 'b/']) assert.deepEqual(overwritable(policy, BUCKET, root), []);
  });

  const Null = { 's3:if-none-match': 'true' };
  const rows: readonly (readonly [string, Partial<PolicyStatement>, readonly string[]])[] = [
    ['as it is', {}, []],
    ['principal as AWS writes it', { Principal: { AWS: '*' } }, []],
    ['principals in a list', { Principal: { AWS: ['*'] } }, []],
    ['for one role', { Principal: { AWS: 'arn:aws:iam::111122223333:role/x' } }, all],
    ['for a service', { Principal: { Service: 'x.amazonaws.com' } }, all],
    ['allowed', { Effect: 'Allow' }, all],
    ['all of S3', { Action: ['s3:DeleteObject', 's3:*'] }, []],
    ['in other letters', { Action: 'S3:putobject' }, []],
    ['another action', { Action: 's3:PutObjectTagging' }, all],
    ['the whole bucket', { Resource: `arn:aws:s3:::${BUCKET}/*` }, []],
    ['a pattern', { Resource: `arn:aws:s3:::${BUCKET}/*/backups/*` }, ['logs', 'proofs', 'ledger']],
    ['one folder of a source', { Resource: `arn:aws:s3:::${BUCKET}/prod/backups/app/*` }, all],
    ['one object', { Resource: `arn:aws:s3:::${BUCKET}/prod/backups/x` }, all],
    ['parts of uploads too', { Condition: { Null } }, []],
    ['values in a list', { Condition: { Null: { 's3:if-none-match': ['true'] } } }, []],
    ['the other way round', { Condition: { Null: { 's3:if-none-match': 'false' } } }, all],
    ['from some addresses only', { Condition: { Null, IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } } }, all],
    ['with a key more', { Condition: { Null: { ...Null, 'aws:TokenIssueTime': 'true' } } }, all],
  ];
  for (const [what, change, open] of rows)
    test(`I3: a create-only denial ${what} leaves ${open.length === 0 ? 'nothing' : open.join(', ')} open`, () => {
      assert.deepEqual(folders({ ...CREATE_ONLY, ...change }), open);
    });

  test('a denial without any condition denies every put: it is no create-only policy', () => {
    const { Condition: _none, ...always } = CREATE_ONLY;
    assert.deepEqual(folders(always), all);
    assert.equal(allowsPlainHttp([{ ...POLICY[0], Condition: {} }], BUCKET), true);
  });

  test('several statements together', () => {
    const each = WRITE_ONCE.map((folder) => ({ ...CREATE_ONLY, Resource: `arn:aws:s3:::${BUCKET}/prod/${folder}/*` }));
    assert.deepEqual(overwritable(each, BUCKET, 'prod/'), []);
    assert.deepEqual(overwritable(each.slice(1), BUCKET, 'prod/'), ['backups']);
  });
});
