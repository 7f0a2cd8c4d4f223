import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type Amendment, withCondition, without, withoutService, withProperty } from '#test/cloud/amendments';
import { REGION } from '#test/cloud/cloud-plan';
import { type Loop, startLoop } from '#test/cloud/loop';
import { ACCOUNT } from '#test/cloud/resolve';
import { newKey } from '#test/cloud/worker-trial';
import { type RedisServer, startRedis } from '#test/servers/redis';

const key = newKey();
const dir = mkdtempSync(join(tmpdir(), 'hf-lr'));
let redis: RedisServer;
let loop: Loop;

const PLAN = `version: 1
name: shop
encryption: { recipients: [${key.recipient}], identity: { env: HOLDFAST_IDENTITY } }
vaults: { cloud: { s3: shop-backups, region: ${REGION}, prefix: prod } }
tiers: { daily: { keep: 30d } }
sources:
  cache:
    redis: { url: "\${REDIS_URL}" }
    schedule: [{ every: 4h, tier: daily, to: [cloud] }]
alerts:
  critical: [{ webhook: "\${ALERT_HOOK}" }]
  high: [{ webhook: "\${ALERT_HOOK}" }]
  medium: [{ webhook: "\${ALERT_HOOK}" }]
cloud: { region: ${REGION} }
`;

before(async () => {
  mkdirSync(join(dir, 'redis'));
  redis = await startRedis(join(dir, 'redis'));
  await redis.cli(['SET', 'session:1', 'ann']);
  loop = await startLoop({
    plan: PLAN,
    values: { REDIS_URL: `redis://127.0.0.1:${redis.port}`, HOLDFAST_IDENTITY: key.identity },
  });
});

after(async () => {
  await loop?.close();
  await redis?.stop();
  rmSync(dir, { recursive: true, force: true });
});

const BEFORE = '2026-11-22T03:50:00Z';
const AT = '2026-11-22T04:00:00Z';
const NO_IMAGE = 'CannotPullContainerError: no such image';
/** They take any event, or answer a wrong one in words. */
const ANSWERING = new Set(['shop-start-job', 'shop-watch', 'shop-replicate']);
const DONE_WITHOUT = 's3:ListBucketMultipartUploads';

beforeEach(async () => {
  await loop.deploy(BEFORE);
  loop.setClock('2026-11-22T04:00:10Z');
});

async function scheduled(): Promise<void> {
  await loop.schedule('cache', AT);
  await loop.settled();
}

async function events(): Promise<readonly string[]> {
  return (await loop.ledgerOf('cache')).map(({ event }) => event).filter((event) => !event.startsWith('alert-'));
}

async function lastFailure(): Promise<string> {
  const failed = (await loop.ledgerOf('cache')).filter(({ event }) => event === 'failed').at(-1);
  return String(failed?.details['message']);
}

/** Who was denied what, each once. */
function denied(): readonly string[] {
  const all = loop.rights.denied.filter(({ action }) => action !== DONE_WITHOUT);
  return [...new Set(all.map(({ who, action }) => `${who} ${action}`))];
}

function letters(): readonly string[] {
  return loop.queues.letters.map(({ queue, sender }) => `${queue.split(':').at(-1)} by ${sender}`);
}

/** A plan's alarms that ring by themselves: nobody of ours could say it. */
const RINGING = ['watcher-silent', 'function-errors-watch', 'dead-letters-send-alert'];

/** One after the other: of all at once each would be told by a process of its own. */
async function ring(): Promise<void> {
  for (const alarm of loop.deployment.alarms) {
    await loop.carriers.ring(alarm, 'ALARM', loop.now());
    await loop.settled();
  }
}

describe('the loop: what the services of AWS carry', () => {
  test('I10: each alarm that rings reaches people through its topic, which is encrypted; so does its end', async () => {
    const { alarms } = loop.deployment;
    const names = alarms.map(({ name }) => name).sort();
    for (const name of RINGING) assert.ok(names.includes(`holdfast-shop-${name}`), names.join());
    await ring();
    const heard = (what: string): readonly string[] =>
      loop.told().flatMap((one) => (one.what === what ? [one.key.replace('alarm/', '')] : []));
    assert.deepEqual([...heard('opened')].sort(), names);
    const [first] = alarms as [(typeof alarms)[0]];
    await loop.carriers.ring(first, 'OK', loop.now());
    await loop.settled();
    assert.deepEqual(heard('closed'), [first.name]);
    assert.ok(loop.rights.used.has('cloudwatch.amazonaws.com kms:GenerateDataKey'));
    assert.deepEqual(denied(), []);
  });

  test('only the end of a task of this cluster is carried to finish-job', async () => {
    await scheduled();
    assert.deepEqual(await events(), ['backup', 'proof'], `denied: ${denied()}`);
    const { events: told } = loop.ecs;
    const targets = (change: object): number => loop.deployment.listeners(change).length;
    assert.deepEqual(
      told.map((change) => [change.detail.lastStatus, targets(change)]),
      [
        ['RUNNING', 0],
        ['DEPROVISIONING', 0],
        ['STOPPED', 1],
        ['RUNNING', 0],
        ['DEPROVISIONING', 0],
        ['STOPPED', 1],
      ],
    );
    const [stopped] = told.filter((change) => targets(change) > 0) as [(typeof told)[0]];
    const { detail } = stopped;
    for (const other of [
      { ...stopped, source: 'my.ecs' },
      { ...stopped, 'detail-type': 'ECS Deployment State Change' },
      { ...stopped, detail: { ...detail, clusterArn: `${detail.clusterArn}-2` } },
    ])
      assert.equal(targets(other), 0, JSON.stringify(other));
  });

  test('I10: what fails at every attempt, or cannot be delivered, lies in the dead letters of its function', async () => {
    for (const { name } of loop.deployment.functions.values())
      if (!ANSWERING.has(name)) loop.lambda.send(name, { source: 1 });
    await loop.settled();
    assert.deepEqual(
      letters()
        .map((one) => one.split(' ')[0])
        .sort(),
      ['shop-finish-job-dead', 'shop-retain-dead', 'shop-send-alert-dead'],
    );
    assert.deepEqual(denied(), []);
  });
});

describe('the loop: what a deployment lacks is found', () => {
  test('a task whose execution role lacks something never starts, and the ledger says what', async () => {
    const rows: readonly (readonly [Amendment, RegExp])[] = [
      [without('WorkerExecution', 'kms:Decrypt'), /ResourceInitializationError: .*secrets from ASM: .*kms:Decrypt/],
      [without('WorkerExecution', 'secretsmanager:GetSecretValue'), /ResourceInitializationError: .*GetSecretValue/],
      [without('WorkerExecution', 'ecr:GetAuthorizationToken'), /ResourceInitializationError: .*GetAuthorizationToken/],
      [without('WorkerExecution', 'ecr:BatchGetImage'), /CannotPullContainerError: .*ecr:BatchGetImage/],
      [without('WorkerExecution', 'logs:CreateLogStream'), /ResourceInitializationError: .*logs:CreateLogStream/],
      [
        withCondition('WorkerExecution', 'kms:Decrypt', {
          StringEquals: { 'kms:ViaService': `s3.${REGION}.amazonaws.com` },
        }),
        /ResourceInitializationError: .*kms:Decrypt/,
      ],
    ];
    for (const [index, [amendment, says]] of rows.entries()) {
      loop.amend(amendment);
      await loop.invoke('start-job', { action: 'backup', source: 'cache', reason: `row ${index}` });
      await loop.settled();
      assert.match(await lastFailure(), says);
      assert.match(await lastFailure(), /the task never started/);
    }
    assert.deepEqual(
      await events(),
      rows.map(() => 'failed'),
    );
  });

  test('a log that nobody may write stays empty, and the task runs', async () => {
    loop.amend(without('WorkerExecution', 'logs:PutLogEvents'));
    await scheduled();
    assert.deepEqual(await events(), ['backup', 'proof']);
    assert.deepEqual(denied(), ['execution logs:PutLogEvents']);
    assert.ok(!loop.said.some((line) => line.startsWith('shop-cache-backup: {')), loop.said.join('\n'));
  });

  test('I2: a writer that may not use the key stores nothing, and its run has failed', async () => {
    loop.amend(without('WorkercachebackupTaskRole', 'kms:GenerateDataKey'));
    await scheduled();
    assert.deepEqual(await events(), ['failed']);
    assert.ok(denied().includes('task cache backup kms:GenerateDataKey'), denied().join());
    assert.deepEqual(
      (await loop.buckets.marks('cloud')).others.filter((name) => name.startsWith('backups/')),
      [],
    );
  });

  test('a prover that may not use the key proves nothing', async () => {
    loop.amend(without('WorkercacheproveTaskRole', 'kms:Decrypt'));
    await scheduled();
    assert.deepEqual(
      (await events()).filter((event) => event !== 'failed'),
      ['backup'],
    );
    assert.ok(denied().includes('task cache prove kms:Decrypt'), denied().join());
  });

  test('a key whose own policy does not trust the account is closed to every role, whatever the role’s policy says', async () => {
    loop.amend((templates) => {
      const [, template] = [...templates].find(([name]) => name === 'shop-vault') as [string, never];
      const { Resources } = template as { Resources: Record<string, { Type: string; Properties: never }> };
      for (const { Type, Properties } of Object.values(Resources))
        if (Type === 'AWS::KMS::Key') {
          const { KeyPolicy } = Properties as { KeyPolicy: { Statement: { Action: unknown }[] } };
          KeyPolicy.Statement = KeyPolicy.Statement.filter(({ Action }) => Action !== 'kms:*');
        }
    });
    await scheduled();
    assert.equal(loop.ecs.tasks.size, 0);
    assert.ok(denied().includes('function start-job kms:Decrypt'), denied().join());
  });

  test('start-job starts nothing when it may not pass the roles to ECS, or may run tasks on another cluster alone', async () => {
    for (const [amendment, action] of [
      [without('startjob', 'iam:PassRole'), 'iam:PassRole'],
      [
        withCondition('startjob', 'iam:PassRole', { StringEquals: { 'iam:PassedToService': 'ec2.amazonaws.com' } }),
        'iam:PassRole',
      ],
      [
        withCondition('startjob', 'ecs:RunTask', {
          ArnEquals: { 'ecs:cluster': `arn:aws:ecs:${REGION}:${ACCOUNT}:cluster/other` },
        }),
        'ecs:RunTask',
      ],
    ] as const) {
      loop.amend(amendment);
      const answer = await loop.invoke('start-job', { action: 'backup', source: 'cache' });
      assert.match(JSON.stringify(answer), new RegExp(`could not .*${action}`));
      assert.equal(loop.ecs.tasks.size, 0);
    }
  });

  test('I10: a schedule whose role may not invoke leaves a dead letter; where it may not do that either, nobody hears of it', async () => {
    const role = 'SchedulerRole';
    loop.amend(without(role, 'lambda:InvokeFunction'));
    await scheduled();
    assert.equal(letters().length, 1);
    assert.match(letters()[0] ?? '', /^shop-start-job-dead by /);
    assert.deepEqual(JSON.parse(loop.queues.letters[0]?.body ?? ''), {
      action: 'backup',
      source: 'cache',
      schedule: 'every 4h',
      scheduledAt: AT,
    });
    loop.amend(without(role, 'lambda:InvokeFunction', 'sqs:SendMessage'));
    await scheduled();
    assert.equal(letters().length, 1);
    assert.deepEqual(denied(), [
      'schedules of start-job lambda:InvokeFunction',
      'schedules of start-job sqs:SendMessage',
    ]);
    assert.equal(loop.ecs.asked.length, 0);
  });

  test('a role that another group’s schedules alone may take on starts nothing', async () => {
    loop.amend((templates) => {
      const trust = {
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { Service: 'scheduler.amazonaws.com' },
            Action: 'sts:AssumeRole',
            Condition: { StringEquals: { 'aws:SourceArn': `arn:aws:scheduler:${REGION}:${ACCOUNT}:schedule-group/x` } },
          },
        ],
      };
      withProperty('AWS::IAM::Role', 'SchedulerRole', 'AssumeRolePolicyDocument', trust)(templates);
    });
    await scheduled();
    assert.deepEqual(denied(), ['scheduler.amazonaws.com sts:AssumeRole']);
    assert.equal(loop.ecs.asked.length, 0);
  });

  test('I10: an event that finish-job is not open to lies in its dead letters', async () => {
    const other = `arn:aws:events:${REGION}:${ACCOUNT}:rule/other`;
    loop.amend(withProperty('AWS::Lambda::Permission', 'TaskStopped', 'SourceArn', other));
    loop.hinder(() => NO_IMAGE);
    await scheduled();
    assert.deepEqual(denied(), ['events.amazonaws.com lambda:InvokeFunction']);
    assert.deepEqual(letters(), ['shop-finish-job-dead by events.amazonaws.com']);
    assert.deepEqual(await events(), []);
  });

  test('I10: dead letters under a key that their senders may not use are lost: so the queues have none', async () => {
    loop.amend((templates) => {
      const vault = templates.get('shop-vault');
      const [id = ''] = Object.entries(vault?.Resources ?? {}).find(([, { Type }]) => Type === 'AWS::KMS::Key') ?? [];
      const arn = `arn:aws:kms:${REGION}:${ACCOUNT}:key/${id}`;
      withProperty('AWS::SQS::Queue', '', 'KmsMasterKeyId', arn)(templates);
      without('SchedulerRole', 'lambda:InvokeFunction')(templates);
      withProperty(
        'AWS::Lambda::Permission',
        'TaskStopped',
        'SourceArn',
        'arn:aws:events:eu-north-1:1:rule/x',
      )(templates);
      without('sendalert', 'secretsmanager:GetSecretValue')(templates);
    });
    await scheduled();
    loop.hinder(() => NO_IMAGE);
    await loop.invoke('start-job', { action: 'backup', source: 'cache' });
    await ring();
    assert.deepEqual(letters(), []);
    for (const one of ['schedules of start-job', 'events.amazonaws.com', 'function send-alert'])
      assert.ok(denied().includes(`${one} kms:GenerateDataKey`), `${one}: ${denied()}`);
  });

  test('I10: an alarm is dropped in silence when the key, or the topic, does not let CloudWatch in', async () => {
    for (const [type, action] of [
      ['AWS::KMS::Key', 'kms:GenerateDataKey'],
      ['AWS::SNS::TopicPolicy', 'sns:Publish'],
    ] as const) {
      loop.rights.denied.length = 0;
      loop.amend(withoutService(type, 'cloudwatch.amazonaws.com'));
      await ring();
      assert.deepEqual(loop.told(), []);
      assert.deepEqual(denied(), [`cloudwatch.amazonaws.com ${action}`]);
    }
  });

  test('what a topic took reaches nobody when send-alert is not open to it, or may not open its secrets', async () => {
    const other = `arn:aws:sns:${REGION}:${ACCOUNT}:other`;
    loop.amend(withProperty('AWS::Lambda::Permission', 'sendalert', 'SourceArn', other));
    await ring();
    assert.deepEqual(denied(), ['sns.amazonaws.com lambda:InvokeFunction']);
    loop.amend(without('sendalert', 'kms:Decrypt'));
    await ring();
    assert.deepEqual(loop.told(), []);
    assert.ok(denied().includes('function send-alert kms:Decrypt'), denied().join());
    assert.ok(letters().length > 0 && letters().every((one) => one.startsWith('shop-send-alert-dead by ')));
  });

  test('a failure that finish-job may not publish is told to nobody, and the watcher that may tells it', async () => {
    loop.amend(without('finishjob', 'sns:Publish'));
    loop.hinder(() => NO_IMAGE);
    await scheduled();
    assert.deepEqual(loop.told(), []);
    assert.deepEqual(denied(), ['function finish-job sns:Publish']);
    loop.setClock('2026-11-22T04:05:00Z');
    await loop.watch();
    assert.deepEqual(
      loop.told().map(({ what, severity, key: of }) => `${what} ${severity} ${of}`),
      ['opened high failed'],
    );
  });

  test('a deployment whose first watch may not be invoked fails', async () => {
    loop.amend((templates) => {
      withProperty('AWS::IAM::Role', 'AWSCDKTrigger', 'Policies', [])(templates);
    });
    await assert.rejects(loop.carriers.firstWatch(), /first watch is not authorized to perform: lambda:InvokeFunction/);
  });
});

describe('who else may use what a deployment made', () => {
  const ofAccount = { 'aws:SourceAccount': ACCOUNT };
  const topic = (severity: string): string => `arn:aws:sns:${REGION}:${ACCOUNT}:shop-${severity}`;

  test('topics are published to by watch, finish-job and this account’s alarms, and by nobody else', async () => {
    const may = (who: string, context: Record<string, string> = {}): Promise<boolean> =>
      loop.permissions().allows(who, 'sns:Publish', topic('critical'), context);
    for (const who of ['function watch', 'function finish-job']) assert.equal(await may(who), true, who);
    assert.equal(await may('cloudwatch.amazonaws.com', ofAccount), true);
    assert.equal(await may('cloudwatch.amazonaws.com', { 'aws:SourceAccount': '999999999999' }), false);
    assert.equal(await may('cloudwatch.amazonaws.com', { ...ofAccount, 'aws:SecureTransport': 'false' }), false);
    for (const service of ['events.amazonaws.com', 's3.amazonaws.com', 'scheduler.amazonaws.com'])
      assert.equal(await may(service, ofAccount), false, service);
    for (const who of loop.permissions().people.keys())
      if (!['function watch', 'function finish-job'].includes(who)) assert.equal(await may(who), false, who);
  });

  test('S3 may write down who asked for what, of this vault and in its own folder', async () => {
    const bucket = loop.deployment.buckets.get('shop-backups');
    assert.ok(bucket?.accessLog);
    const may = (object: string, from: string): Promise<boolean> =>
      loop
        .permissions()
        .allows('logging.s3.amazonaws.com', 's3:PutObject', object, { ...ofAccount, 'aws:SourceArn': from });
    assert.equal(await may(bucket.accessLog, 'arn:aws:s3:::shop-backups'), true);
    assert.equal(await may(bucket.accessLog, 'arn:aws:s3:::somebody-elses'), false);
    assert.equal(await may(bucket.accessLog.replace('/cloud/', '/other/'), 'arn:aws:s3:::shop-backups'), false);
  });

  test('the key protects buckets, topics and secrets; nothing that a service of AWS writes to by itself', () => {
    const things = [...loop.keys().keys()].map((arn) => arn.split(':')[2]);
    assert.deepEqual([...new Set(things)].sort(), ['s3', 'secretsmanager', 'sns']);
    assert.equal(new Set(loop.keys().values()).size, 1);
  });

  test('the key opens secrets to the execution role by way of Secrets Manager alone', async () => {
    const used = [...loop.keys().values()][0] as string;
    const may = (service: string): Promise<boolean> =>
      loop
        .permissions()
        .allows('execution', 'kms:Decrypt', used, { 'kms:ViaService': `${service}.${REGION}.amazonaws.com` });
    assert.equal(await may('secretsmanager'), true);
    assert.equal(await may('s3'), false);
  });

  test('every schedule’s role invokes its own function and no other', async () => {
    for (const schedule of loop.deployment.schedules) {
      const own = loop.deployment.functionOf(schedule.function);
      const who = `schedules of ${own.name.replace('shop-', '')}`;
      assert.equal(loop.permissions().roleOf(who), schedule.role);
      for (const { arn, name } of loop.deployment.functions.values())
        assert.equal(
          await loop.permissions().allows(who, 'lambda:InvokeFunction', arn),
          name === own.name,
          `${who}: ${name}`,
        );
      assert.ok(own.deadLetters);
      assert.equal(schedule.deadLetters, own.deadLetters);
      assert.equal(await loop.permissions().allows(who, 'sqs:SendMessage', own.deadLetters), true);
    }
  });
});
