import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { REGION } from '#test/cloud/cloud-plan';
import { resourcesOf, type Synthesised, synthesise } from '#test/cloud/synthesised';

const EXAMPLES = ['archon72', 'chatcard', 'elspeth', 'genesis', 'sin-solver'] as const;
/** CloudFormation takes 500 a stack; the rest is for what a plan grows by. */
const MOST_RESOURCES = 400;

/** What everybody's data hangs on: another logical id would be another bucket, key or secret. */
const STATEFUL = ['AWS::S3::Bucket', 'AWS::KMS::Key', 'AWS::SecretsManager::Secret'];

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'hf-plan-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

function synthesised(text: string, context: Readonly<Record<string, string>> = {}): Synthesised {
  const file = join(folder, 'holdfast.yaml');
  writeFileSync(file, text);
  return synthesise(file, context);
}

function isClean({ exit, said, manifest, templates }: Synthesised): void {
  assert.equal(exit, 0, said);
  assert.equal(manifest?.missing, undefined, 'something would have to be looked up in an account');
  assert.doesNotMatch(said, /\bWARNING\b|CloudFormation Validate/, said);
  for (const [stack, { Resources }] of templates)
    assert.ok(Object.keys(Resources).length < MOST_RESOURCES, `${stack}: ${Object.keys(Resources).length} resources`);
}

describe('cdk synth, without credentials and without Docker', () => {
  for (const example of EXAMPLES)
    test(`the example ${example}: its buckets, alarms and policies; every source is named with where it runs and why`, () => {
      const text = readFileSync(fileURLToPath(new URL(`../../examples/${example}.yaml`, import.meta.url)), 'utf8');
      const made = synthesised(text, { region: REGION });
      try {
        isClean(made);
        assert.match(made.said, /^\S+ +here +\S.* \(the plan has no cloud:\)$/m);
        assert.deepEqual([...made.templates.keys()].sort(), [`${example}-vault`, `${example}-work`]);
      } finally {
        made.close();
      }
    });

  test('twenty sources at once stay under 400 resources a stack, each with tasks, a schedule and alarms of its own', () => {
    const sources = Array.from(
      { length: 20 },
      (_, index) => `  db${index}:
    postgres: { url: "\${DATABASE_${index}}" }
    schedule: [{ cron: "${index} 2 * * *", tiers: [daily, monthly], to: [cloud] }]`,
    );
    const made = synthesised(`version: 1
name: many
encryption: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p], identity: { env: KEY } }
vaults: { cloud: { s3: many-backups, region: ${REGION} } }
tiers: { daily: { keep: 30d }, monthly: { keep: 12mo, class: archive } }
sources:
${sources.join('\n')}
cloud: { region: ${REGION} }
`);
    try {
      isClean(made);
      const work = made.templates.get('many-work');
      assert.ok(work);
      assert.equal(resourcesOf(work, 'AWS::ECS::TaskDefinition').length, 40);
      const names = resourcesOf(work, 'AWS::CloudWatch::Alarm').map(([, { Properties }]) => Properties?.['AlarmName']);
      for (let index = 0; index < 20; index++) assert.ok(names.includes(`holdfast-many-no-proven-backup-db${index}`));
    } finally {
      made.close();
    }
  });

  test('what holds data keeps its logical id, is retained, and its stack cannot be deleted by mistake', () => {
    const made = synthesised(`version: 1
name: shop
encryption: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p], identity: { env: KEY } }
vaults: { cloud: { s3: shop-backups, region: ${REGION}, replica: { region: eu-west-1 } } }
tiers: { daily: { keep: 30d } }
sources:
  events: { postgres: { url: "\${DATABASE_URL}" }, schedule: [{ every: 1d, tier: daily, to: [cloud] }] }
cloud: { region: ${REGION} }
`);
    try {
      isClean(made);
      const ids = [...made.templates].flatMap(([stack, template]) =>
        STATEFUL.flatMap((type) => resourcesOf(template, type)).map(([id, { DeletionPolicy }]) => {
          assert.equal(DeletionPolicy, 'Retain', `${stack} ${id}`);
          return `${stack} ${id}`;
        }),
      );
      assert.deepEqual(ids.sort(), [
        'shop-replica-cloud AccessLogs8B620ECA',
        'shop-replica-cloud Bucket83908E77',
        'shop-replica-cloud Key961B73FD',
        'shop-vault AccessLogs8B620ECA',
        'shop-vault Key961B73FD',
        'shop-vault SecretDATABASEURL',
        'shop-vault SecretKEY',
        'shop-vault VaultcloudBucketE461A9DF',
      ]);
    } finally {
      made.close();
    }
  });
});

describe('what cannot work is refused with the line, exit 2, and nothing is made', () => {
  const plan = (source: string, identity = '{ env: KEY }'): string => `version: 1
name: shop
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: ${identity}
vaults: { cloud: { s3: shop-backups, region: ${REGION} } }
tiers: { daily: { keep: 30d } }
sources:
  events: { postgres: { url: "\${DATABASE_URL}" }, ${source} }
cloud: { region: ${REGION} }
`;
  const rows: readonly (readonly [string, string, RegExp])[] = [
    [
      'a key file',
      plan('schedule: [{ every: 1d, tier: daily, to: [cloud] }]', '{ file: ./holdfast.key }'),
      /:5:\d+ .*a key file is out of a task’s reach/,
    ],
    [
      'a run every five minutes',
      plan('schedule: [{ every: 5m, tier: daily, to: [cloud] }]'),
      /:9:\d+ .*every 5 minutes in the cloud, want 15 minutes or more/,
    ],
    [
      'no cloud: and no region',
      plan('schedule: [{ every: 1d, tier: daily, to: [cloud] }]').replace(/cloud: \{ region: .*\}\n$/, ''),
      /has no cloud: section/,
    ],
  ];
  for (const [title, text, wanted] of rows)
    test(title, () => {
      const made = synthesised(text);
      try {
        assert.notEqual(made.exit, 0);
        assert.match(made.said, wanted);
        assert.match(made.said, /^hint: /m);
        assert.equal(made.templates.size, 0);
      } finally {
        made.close();
      }
    });
});
