import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LedgerEntry } from '#core/ledger';
import { REGION } from '#test/cloud/cloud-plan';
import { type DeployedFunction, type Deployment, deploymentOf } from '#test/cloud/deployment';
import { FunctionProcesses } from '#test/cloud/function-processes';
import { permissionsOf } from '#test/cloud/permissions';
import { type Rights, rightsOf } from '#test/cloud/rights';
import { synthesise } from '#test/cloud/synthesised';
import { type RunningWorker, startContainer } from '#test/cloud/task-container';
import { callerOf } from '#test/servers/aws-stand-in';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { type CloudWatchStandIn, startCloudWatch } from '#test/servers/cloudwatch-stand-in';
import { startCredentials } from '#test/servers/credentials-stand-in';
import { type EcsStandIn, type StoodTask, startEcs } from '#test/servers/ecs-stand-in';
import { type HttpSink, startHttpSink } from '#test/servers/http-sink';
import { type LambdaStandIn, startLambda } from '#test/servers/lambda-stand-in';
import { type S3Gate, startS3Gate } from '#test/servers/s3-gate';
import { type SecretsStandIn, startSecrets } from '#test/servers/secrets-stand-in';
import { type SnsServer, startSns } from '#test/servers/sns';
import { readLedger } from '#vault/ledger-store';
import { S3Vault } from '#vault/s3-vault';

/**
 * A deployment on one machine: the assets of a synthesis by the CLI, run as AWS would run them. Functions and tasks are
 * processes; S3 is a real server behind a gate; what else they talk to stands in for the services of AWS, over HTTP. Who
 * calls is known by its credentials, and may do what its synthesised policies allow.
 */

/** What people were told, from the topic to the webhook. */
export interface Told {
  readonly what: string;
  readonly severity: string;
  readonly key: string;
  readonly source: string | null;
  readonly title: string;
  readonly happened: string;
}

/** What becomes of the events that tell of a task's end. */
export type Delivery = 'once' | 'twice' | 'never';

export interface Loop {
  readonly deployment: Deployment;
  readonly rights: Rights;
  readonly ecs: EcsStandIn;
  readonly lambda: LambdaStandIn;
  readonly secrets: SecretsStandIn;
  readonly cloudWatch: CloudWatchStandIn;
  readonly s3: S3Gate;
  /** Below it tasks write what they write. */
  readonly scratch: string;
  /** The logs of functions and tasks, line by line. */
  readonly said: string[];
  /** What every webhook got, in order. */
  told(): readonly Told[];
  /** The bucket, as it is. */
  vault(): S3Vault;
  ledgerOf(source: string): Promise<readonly LedgerEntry[]>;
  /** An empty bucket, no task, no message, and the clock at a time; then what a deployment does at its end: one watch. */
  deploy(at: string): Promise<void>;
  /** The clock goes on from there. */
  setClock(at: string): void;
  now(): Date;
  /** By EventBridge Scheduler, for a time. */
  schedule(source: string, at: string): void;
  /** By a person, who waits for the answer. */
  invoke(name: string, event: unknown): Promise<unknown>;
  /** By EventBridge Scheduler. */
  watch(): Promise<void>;
  /** Nothing is under way any more: no function, no task, no message. */
  settled(): Promise<void>;
  deliver(how: Delivery): void;
  /** Why a task does not start; null = it does. */
  hinder(why: (task: StoodTask) => string | null): void;
  /** Runs another asset in its place; null = its own again. */
  replace(name: string, directory: string | null): void;
  onSays(act: (worker: RunningWorker) => void): void;
  runningWorkers(): readonly RunningWorker[];
  close(): Promise<void>;
}

export interface LoopOptions {
  /** `holdfast.yaml`, whose bucket is `bucket` below and whose webhook's address is `${ALERT_HOOK}`. */
  readonly plan: string;
  readonly planName: string;
  readonly bucket: string;
  readonly prefix: string;
  /** Of the `${NAME}`s. */
  readonly values: Readonly<Record<string, string>>;
}

const CLOCK = new URL('./shifted-clock.ts', import.meta.url).href;
const SETTLED_ROUNDS = 100;
/** ECS waits 120 s. */
const STOP_MILLISECONDS = 1000;

export async function startLoop(options: LoopOptions): Promise<Loop> {
  const opened = new AsyncDisposableStack();
  try {
    return await opening(options, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

async function opening(options: LoopOptions, opened: AsyncDisposableStack): Promise<Loop> {
  const own = <T extends { stop(): Promise<void> }>(server: T): T => opened.adopt(server, (one) => one.stop());
  const { planName, bucket, prefix, values } = options;
  /** Short: PostgreSQL's socket below it may have 107 letters in all. */
  const directory = mkdtempSync(join(tmpdir(), 'hf-l'));
  opened.defer(() => rmSync(directory, { recursive: true, force: true }));
  chmodSync(directory, 0o711);
  const scratch = join(directory, 't');
  mkdirSync(scratch);
  writeFileSync(join(directory, 'holdfast.yaml'), options.plan);
  const synthesised = synthesise(join(directory, 'holdfast.yaml'));
  opened.defer(() => synthesised.close());
  if (synthesised.exit !== 0) throw new Error(`synthesis failed: ${synthesised.said}`);
  const deployment = deploymentOf(synthesised, planName, REGION);
  const rights = rightsOf(permissionsOf(synthesised, planName, REGION), deployment, planName);
  const { authorise } = rights;

  let shift = 0;
  const now = (): Date => new Date(Date.now() + shift);
  const setClock = (at: string): void => {
    shift = Date.parse(at) - Date.now();
  };
  let delivery: Delivery = 'once';
  let hindrance: (task: StoodTask) => string | null = () => null;
  const replaced = new Map<string, string>();
  let onSays: (worker: RunningWorker) => void = () => undefined;
  const workers = new Set<RunningWorker>();
  const said: string[] = [];
  let real = '';

  const ceph: S3ForTests = opened.adopt(await s3ForTests(), (one) => one.close());
  const hook: HttpSink = own(await startHttpSink());
  const sns: SnsServer = own(await startSns());
  const s3 = own(await startS3Gate(ceph, authorise, () => shift));
  const secrets = own(await startSecrets(deployment.secrets, authorise));
  const cloudWatch = own(await startCloudWatch(authorise));
  const credentials = own(await startCredentials());
  const endpoints: Record<string, string> = {
    AWS_ENDPOINT_URL_S3: s3.endpoint,
    AWS_ENDPOINT_URL_SECRETS_MANAGER: secrets.endpoint,
    AWS_ENDPOINT_URL_CLOUDWATCH: cloudWatch.endpoint,
    AWS_ENDPOINT_URL_SNS: sns.endpoint,
    // A call to anything else must fail, and not leave this machine.
    AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
    AWS_REGION: REGION,
    AWS_DEFAULT_REGION: REGION,
    AWS_EC2_METADATA_DISABLED: 'true',
  };
  const surroundings = (): Record<string, string> => ({
    ...endpoints,
    HOLDFAST_TEST_CLOCK_SHIFT: String(shift),
    NODE_COMPILE_CACHE: join(directory, 'compiled'),
    NODE_OPTIONS: `--import=${CLOCK} --disable-warning=ExperimentalWarning`,
  });
  const functionNamed = (name: string): DeployedFunction => {
    const short = name.replace(`${planName}-`, '');
    const found = deployment.functions.get(short);
    if (!found) throw new Error(`no function ${name}`);
    return { ...found, directory: replaced.get(short) ?? found.directory };
  };
  const functions = new FunctionProcesses(surroundings, (line) => void said.push(line));
  opened.defer(() => functions.close());
  const lambda = await startLambda(
    new Map([...deployment.functions.values()].map(({ name, arn }) => [name, arn])),
    (name, event, requestId) => functions.run(functionNamed(name), event, requestId, shift),
    authorise,
  );
  own(lambda);
  endpoints['AWS_ENDPOINT_URL_LAMBDA'] = lambda.endpoint;
  const ecs = await startEcs({
    clusterArn: deployment.clusterArn,
    definitions: deployment.tasks,
    authorise,
    now,
    start: ({ family }, task) =>
      startContainer(deployment.tasks.get(family) as never, task, {
        directory: scratch,
        surroundings: surroundings(),
        credentialsOf: (role) => `${credentials.endpoint}/${role}`,
        secret: (arn, role) => secrets.secretOf(arn, role),
        hinders: (one) => hindrance(one),
        stopMilliseconds: STOP_MILLISECONDS,
        onSays(worker) {
          workers.add(worker);
          onSays(worker);
        },
        onEnd(worker, code) {
          workers.delete(worker);
          for (const line of worker.said().trimEnd().split('\n')) said.push(`${worker.definition.family}: ${line}`);
          said.push(`${worker.definition.family}: ended with ${code}`);
        },
      }),
    async onStopped(event) {
      for (const name of deployment.listeners(event))
        for (let times = { once: 1, twice: 2, never: 0 }[delivery]; times > 0; times--)
          lambda.send(functionNamed(name).name, event);
    },
  });
  own(ecs);
  endpoints['AWS_ENDPOINT_URL_ECS'] = ecs.endpoint;

  let passedOn = 0;
  /** SNS has taken it; whether its caller was allowed to is asked, and its subscribers get it. */
  const passMessagesOn = async (): Promise<boolean> => {
    const before = passedOn;
    for (; passedOn < sns.published.length; passedOn++) {
      const { topic, subject, message, attributes } = sns.published[passedOn] as SnsServer['published'][number];
      const caller = callerOf((sns.received[passedOn] as { headers: object }).headers as never, 'sns');
      await authorise(caller, 'sns:Publish', topic ?? '*');
      const forLambda = (JSON.parse(message) as Record<string, string>)['lambda'] ?? message;
      const Sns = { TopicArn: topic, Subject: subject, Message: forLambda, MessageAttributes: attributes };
      for (const name of deployment.subscribers(topic ?? ''))
        lambda.send(functionNamed(name).name, { Records: [{ EventSource: 'aws:sns', Sns }] });
    }
    return passedOn > before;
  };
  const settled = async (): Promise<void> => {
    for (let round = 0; round < SETTLED_ROUNDS; round++) {
      await lambda.settled();
      await ecs.settled();
      const calls = lambda.invoked.length + ecs.asked.length;
      if (await passMessagesOn()) continue;
      await lambda.settled();
      if (calls === lambda.invoked.length + ecs.asked.length && passedOn === sns.published.length) return;
    }
    throw new Error('the deployment never comes to rest');
  };
  const vault = (): S3Vault =>
    new S3Vault({
      name: 'cloud',
      settings: { bucket: real, prefix, region: 'us-east-1', endpoint: ceph.endpoint, credentials: ceph, sse: null },
    });
  const invoke = (name: string, event: unknown): Promise<unknown> =>
    functions.run(functionNamed(name), event, crypto.randomUUID(), shift);
  const watch = async (): Promise<void> => {
    lambda.send(functionNamed('watch').name, {});
    await settled();
  };

  return {
    deployment,
    rights,
    ecs,
    lambda,
    secrets,
    cloudWatch,
    s3,
    scratch,
    said,
    told: () => hook.received.map((one) => one.json() as Told),
    vault,
    ledgerOf: (source) => Array.fromAsync(readLedger(vault(), source)),
    async deploy(at) {
      await settled();
      // What it remembers of earlier messages is gone with it.
      await functions.renew(functionNamed('send-alert').name);
      real = await ceph.another();
      s3.lead(bucket, real);
      ecs.clear();
      for (const list of [
        rights.denied,
        lambda.dead,
        lambda.invoked,
        cloudWatch.written,
        s3.calls,
        hook.received,
        said,
      ])
        list.length = 0;
      for (const [name, value] of Object.entries({ ...values, ALERT_HOOK: `${hook.url}/hook` }))
        secrets.put(`holdfast/${planName}/${name}`, value);
      delivery = 'once';
      hindrance = () => null;
      replaced.clear();
      onSays = () => undefined;
      s3.onDone(() => undefined);
      setClock(at);
      await watch();
    },
    setClock,
    now,
    schedule(source, at) {
      const { name, event } = deployment.scheduled(source, at);
      lambda.send(functionNamed(name).name, event);
    },
    invoke,
    watch,
    settled,
    deliver(how) {
      delivery = how;
    },
    hinder(why) {
      hindrance = why;
    },
    replace(name, other) {
      if (other === null) replaced.delete(name);
      else replaced.set(name, other);
    },
    onSays(act) {
      onSays = act;
    },
    runningWorkers: () => [...workers],
    async close() {
      for (const worker of workers) worker.signal('SIGKILL');
      await ecs.settled();
      await lambda.settled();
      await opened.disposeAsync();
    },
  };
}
