import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { REGION } from '#test/cloud/cloud-plan';
import { permissionsOf } from '#test/cloud/permissions';
import { type Resource, resourcesOf, synthesise, type Template } from '#test/cloud/synthesised';

/** What is deployed is deployed again: changed, taken away, made anew, or for the second time because the first try failed. */

const PLAN = `version: 1
name: shop
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: { env: HOLDFAST_IDENTITY }
vaults:
  cloud: { s3: shop-backups, region: ${REGION}, replica: { region: eu-west-1 } }
tiers: { daily: { keep: 30d } }
sources:
  events: { postgres: { url: "\${DATABASE_URL}", version: 16 }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }] }
cloud: { region: ${REGION} }
`;
const WITH_A_VAULT = PLAN.replace('tiers:', `  second: { s3: shop-second, region: ${REGION} }\ntiers:`).replace(
  'to: [cloud]',
  'to: [cloud, second]',
);
const WITH_A_SOURCE = PLAN.replace(
  '\ncloud: {',
  '\n  cache: { redis: { url: "${REDIS_URL}" }, schedule: [{ every: 4h, tier: daily, to: [cloud] }] }\ncloud: {',
);
const AT_THREE = PLAN.replace('0 2 * * *', '0 3 * * *');

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'hf-next-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const known = new Map<string, ReadonlyMap<string, Template>>();

/** By stack. */
function templatesOf(text: string): ReadonlyMap<string, Template> {
  const found = known.get(text);
  if (found) return found;
  const file = join(folder, 'holdfast.yaml');
  writeFileSync(file, text);
  const made = synthesise(file);
  made.close();
  known.set(text, made.templates);
  return made.templates;
}

function workOf(text: string): Template {
  return templatesOf(text).get('shop-work') as Template;
}

function imports(template: Template): string[] {
  const found = [...JSON.stringify(template).matchAll(/"Fn::ImportValue":"([^"]+)"/g)].map(([, name = '']) => name);
  return [...new Set(found)].sort();
}

interface Alarm {
  readonly AlarmName: string;
  readonly TreatMissingData: string;
  readonly MetricName?: string;
}

/** Logical ids of what runs the watcher once, and of what waits for it. */
function firstWatch(work: Template): { readonly id: string; readonly waiting: readonly string[] } {
  const [[id]] = resourcesOf(work, 'Custom::Trigger') as [readonly [string, Resource]];
  const waiting = resourcesOf(work, 'AWS::CloudWatch::Alarm').flatMap(([, { Properties, DependsOn = [] }]) =>
    [DependsOn].flat().includes(id) ? [String(Properties?.['AlarmName'])] : [],
  );
  return { id, waiting };
}

describe('the next deployment', () => {
  test('a vault can be taken out of the plan: what runs imports nothing of it, which CloudFormation would hold on to', () => {
    assert.match(JSON.stringify(workOf(WITH_A_VAULT)), /shop-second/);
    assert.deepEqual(imports(workOf(WITH_A_VAULT)), imports(workOf(PLAN)));
  });

  test('I10: alarms of a source that is new find figures: the watcher runs once more before them, and only then', () => {
    const before = firstWatch(workOf(PLAN));
    const more = firstWatch(workOf(WITH_A_SOURCE));
    assert.ok(more.waiting.includes('holdfast-shop-no-proven-backup-cache'), more.waiting.join());
    assert.notEqual(more.id, before.id, 'an update of it does not run the watcher');
    assert.equal(firstWatch(workOf(AT_THREE)).id, before.id);
  });

  test('what runs can be thrown away and made again: nothing of it stays behind to be in its own way', () => {
    const kept = Object.entries(workOf(PLAN).Resources).filter(
      ([, { DeletionPolicy, Properties }]) =>
        DeletionPolicy?.startsWith('Retain') && Object.keys(Properties ?? {}).length > 0,
    );
    assert.deepEqual(
      kept.map(([id, { Type }]) => `${Type} ${id}`),
      [],
    );
  });

  test('what holds data goes again when the deployment that makes it fails, and never after that', () => {
    const templates = templatesOf(PLAN);
    for (const stack of ['shop-vault', 'shop-replica-cloud'])
      for (const type of ['AWS::S3::Bucket', 'AWS::KMS::Key', 'AWS::SecretsManager::Secret'])
        for (const [id, resource] of resourcesOf(templates.get(stack) as Template, type)) {
          const { DeletionPolicy, UpdateReplacePolicy } = resource as Resource & { UpdateReplacePolicy?: string };
          assert.deepEqual([DeletionPolicy, UpdateReplacePolicy], ['RetainExceptOnCreate', 'Retain'], `${stack} ${id}`);
        }
  });
});

describe('what CloudWatch and the network make of it', () => {
  test('I10: a function that fails rings although no other was called at that time: no alarm adds figures up', () => {
    const alarms = resourcesOf(workOf(PLAN), 'AWS::CloudWatch::Alarm').map(([, { Properties }]) => Properties as never);
    for (const { AlarmName, MetricName } of alarms as Alarm[]) assert.ok(MetricName, `${AlarmName} is an expression`);
    for (const host of ['start-job', 'finish-job', 'watch', 'retain', 'replicate', 'send-alert'])
      for (const rule of ['function-errors', 'dead-letters'])
        assert.ok(
          (alarms as Alarm[]).some(({ AlarmName }) => AlarmName === `holdfast-shop-${rule}-${host}`),
          `${rule} of ${host}`,
        );
  });

  test('I10: an alarm is heard by somebody although the plan has no list for its severity', () => {
    const work = workOf(`${PLAN}alerts: { high: [{ email: ops@example.com }] }\n`);
    const topics = resourcesOf(work, 'AWS::CloudWatch::Alarm').flatMap(
      ([, { Properties }]) => (Properties?.['AlarmActions'] ?? []) as unknown[],
    );
    assert.ok(topics.length > 0);
    for (const topic of topics) assert.match(JSON.stringify(topic), /ExportsOutputRefTopicshigh/);
  });

  test('an address that stands twice in a list is subscribed once', () => {
    const templates = templatesOf(
      `${PLAN}alerts: { high: [{ email: ops@example.com }, { email: ops@example.com }] }\n`,
    );
    const subscribed = resourcesOf(templates.get('shop-vault') as Template, 'AWS::SNS::Subscription');
    assert.deepEqual(
      subscribed.map(([, { Properties }]) => Properties?.['Endpoint']),
      ['ops@example.com'],
    );
  });

  test('a topic of somebody else’s is told by send-alert, which may publish to it and to no other', async () => {
    const topic = 'arn:aws:sns:eu-west-1:444455556666:pager';
    const templates = templatesOf(`${PLAN}alerts: { high: [{ sns: "${topic}" }] }\n`);
    const { allows } = permissionsOf({ templates }, 'shop', REGION);
    assert.equal(await allows('function send-alert', 'sns:Publish', topic), true);
    assert.equal(await allows('function send-alert', 'sns:Publish', `${topic}-2`), false);
    const [[, subscription]] = resourcesOf(templates.get('shop-work') as Template, 'AWS::SNS::Subscription') as [
      readonly [string, Resource],
    ];
    assert.match(JSON.stringify(subscription), /ExportsOutputRefTopicshigh/);
  });

  test('tasks in subnets of the user’s own get a public address where he says so, and nowhere else', () => {
    const address = (more: string): unknown => {
      const network = `network: { subnetIds: [subnet-0a], securityGroupIds: [sg-0a]${more} }`;
      const work = workOf(PLAN.replace(`cloud: { region: ${REGION}`, `cloud: { region: ${REGION}, ${network}`));
      assert.deepEqual(resourcesOf(work, 'AWS::EC2::VPC'), []);
      return /"HOLDFAST_PUBLIC_IP":"([A-Z]+)"/.exec(JSON.stringify(work))?.[1];
    };
    assert.equal(address(''), 'DISABLED');
    assert.equal(address(', publicIp: true'), 'ENABLED');
  });

  test('of the network only what was rejected is logged, for three months: not each gigabyte of a backup', () => {
    const work = workOf(PLAN);
    const [[, flow]] = resourcesOf(work, 'AWS::EC2::FlowLog') as [readonly [string, Resource]];
    assert.equal(flow.Properties?.['TrafficType'], 'REJECT');
    for (const [id, { Properties }] of resourcesOf(work, 'AWS::Logs::LogGroup'))
      assert.equal(Properties?.['RetentionInDays'], 90, id);
  });
});
