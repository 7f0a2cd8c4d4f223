import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HoldfastError } from '#core/errors';
import { cdkSynth } from '#test/cloud/cdk-command';
import { EVERYTHING, REGION } from '#test/cloud/cloud-plan';
import { type Assembly, resourcesOf, type Synthesised, synthesise, type Template } from '#test/cloud/synthesised';

/** Each source of an example: where it runs, and why. Those without `cloud:` are deployed for their alarms alone. */
const EXAMPLES: Readonly<Record<string, { readonly cloud: boolean; readonly table: readonly string[] }>> = {
  archon72: {
    cloud: true,
    table: [
      'events  here   local, cloud  (it is kept in local, a directory of this machine)',
      'cache   here   local, cloud  (it is kept in local, a directory of this machine)',
      'config  here   local, cloud  (files: files of this machine)',
    ],
  },
  chatcard: {
    cloud: true,
    table: [
      'database  cloud  elsewhere  (postgres by its address, all its vaults are buckets)',
      'schema    cloud  elsewhere  (postgres by its address, all its vaults are buckets)',
      'cache     here   elsewhere  (runs: here)',
    ],
  },
  elspeth: {
    cloud: false,
    table: [
      'audit     here   backups  (the plan has no cloud:)',
      'payloads  here   backups  (the plan has no cloud:)',
      'config    here   backups  (the plan has no cloud:)',
      'volumes   here   backups  (the plan has no cloud:)',
    ],
  },
  genesis: { cloud: false, table: ['database  here   singapore  (the plan has no cloud:)'] },
  'sin-solver': {
    cloud: false,
    table: [
      'postgres       here   ssd, hdd, cloud  (the plan has no cloud:)',
      'redis          here   ssd, hdd  (the plan has no cloud:)',
      'config         here   ssd, cloud  (the plan has no cloud:)',
      'training-data  here   hdd  (the plan has no cloud:)',
      'checkpoints    here   ssd  (the plan has no cloud:)',
      'models         here   cloud  (the plan has no cloud:)',
    ],
  },
};
const VALIDATED = 'chatcard';
/** CloudFormation takes 500 a stack; the rest is for what a plan grows by. */
const MOST_RESOURCES = 400;

/** What everybody's data hangs on: another logical id would be another bucket, key or secret. */
const STATEFUL = ['AWS::S3::Bucket', 'AWS::KMS::Key', 'AWS::SecretsManager::Secret'];

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'hf-plan-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

function fileOf(text: string): string {
  const file = join(folder, 'holdfast.yaml');
  writeFileSync(file, text);
  return file;
}

function isClean({ manifest, templates, violations }: Assembly & Pick<Synthesised, 'violations'>): void {
  assert.equal(manifest?.missing, undefined, 'something would have to be looked up in an account');
  assert.deepEqual(violations, []);
  for (const [stack, { Resources }] of templates)
    assert.ok(Object.keys(Resources).length < MOST_RESOURCES, `${stack}: ${Object.keys(Resources).length} resources`);
}

function clean(text: string): Synthesised {
  const made = synthesise(fileOf(text), { validated: true });
  isClean(made);
  return made;
}

describe('cdk synth, without credentials and without Docker', () => {
  for (const [example, { cloud, table }] of Object.entries(EXAMPLES))
    test(`the example ${example}${cloud ? ', as it stands' : ''}: every source is named with where it runs and why`, () => {
      const file = fileURLToPath(new URL(`../../examples/${example}.yaml`, import.meta.url));
      // The rules are asked of all in this process, and by the command line of one.
      const here = synthesise(file, { ...(cloud ? {} : { region: REGION }), bundled: true, validated: true });
      const made = cdkSynth(file, cloud ? {} : { region: REGION }, example === VALIDATED);
      try {
        assert.equal(made.exit, 0, made.said);
        assert.doesNotMatch(made.said, /\bWARNING\b|CloudFormation Validate/, made.said);
        isClean(here);
        assert.deepEqual([made.manifest?.missing, made.templates], [undefined, here.templates]);
        assert.deepEqual(
          made.said.split('\n').filter((line) => / {2}(?:here|cloud) +\S.* \(.*\)$|^warning: /.test(line)),
          table,
        );
        assert.deepEqual([...made.templates.keys()].sort(), [`${example}-vault`, `${example}-work`]);
        const work = made.templates.get(`${example}-work`) as Template;
        const running = table.filter((line) => /^\S+ +cloud /.test(line)).map((line) => line.split(' ')[0]);
        assert.deepEqual(
          resourcesOf(work, 'AWS::ECS::TaskDefinition').map(([, { Properties }]) => Properties?.['Family']),
          running.flatMap((source) => [`${example}-${source}-backup`, `${example}-${source}-prove`]),
        );
      } finally {
        made.close();
        here.close();
      }
    });

  test('a PostgreSQL source of the cloud that says no version: a warning with its line, and what to write', () => {
    const made = clean(`version: 1
name: shop
encryption: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p], identity: { env: KEY } }
vaults: { cloud: { s3: shop-backups, region: ${REGION} } }
tiers: { daily: { keep: 30d } }
sources:
  events: { postgres: { url: "\${DATABASE_URL}" }, schedule: [{ every: 1d, tier: daily, to: [cloud] }] }
  users: { postgres: { url: "\${USERS_URL}", version: 16 }, schedule: [{ every: 1d, tier: daily, to: [cloud] }] }
  local: { postgres: { url: "\${LOCAL_URL}" }, runs: here, schedule: [{ every: 1d, tier: daily, to: [cloud] }] }
cloud: { region: ${REGION} }
`);
    try {
      const [warning = '', ...more] = made.lines.filter((line) => line.startsWith('warning: '));
      assert.deepEqual(more, []);
      assert.match(
        warning,
        /holdfast\.yaml:7:\d+ sources\.events\.postgres: no version, so the image has PostgreSQL 17/,
      );
      assert.match(warning, /write version: NN/i);
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
    const made = clean(`version: 1
name: many
encryption: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p], identity: { env: KEY } }
vaults: { cloud: { s3: many-backups, region: ${REGION} } }
tiers: { daily: { keep: 30d }, monthly: { keep: 12mo, class: archive } }
sources:
${sources.join('\n')}
cloud: { region: ${REGION} }
`);
    try {
      const work = made.templates.get('many-work');
      assert.ok(work);
      assert.equal(resourcesOf(work, 'AWS::ECS::TaskDefinition').length, 40);
      const names = resourcesOf(work, 'AWS::CloudWatch::Alarm').map(([, { Properties }]) => Properties?.['AlarmName']);
      for (let index = 0; index < 20; index++) assert.ok(names.includes(`holdfast-many-no-proven-backup-db${index}`));
    } finally {
      made.close();
    }
  });

  test('every sort of thing that a plan can ask of AWS: CloudFormation’s own rules find nothing', () => {
    clean(EVERYTHING).close();
  });

  test('what holds data keeps its logical id, is retained, and its stack cannot be deleted by mistake', () => {
    const made = clean(`version: 1
name: shop
encryption: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p], identity: { env: KEY } }
vaults: { cloud: { s3: shop-backups, region: ${REGION}, replica: { region: eu-west-1 } } }
tiers: { daily: { keep: 30d } }
sources:
  events: { postgres: { url: "\${DATABASE_URL}" }, schedule: [{ every: 1d, tier: daily, to: [cloud] }] }
cloud: { region: ${REGION} }
`);
    try {
      const ids = [...made.templates].flatMap(([stack, template]) =>
        STATEFUL.flatMap((type) => resourcesOf(template, type)).map(([id, { DeletionPolicy }]) => {
          assert.match(String(DeletionPolicy), /^Retain/, `${stack} ${id}`);
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
      'an identity, and an engine, that are not there yet: every run would fail',
      plan(
        'schedule: [{ every: 1d, tier: daily, to: [cloud] }]',
        '{ secret: "arn:aws:secretsmanager:eu-north-1:111122223333:secret:k" }',
      ).replace(
        'sources:\n',
        `sources:\n  code: { git: { repository: "https://git.example.com/x.git" }, schedule: [{ every: 1d, tier: daily, to: [cloud] }] }\n`,
      ),
      /:9:\d+ sources\.code\.git: .* not there yet[\s\S]*:5:\d+ encryption\.identity\.secret: .* not there yet/,
    ],
    [
      'a run every five minutes',
      plan('schedule: [{ every: 5m, tier: daily, to: [cloud] }]'),
      /:9:\d+ .*every 5 minutes in the cloud, want 15 minutes or more/,
    ],
    [
      'a bucket in another region than what is deployed',
      plan('schedule: [{ every: 1d, tier: daily, to: [cloud] }]').replace(
        `s3: shop-backups, region: ${REGION}`,
        's3: shop-backups, region: eu-west-1',
      ),
      /:6:\d+ vaults\.cloud\.region: got eu-west-1, want eu-north-1/,
    ],
    [
      'a copy for another account that is said to stand nowhere',
      plan('schedule: [{ every: 1d, tier: daily, to: [cloud] }]').replace(
        `region: ${REGION} } }`,
        `region: ${REGION}, replica: { account: "444455556666" } } }`,
      ),
      /:6:\d+ vaults\.cloud\.replica: got account 444455556666 alone, want the region of the copy/,
    ],
    [
      'no cloud: and no region',
      plan('schedule: [{ every: 1d, tier: daily, to: [cloud] }]').replace(/cloud: \{ region: .*\}\n$/, ''),
      /has no cloud: section/,
    ],
  ];
  for (const [title, text, wanted] of rows)
    test(title, () => {
      assert.throws(
        () => synthesise(fileOf(text)),
        (error) => {
          assert.ok(error instanceof HoldfastError);
          assert.equal(error.exit, 2);
          assert.match(error.message, wanted);
          assert.ok(error.hint);
          return true;
        },
      );
    });

  test('by the command line: what is refused, what to do about it, and no template', () => {
    const [[, text, wanted]] = rows as [(typeof rows)[0]];
    const made = cdkSynth(fileOf(text), {}, true);
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
