import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { bucketDifferences } from '#core/bucket-differences';
import { awsBuckets, type BucketFiles, bucketFiles } from '#core/bucket-files';
import type { LifecycleRule } from '#core/bucket-lifecycle';
import type { BucketSettings } from '#core/bucket-settings';
import type { Plan } from '#core/plan';
import { bucketPlan } from '#test/core/bucket-plan';

const PLAN = bucketPlan(', existing: true');

function filesOf(live: Partial<BucketSettings>, plan: Plan = PLAN): BucketFiles | null {
  const [bucket] = awsBuckets(plan);
  assert.ok(bucket);
  return bucketFiles(plan, bucket, live);
}

function json<Value>(made: BucketFiles | null, name: string): Value {
  const file = made?.files.find((one) => one.name === name);
  assert.ok(file, `no ${name} among ${made?.files.map((one) => one.name)}`);
  return JSON.parse(file.text, (key, value) => (key === 'Date' ? new Date(value) : value));
}

const script = (made: BucketFiles | null): string => made?.files.find(({ name }) => name === 'put.sh')?.text ?? '';
const rulesIn = (made: BucketFiles | null): LifecycleRule[] =>
  json<{ Rules: LifecycleRule[] }>(made, 'lifecycle.json').Rules;

/** A bucket that has all of it. */
function whole(plan: Plan): BucketSettings {
  const made = filesOf({}, plan);
  return {
    lifecycle: { value: { rules: rulesIn(made), smallStay: true } },
    versioning: { value: 'Enabled' },
    policy: { value: json<{ Statement: [] }>(made, 'policy.json').Statement },
    lock: { value: { enabled: true, byDefault: false } },
    encryption: { value: 'aws:kms' },
    publicWays: { value: [] },
    replication: { value: [] },
  };
}

describe('what a bucket of somebody’s own is to be given', () => {
  for (const more of ['', ', lock: governance', ', sse: kms'])
    test(`what is put makes every difference go${more}`, () => {
      const plan = bucketPlan(`, existing: true${more}`);
      assert.deepEqual([...bucketDifferences(plan, 'cloud', whole(plan))], []);
      assert.equal(filesOf(whole(plan), plan), null);
    });

  test('of a bucket nobody has looked at, what would replace something is put only where there is nothing', () => {
    const text = script(filesOf({}, bucketPlan(', existing: true, lock: governance, sse: kms')));
    assert.match(text, /^none_yet get-bucket-policy NoSuchBucketPolicy /m);
    assert.match(text, /^none_yet get-bucket-lifecycle-configuration NoSuchLifecycleConfiguration /m);
    const puts = [...text.matchAll(/aws s3api (put-\S+)/g)].map(([, call]) => call);
    assert.deepEqual(puts, [
      'put-bucket-versioning',
      'put-object-lock-configuration',
      'put-public-access-block',
      'put-bucket-encryption',
      'put-bucket-policy',
      'put-bucket-lifecycle-configuration',
    ]);
    assert.ok(text.lastIndexOf('\nnone_yet ') < text.indexOf('aws s3api put-'), 'all are asked before anything is put');
  });

  describe('its script, run', () => {
    const NONE = 'NoSuchBucketPolicy NoSuchLifecycleConfiguration ObjectLockConfigurationNotFoundError';
    const rows: readonly (readonly [string, string, number, readonly string[]])[] = [
      ['puts all where there is nothing', '', 0, ['versioning', 'lock', 'public', 'encryption', 'policy', 'lifecycle']],
      [
        'leaves a lock and a key that are there as they are',
        'get-object-lock-configuration|get-bucket-encryption',
        0,
        ['versioning', 'public', 'policy', 'lifecycle'],
      ],
      ['puts nothing at all where there is a policy', 'get-bucket-policy', 1, []],
      ['puts nothing at all where there are rules', 'get-bucket-lifecycle-configuration', 1, []],
    ];
    const made = filesOf({}, bucketPlan(', existing: true, lock: governance, sse: kms'));

    /** With an `aws` that has what the pattern says, and else says `missing`; what it was told to put. */
    function run(has: string, missing: string): { code: number; puts: string[]; said: string } {
      const folder = mkdtempSync(join(tmpdir(), 'hf-put-'));
      try {
        for (const { name, text } of made?.files ?? []) writeFileSync(join(folder, name), text);
        writeFileSync(
          join(folder, 'aws'),
          `#!/bin/sh
case $2 in
  put-*) echo "$2" >> puts ;;
  get-bucket-encryption) echo '${has.includes('encryption') ? 'aws:kms' : 'AES256'}' ;;
  ${has || 'nothing'}) echo there ;;
  *) echo "An error occurred (${missing})" >&2; exit 254 ;;
esac
`,
          { mode: 0o755 },
        );
        writeFileSync(join(folder, 'puts'), '');
        const environment = { PATH: `${folder}:${process.env['PATH']}` };
        const ended = spawnSync('sh', [join(folder, 'put.sh')], { encoding: 'utf8', env: environment });
        const puts = readFileSync(join(folder, 'puts'), 'utf8').split('\n').filter(Boolean);
        return { code: ended.status ?? -1, puts, said: ended.stdout + ended.stderr };
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }

    for (const [what, has, code, puts] of rows)
      test(what, () => {
        const ended = run(has, NONE);
        assert.equal(ended.code, code, ended.said);
        assert.equal(ended.puts.length, puts.length, ended.puts.join());
        for (const [index, part] of puts.entries()) assert.match(ended.puts[index] ?? '', new RegExp(part));
      });

    test('I14: "may not look" is not "has none": nothing is put', () => {
      const { code, puts, said } = run('', 'AccessDenied');
      assert.deepEqual([code, puts], [1, []]);
      assert.match(said, /AccessDenied/);
    });
  });

  test('rules for other prefixes and other statements stay; what ends backups is left out, and named', () => {
    const others: LifecycleRule[] = [
      { ID: 'logs', Status: 'Enabled', Filter: { Prefix: 'logs/' }, Expiration: { Days: 90 } },
      { ID: 'old shape', Status: 'Enabled', Prefix: 'tmp/', Expiration: { Date: new Date('2027-01-01') } },
      { ID: 'holdfast-cloud-undelete', Status: 'Enabled', Filter: { Prefix: 'far/' }, Expiration: { Days: 9 } },
      {
        ID: 'uploads',
        Status: 'Enabled',
        Filter: { Prefix: '' },
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 9 },
      },
    ];
    const harmful = { ID: 'all', Status: 'Enabled', Filter: { Prefix: '' }, Expiration: { Days: 365 } };
    const ours = { ID: 'by hand', Status: 'Enabled', Filter: { Prefix: 'prod/backups/app/' }, Expiration: { Days: 1 } };
    const made = filesOf({
      lifecycle: { value: { rules: [...others, harmful, ours], smallStay: false } },
      policy: { value: [{ Sid: 'Theirs', Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: 'x' }] },
    });
    const rules = rulesIn(made);
    assert.deepEqual(rules.slice(0, 4), [
      others[0],
      { ID: 'old shape', Status: 'Enabled', Expiration: { Date: new Date('2027-01-01') }, Filter: { Prefix: 'tmp/' } },
      others[2],
      others[3],
    ]);
    assert.equal(new Set(rules.map(({ ID }) => ID)).size, rules.length, 'names are unique');
    assert.ok(rules.some(({ ID }) => ID === 'holdfast-cloud-undelete-2'));
    assert.ok(!rules.some(({ ID }) => ID === 'all' || ID === 'by hand'));
    assert.deepEqual(made?.leftOut, ['rule "all" (the whole bucket)', 'rule "by hand" (prod/backups/app/)']);
    assert.match(script(made), /^# LEFT OUT, .*rule "all"/m);
    assert.match(script(made), /--transition-default-minimum-object-size varies_by_storage_class/);
    assert.match(script(made), /^aws s3api get-bucket-lifecycle-configuration .* > lifecycle\.before\.json$/m);
    assert.doesNotMatch(script(made), /none_yet/);
    const sids = json<{ Statement: { Sid: string }[] }>(made, 'policy.json').Statement.map(({ Sid }) => Sid);
    assert.deepEqual(sids, ['Theirs', 'HoldfastTls', 'HoldfastTls12', 'HoldfastCreateOnly']);
  });

  describe('a replica in another region', () => {
    const replicated = (more = ''): Plan => bucketPlan(', existing: true, replica: { region: eu-west-1 }', more);
    const whole: Partial<BucketSettings> = { replication: { value: [] } };

    test('is put last, as the deployment’s role, with the account of whoever runs the script', () => {
      const made = filesOf({}, replicated());
      const puts = [...script(made).matchAll(/^aws s3api (put-\S+)/gm)].map(([, call]) => call);
      assert.equal(puts.at(-1), 'put-bucket-replication');
      assert.match(script(made), /^none_yet get-bucket-replication ReplicationConfigurationNotFoundError /m);
      assert.match(script(made), /^sed "s\/ACCOUNT\/\$account\/g" replication\.json > replication\.filled\.json$/m);
      const { Role, Rules } = json<{ Role: string; Rules: Record<string, unknown>[] }>(made, 'replication.json');
      assert.equal(Role, 'arn:aws:iam::ACCOUNT:role/shop-cloud-replication');
      assert.deepEqual(Rules[0]?.['Filter'], { Prefix: 'prod/' });
    });

    test('where the plan says the account, nothing has to be filled in', () => {
      const plan = replicated('cloud: { region: eu-north-1, account: "111122223333" }');
      assert.match(script(filesOf(whole, plan)), /--replication-configuration file:\/\/replication\.json /);
      assert.doesNotMatch(script(filesOf(whole, plan)), /get-bucket-replication|ACCOUNT/);
    });

    test('a bucket that replicates already is left to its owner, who is told', () => {
      const theirs = { enabled: true, prefix: 'x/', tagged: false, destination: 'arn:aws:s3:::y', deletions: false };
      const made = filesOf({ replication: { value: [{ ...theirs, kmsObjects: false }] } }, replicated());
      assert.doesNotMatch(script(made), /put-bucket-replication/);
      assert.match(script(made), /^# BY HAND: it replicates already/m);
      assert.ok(made?.files.some(({ name }) => name === 'replication.json'));
    });
  });

  test('two vaults in one bucket are put together: one put replaces the other’s rules', () => {
    const plan = bucketPlan(
      ', existing: true }, second: { s3: shop-backups, prefix: second, region: eu-north-1, existing: true',
    );
    const made = filesOf({}, plan);
    const prefixes = rulesIn(made).map(({ Filter }) => Filter?.And?.Prefix ?? Filter?.Prefix ?? '');
    for (const root of ['prod/', 'second/']) assert.ok(prefixes.includes(root));
    assert.equal(awsBuckets(plan).length, 1);
  });

  test('two vaults in one bucket that nobody adopted each keep their rules, and get the lock and the key either wants', () => {
    const plan = bucketPlan(
      ' }, second: { s3: shop-backups, prefix: second, region: eu-north-1, lock: governance, sse: kms',
      '  both: { sqlite: { file: b.db }, schedule: [{ cron: "0 3 * * *", tiers: [daily], to: [cloud, second] }] }',
    );
    const made = filesOf({}, plan);
    const live = { lifecycle: { value: { rules: rulesIn(made), smallStay: true } } };
    for (const vault of ['cloud', 'second']) assert.deepEqual([...bucketDifferences(plan, vault, live)], [], vault);
    for (const call of ['put-object-lock-configuration', 'put-bucket-encryption'])
      assert.match(script(made), new RegExp(`aws s3api ${call} `));
  });

  test('a rule’s name with a line break in it is no line of the script', () => {
    const ID = 'all\ntouch stolen';
    const rules: LifecycleRule[] = [{ ID, Status: 'Enabled', Filter: { Prefix: '' }, Expiration: { Days: 9 } }];
    const text = script(filesOf({ lifecycle: { value: { rules, smallStay: true } } }));
    assert.match(text, /^# LEFT OUT, .*all touch stolen/m);
    assert.doesNotMatch(text, /^touch/m);
  });

  test('whatever rules a bucket has: merged, they harm no backup, and those for other things are there', () => {
    const rule = fc.record({
      ID: fc.constantFrom('a', 'holdfast-cloud-app-daily', 'holdfast-cloud-leases'),
      Status: fc.constantFrom('Enabled', 'Disabled'),
      Filter: fc.record({
        Prefix: fc.constantFrom('', 'pro', 'prod/backups/', 'prod/backups/app/daily/', 'tmp/', 'x'),
      }),
      Expiration: fc.constantFrom({ Days: 5 }, undefined),
      Transitions: fc.constantFrom([{ Days: 5, StorageClass: 'GLACIER' }], undefined),
      NoncurrentVersionExpiration: fc.constantFrom({ NoncurrentDays: 2 }, { NoncurrentDays: 90 }, undefined),
    });
    fc.assert(
      fc.property(fc.uniqueArray(rule, { maxLength: 3, selector: ({ ID }) => ID }), (rules) => {
        const made = filesOf({ lifecycle: { value: { rules, smallStay: true } } });
        const merged = made?.files.some(({ name }) => name === 'lifecycle.json') ? rulesIn(made) : rules;
        const after = { lifecycle: { value: { rules: merged, smallStay: true } } };
        assert.deepEqual(
          [...bucketDifferences(PLAN, 'cloud', after)].filter(({ grave }) => grave),
          [],
        );
        for (const one of rules.filter(({ Filter }) => ['tmp/', 'x'].includes(Filter.Prefix)))
          assert.ok(merged.some(({ ID, Filter }) => ID === one.ID && Filter?.Prefix === one.Filter.Prefix));
        assert.equal(new Set(merged.map(({ ID }) => ID)).size, merged.length);
      }),
    );
  });
});
