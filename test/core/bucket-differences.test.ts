import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { bucketDifferences } from '#core/bucket-differences';
import type { LifecycleRule } from '#core/bucket-lifecycle';
import { bucketRules, landingsOf } from '#core/bucket-rules';
import type { BucketDifference, BucketSettings } from '#core/bucket-settings';
import { bucketPlan } from '#test/core/bucket-plan';

const DEPLOYED = 'cloud: { region: eu-north-1 }';
const PLAN = bucketPlan('', DEPLOYED);
const TAG = { Key: 'holdfast', Value: 'expired' };

function live(rules: readonly LifecycleRule[], smallStay = true): Partial<BucketSettings> {
  return { lifecycle: { value: { rules, smallStay } } };
}

function of(rules: readonly LifecycleRule[], plan = PLAN, smallStay = true): BucketDifference[] {
  return [...bucketDifferences(plan, 'cloud', live(rules, smallStay))];
}

const graves = (rules: readonly LifecycleRule[], plan = PLAN): string[] =>
  of(rules, plan).flatMap(({ grave, what }) => (grave ? [what] : []));

/** The plan's own rules, one of them changed. */
function changed(id: string, change: Partial<LifecycleRule>): LifecycleRule[] {
  const rules = bucketRules(PLAN, 'cloud');
  assert.ok(rules.some(({ ID }) => ID === id));
  return rules.map((rule) => (rule.ID === id ? { ...rule, ...change } : rule));
}

const added = (rule: LifecycleRule): LifecycleRule[] => [
  ...bucketRules(PLAN, 'cloud'),
  { ID: 'mine', Status: 'Enabled', ...rule },
];
const without = (id: string): LifecycleRule[] => bucketRules(PLAN, 'cloud').filter(({ ID }) => ID !== id);

describe('a bucket with the plan’s own rules', () => {
  for (const vault of ['', ', existing: true', ', lock: governance'])
    test(`differs in nothing${vault}`, () => {
      const plan = bucketPlan(vault);
      assert.deepEqual(of(bucketRules(plan, 'cloud'), plan), []);
    });

  test('rules of an adopted bucket reach nothing outside of its vault, and bear the vault’s name', () => {
    for (const { ID, Filter } of bucketRules(bucketPlan(', existing: true'), 'cloud')) {
      assert.match(ID ?? '', /^holdfast-cloud-/);
      assert.match(Filter?.And?.Prefix ?? Filter?.Prefix ?? '', /^prod\//);
    }
  });

  test('a vault that others are copied to gets rules for what they bring', () => {
    const both = bucketPlan(', replica: { vault: far } }, far: { s3: shop-far, region: eu-west-1');
    assert.deepEqual(
      landingsOf(both, 'far').map(({ prefix, days }) => [prefix, days]),
      [
        ['backups/app/daily/', 30],
        ['backups/app/monthly/', 360],
        ['backups/app/yearly/', null],
        ['backups/conf/config/', 1],
      ],
    );
  });
});

describe('I5: a rule that ends what nobody gave up', () => {
  const rows: readonly (readonly [string, LifecycleRule, boolean])[] = [
    ['of the whole bucket', { Filter: { Prefix: '' }, Expiration: { Days: 90 } }, true],
    ['without any filter', { Expiration: { Days: 90 } }, true],
    ['of the old shape', { Prefix: 'prod/', Expiration: { Days: 90 } }, true],
    ['by a date', { Filter: { Prefix: 'prod/backups/' }, Expiration: { Date: new Date('2027-01-01') } }, true],
    ['of a part of the name', { Filter: { Prefix: 'pro' }, Expiration: { Days: 3650 } }, true],
    ['of one backup', { Filter: { Prefix: 'prod/backups/app/daily/2026' }, Expiration: { Days: 1 } }, true],
    ['of the ledger', { Filter: { Prefix: 'prod/ledger/' }, Expiration: { Days: 400 } }, true],
    ['of holds', { Filter: { Prefix: 'prod/holds/' }, Expiration: { Days: 400 } }, true],
    ['of leases', { Filter: { Prefix: 'prod/leases/' }, Expiration: { Days: 1 } }, true],
    ['of large ones', { Filter: { ObjectSizeGreaterThan: 1_000_000 }, Expiration: { Days: 90 } }, true],
    ['that is switched off', { Status: 'Disabled', Filter: { Prefix: '' }, Expiration: { Days: 90 } }, false],
    ['of somebody else’s folder', { Filter: { Prefix: 'logs/' }, Expiration: { Days: 90 } }, false],
    ['of another vault with a like name', { Filter: { Prefix: 'production/' }, Expiration: { Days: 90 } }, false],
    [
      'of the vault’s own root, and nothing of ours',
      { Filter: { Prefix: 'prod/tmp/' }, Expiration: { Days: 1 } },
      false,
    ],
    [
      'that ends noncurrent versions only',
      { Filter: { Prefix: '' }, NoncurrentVersionExpiration: { NoncurrentDays: 30 } },
      false,
    ],
  ];
  for (const plan of [PLAN, bucketPlan(', endpoint: "https://s3.example.com"')])
    for (const [what, rule, harms] of rows)
      test(`${what}, ${plan === PLAN ? 'in AWS' : 'elsewhere'}: ${harms ? 'is wrong' : 'is nobody’s business'}`, () => {
        const rules = [...bucketRules(plan, 'cloud'), { ID: 'mine', Status: 'Enabled', ...rule }];
        const found = of(rules, plan).filter(({ what }) => /that nobody gave up/.test(what));
        assert.equal(found.length, harms ? 1 : 0);
        assert.equal(graves(rules, plan).length, harms ? 1 : 0);
        if (harms) assert.match(found[0]?.what ?? '', /^rule "mine"/);
      });

  test('another tag ends nothing of ours, and is told all the same', () => {
    const [found, ...more] = of(added({ Filter: { Tag: { Key: 'temp', Value: 'yes' } }, Expiration: { Days: 7 } }));
    assert.deepEqual([found?.grave, more], [false, []]);
    assert.match(found?.what ?? '', /temp=yes/);
  });
});

describe('what else a bucket’s rules lack, or do too much', () => {
  const mark = (prefix: string): LifecycleRule['Filter'] => ({ And: { Prefix: prefix, Tags: [TAG] } });
  const rows: readonly (readonly [string, LifecycleRule[], boolean, RegExp])[] = [
    [
      'no rule for marks',
      without('app-daily'),
      true,
      /no rule ends what retention marks in prod\/backups\/app\/daily\//,
    ],
    ['one that is switched off', changed('app-daily', { Status: 'Disabled' }), true, /no rule ends/],
    [
      'one for large objects only',
      changed('app-daily', { Filter: { And: { ...mark('prod/backups/app/daily/')?.And, ObjectSizeGreaterThan: 9 } } }),
      true,
      /no rule ends/,
    ],
    [
      'fewer days',
      changed('app-daily', { Expiration: { Days: 29 } }),
      true,
      /app\/daily after 29 days, the plan keeps it 30 days/,
    ],
    [
      'more days',
      changed('app-daily', { Expiration: { Days: 31 } }),
      false,
      /removed after 31 days, the plan keeps it 30 days/,
    ],
    [
      'marks that end what is kept for ever',
      added({ Filter: mark('prod/backups/app/yearly/'), Expiration: { Days: 500 } }),
      true,
      /the plan keeps it for ever/,
    ],
    [
      'marks on a part that end sooner',
      added({ Filter: mark('prod/backups/app/monthly/2026'), Expiration: { Days: 1 } }),
      true,
      /app\/monthly after 1 days/,
    ],
    [
      'all into GLACIER',
      added({ Filter: { Prefix: '' }, Transitions: [{ Days: 30, StorageClass: 'GLACIER' }] }),
      true,
      /moves to GLACIER after 30 days what is to stay readable/,
    ],
    [
      'a tier into GLACIER that has no class',
      added({ Filter: { Prefix: 'prod/backups/app/daily/' }, Transitions: [{ Days: 9, StorageClass: 'GLACIER' }] }),
      true,
      /what app\/daily is to keep readable/,
    ],
    [
      'a move too soon',
      changed('app-monthly-cold', { Transitions: [{ Days: 1, StorageClass: 'GLACIER' }] }),
      true,
      /after 1 days, the plan has app\/monthly in GLACIER after 45/,
    ],
    [
      'a move into the colder class',
      changed('app-monthly-cold', { Transitions: [{ Days: 45, StorageClass: 'DEEP_ARCHIVE' }] }),
      true,
      /the plan has app\/monthly in GLACIER/,
    ],
    [
      'a move too late',
      changed('app-monthly-cold', { Transitions: [{ Days: 46, StorageClass: 'GLACIER' }] }),
      false,
      /after 46 days, the plan says 45/,
    ],
    ['no move', without('app-yearly-cold'), false, /nothing moves app\/yearly to DEEP_ARCHIVE/],
    [
      'a short undelete',
      changed('undelete', { NoncurrentVersionExpiration: { NoncurrentDays: 3 } }),
      true,
      /noncurrent versions after 3 days, want 30/,
    ],
    ['no undelete’s end', without('undelete'), false, /noncurrent versions stay for ever/],
    ['half uploads', without('half-uploads'), false, /uploads that were never ended stay/],
    [
      'uploads of a day',
      changed('half-uploads', { AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 } }),
      false,
      /ends uploads after 1 days/,
    ],
    ['delete markers', without('delete-markers'), false, /delete markers/],
  ];
  for (const [what, rules, grave, said] of rows)
    test(what, () => {
      const found = of(rules);
      assert.ok(
        found.some((one) => one.grave === grave && said.test(one.what)),
        JSON.stringify(found),
      );
      assert.ok(grave || found.every((one) => !one.grave), 'what costs is advice');
      assert.ok(found.every(({ hint }) => hint !== ''));
    });

  test('where small objects move too, a rule without a least size takes manifests along', () => {
    const whole = changed('app-monthly-cold', { Filter: { Prefix: 'prod/backups/app/monthly/' } });
    assert.deepEqual(of(whole), []);
    assert.match(of(whole, PLAN, false)[0]?.what ?? '', /manifests too/);
    assert.deepEqual(of(bucketRules(PLAN, 'cloud'), PLAN, false), []);
  });

  test('another provider’s bucket need have no rule at all: retain deletes itself there', () => {
    const elsewhere = bucketPlan(', endpoint: "https://s3.example.com"');
    assert.deepEqual(of([], elsewhere), []);
    const short = [{ Status: 'Enabled', Filter: mark('prod/'), Expiration: { Days: 7 } }];
    assert.ok(of(short, elsewhere).length > 0);
    assert.deepEqual(graves(short, elsewhere), []);
  });
});

describe('what else than rules', () => {
  const settings = (plan = PLAN, more: Partial<BucketSettings> = {}): BucketDifference[] => [
    ...bucketDifferences(plan, 'cloud', more),
  ];
  const kms = bucketPlan(', sse: kms', DEPLOYED);
  const adopted = bucketPlan(', existing: true');
  const replicated = bucketPlan(', replica: { region: eu-west-1 }', DEPLOYED);
  const rule = {
    enabled: true,
    prefix: '',
    tagged: false,
    destination: 'arn:aws:s3:::shop-backups-replica',
    deletions: false,
    kmsObjects: true,
  };
  const rows: readonly (readonly [string, BucketDifference[], RegExp | null])[] = [
    ['never versioned', settings(PLAN, { versioning: { value: null } }), /versioning is off/],
    ['versioning suspended', settings(PLAN, { versioning: { value: 'Suspended' } }), /versioning is suspended/],
    ['versioned', settings(PLAN, { versioning: { value: 'Enabled' } }), null],
    ['public', settings(PLAN, { publicWays: { value: ['BlockPublicPolicy'] } }), /BlockPublicPolicy not set/],
    ['unencrypted', settings(PLAN, { encryption: { value: null } }), /nothing encrypts/],
    ['encrypted by whatever', settings(adopted, { encryption: { value: 'AES256' } }), null],
    ['encrypted, and not by KMS', settings(kms, { encryption: { value: 'AES256' } }), /AES256, want aws:kms/],
    ['encrypted by KMS, twice', settings(kms, { encryption: { value: 'aws:kms:dsse' } }), null],
    ['no replication wanted', settings(PLAN, { replication: { value: [] } }), null],
    ['no replication', settings(replicated, { replication: { value: [] } }), /no rule replicates prod\//],
    ['replication', settings(replicated, { replication: { value: [rule] } }), null],
    ['replication off', settings(replicated, { replication: { value: [{ ...rule, enabled: false }] } }), /no rule/],
    ['of a part', settings(replicated, { replication: { value: [{ ...rule, prefix: 'prod/logs/' }] } }), /no rule/],
    [
      'elsewhere',
      settings(replicated, { replication: { value: [{ ...rule, destination: 'arn:aws:s3:::x' }] } }),
      /no rule/,
    ],
    ['of deletions', settings(replicated, { replication: { value: [{ ...rule, deletions: true }] } }), /is deleted in/],
  ];
  for (const [what, found, said] of rows)
    test(what, () => {
      assert.equal(found.length, said ? 1 : 0, JSON.stringify(found));
      if (said) assert.match(found[0]?.what ?? '', said);
      assert.ok(found.every(({ grave }) => grave));
    });

  test('without a deployment a bucket is its owner’s business: advice, but for a rule that ends backups', () => {
    const plan = bucketPlan();
    const live: Partial<BucketSettings> = {
      versioning: { value: null },
      policy: { value: [] },
      publicWays: { value: ['BlockPublicPolicy'] },
      encryption: { value: null },
      lifecycle: { value: { smallStay: true, rules: [] } },
    };
    const advice = settings(plan, live);
    assert.ok(advice.length >= 6, JSON.stringify(advice));
    assert.deepEqual(
      advice.filter(({ grave }) => grave),
      [],
    );
    const ending = { Status: 'Enabled', Filter: { Prefix: '' }, Expiration: { Days: 365 } };
    const found = settings(plan, { ...live, lifecycle: { value: { smallStay: true, rules: [ending] } } });
    assert.deepEqual(
      found.filter(({ grave }) => grave).map(({ rule }) => rule),
      [ending],
    );
  });

  test('a default lock is told: each backup brings its own', () => {
    const lock = { value: { enabled: true, byDefault: true } };
    assert.deepEqual(settings(PLAN, { lock }), []);
    const [found] = settings(bucketPlan(', lock: governance'), { lock });
    assert.equal(found?.grave, false);
  });

  test('I14: what was not seen is neither fine nor wrong here', () => {
    const unseen = { unseen: { right: 's3:GetBucketPolicy', message: 'denied' } };
    assert.deepEqual(settings(PLAN, { policy: unseen, lifecycle: unseen, versioning: unseen }), []);
  });
});

/** S3's own behaviour, as far as it matters: does a rule end, or freeze, an object of that age? */
interface Thing {
  readonly key: string;
  readonly marked: boolean;
  readonly bytes: number;
}

function applies({ Status, Filter, Prefix }: LifecycleRule, { key, marked, bytes }: Thing): boolean {
  const and = Filter?.And;
  const tags = [...(and?.Tags ?? []), ...(Filter?.Tag ? [Filter.Tag] : [])];
  const prefixes = [Prefix, Filter?.Prefix, and?.Prefix];
  const above = [Filter?.ObjectSizeGreaterThan, and?.ObjectSizeGreaterThan];
  const below = [Filter?.ObjectSizeLessThan, and?.ObjectSizeLessThan];
  return (
    Status === 'Enabled' &&
    prefixes.every((prefix) => key.startsWith(prefix ?? '')) &&
    tags.every(({ Key, Value }) => marked && Key === TAG.Key && Value === TAG.Value) &&
    above.every((least) => bytes > (least ?? -1)) &&
    below.every((most) => bytes < (most ?? Number.POSITIVE_INFINITY))
  );
}

const endOf = (rules: readonly LifecycleRule[], thing: Thing): number =>
  Math.min(
    ...rules
      .filter((rule) => applies(rule, thing))
      .map(({ Expiration }) => Expiration?.Days ?? (Expiration?.Date ? 0 : Number.POSITIVE_INFINITY)),
  );

const prefix = fc.constantFrom(
  ...[
    '',
    'p',
    'prod/',
    'prod/backups/',
    'prod/backups/app/',
    'prod/backups/app/daily/',
    'prod/backups/app/monthly/2026',
  ],
  ...['prod/backups/app/yearly/', 'prod/backups/conf/config/', 'prod/ledger/', 'prod/holds/app', 'other/', 'prod/tmp/'],
);
const size = fc.option(fc.constantFrom(0, 1, 131_072, 1_000_000), { nil: undefined });
const tag = fc.constantFrom(TAG, { Key: 'holdfast', Value: 'kept' }, { Key: 'team', Value: 'a' });
const filter = fc.oneof(
  fc.record({ Prefix: prefix }),
  fc.record({ Tag: tag }),
  // As Ceph answers.
  fc.record({ Prefix: prefix, Tag: tag }),
  fc.record({
    And: fc.record({
      Prefix: prefix,
      Tags: fc.uniqueArray(tag, { maxLength: 2 }),
      ObjectSizeGreaterThan: size,
      ObjectSizeLessThan: size,
    }),
  }),
);
const anyRule: fc.Arbitrary<LifecycleRule> = fc.record({
  ID: fc.constant('mine'),
  Status: fc.constantFrom('Enabled', 'Enabled', 'Disabled'),
  Filter: filter,
  Expiration: fc.constantFrom({ Days: 1 }, { Days: 30 }, { Days: 400 }, { Date: new Date('2027-01-01') }, undefined),
});
/** The plan's rules, some dropped or with other days, and some of anybody's. */
const anyRules = fc
  .tuple(
    fc.array(fc.constantFrom('keep', 'keep', 'keep', 'drop', 'shorter', 'off'), { minLength: 20, maxLength: 20 }),
    fc.array(anyRule, { maxLength: 3 }),
  )
  .map(([fates, more]) => [
    ...bucketRules(PLAN, 'cloud').flatMap((rule, index): LifecycleRule[] => {
      const fate = fates[index];
      if (fate === 'drop') return [];
      if (fate === 'off') return [{ ...rule, Status: 'Disabled' }];
      return [fate === 'shorter' && rule.Expiration?.Days ? { ...rule, Expiration: { Days: 1 } } : rule];
    }),
    ...more,
  ]);
const thing = fc.record({
  key: fc.constantFrom(
    ...['daily', 'monthly', 'yearly'].map((tier) => `prod/backups/app/${tier}/20260101T020000Z-7f3a/x`),
    'prod/backups/conf/config/20260101T020000Z-7f3a/manifest.json',
    'prod/ledger/app/0000000001.json',
    'prod/holds/app/x.json',
    'prod/vault.json',
  ),
  marked: fc.boolean(),
  bytes: fc.constantFrom(0, 1, 200, 131_073, 5_000_000),
});

describe('against what S3 would do', () => {
  test('I5: where nothing is grave, nothing unmarked ends, nothing marked ends before its tier is over, and all of it after', () => {
    const landings = landingsOf(PLAN, 'cloud');
    let fine = 0;
    fc.assert(
      fc.property(anyRules, fc.array(thing, { minLength: 5, maxLength: 12 }), (rules, things) => {
        const wrong = graves(rules).length > 0;
        if (!wrong) fine++;
        for (const one of things) {
          const end = endOf(rules, one);
          const landing = landings.find((where) => one.key.startsWith(where.prefix));
          const due = landing?.days ?? Number.POSITIVE_INFINITY;
          if (!one.marked && end !== Number.POSITIVE_INFINITY) assert.ok(wrong, `${one.key} ends unmarked`);
          if (one.marked && landing && end < due) assert.ok(wrong, `${one.key} ends after ${end} of ${due}`);
          if (one.marked && landing?.days && end === Number.POSITIVE_INFINITY)
            assert.ok(wrong, `${one.key} never ends`);
        }
      }),
      { numRuns: 3000 },
    );
    assert.ok(fine > 50, `only ${fine} rule sets were fine: the property says nothing`);
  });

  test('I5: a rule that is said to end unmarked backups does end one', () => {
    fc.assert(
      fc.property(anyRule, (rule) => {
        if (!graves([...bucketRules(PLAN, 'cloud'), rule]).some((what) => /that nobody gave up/.test(what))) return;
        const { And: and, Prefix } = rule.Filter ?? {};
        const [above, below] = [and?.ObjectSizeGreaterThan ?? -1, and?.ObjectSizeLessThan ?? Number.POSITIVE_INFINITY];
        // No object is larger and smaller at once: S3 would refuse such a rule.
        if (above + 1 >= below) return;
        const start = and?.Prefix ?? Prefix ?? '';
        const key = 'prod/backups/x'.startsWith(start) ? 'prod/backups/x' : `${start}x`;
        const inside = 'prod/ledger/x'.startsWith(start) ? 'prod/ledger/x' : key;
        assert.equal(
          endOf([rule], { key: inside, marked: false, bytes: above + 1 }) < 1000,
          true,
          JSON.stringify(rule),
        );
      }),
      { numRuns: 2000 },
    );
  });
});
