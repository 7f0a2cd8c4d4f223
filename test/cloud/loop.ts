import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LedgerEntry } from '#core/ledger';
import { loadPlan } from '#core/plan-load';
import { type Carriers, carriersOf, unlessDenied } from '#test/cloud/carriers';
import { REGION } from '#test/cloud/cloud-plan';
import type { DeployedSchedule } from '#test/cloud/deployed-services';
import { type Deployment, deploymentOf } from '#test/cloud/deployment';
import type { LoopBuckets } from '#test/cloud/loop-buckets';
import { LoopFunctions } from '#test/cloud/loop-functions';
import { LoopPolicies } from '#test/cloud/loop-policies';
import { startServices } from '#test/cloud/loop-services';
import type { Permissions } from '#test/cloud/permissions';
import { type Rights, rightsOf } from '#test/cloud/rights';
import { synthesise, type Template } from '#test/cloud/synthesised';
import { type RunningWorker, startContainer } from '#test/cloud/task-container';
import type { CloudWatchStandIn } from '#test/servers/cloudwatch-stand-in';
import { type EcsStandIn, type StoodTask, startEcs } from '#test/servers/ecs-stand-in';
import { type HttpSink, startHttpSink } from '#test/servers/http-sink';
import { type LambdaStandIn, startLambda } from '#test/servers/lambda-stand-in';
import type { Queues } from '#test/servers/queues-stand-in';
import type { S3Gate } from '#test/servers/s3-gate';
import type { SecretsStandIn } from '#test/servers/secrets-stand-in';
import { readLedger } from '#vault/ledger-store';
import type { S3Vault } from '#vault/s3-vault';

/**
 * A deployment on one machine: the assets of a synthesis, run as AWS would run them. Functions and tasks are
 * processes; S3 is a real server behind a gate; what else they talk to stands in for the services of AWS, over HTTP. Who
 * calls is known by its credentials, and may do what its synthesised policies allow, those of buckets, topics, queues,
 * functions and the key included.
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
  /** As they are at the moment. */
  permissions(): Permissions;
  /** ARN of a thing → ARN of the key that protects it. */
  keys(): ReadonlyMap<string, string>;
  readonly ecs: EcsStandIn;
  readonly lambda: LambdaStandIn;
  readonly secrets: SecretsStandIn;
  readonly cloudWatch: CloudWatchStandIn;
  readonly s3: S3Gate;
  /** Dead letters. */
  readonly queues: Queues;
  /** What AWS's services do by themselves. */
  readonly carriers: Carriers;
  /** Below it tasks write what they write. */
  readonly scratch: string;
  /** The logs of functions and tasks, line by line. */
  readonly said: string[];
  /** What every webhook got, in order. */
  told(): readonly Told[];
  readonly buckets: LoopBuckets;
  /** As it is; the first one unless told. */
  vault(name?: string): S3Vault;
  ledgerOf(source: string, vault?: string): Promise<readonly LedgerEntry[]>;
  /** Empty buckets, no task, no message, and the clock at a time; then what a deployment does at its end: one watch. */
  deploy(at: string): Promise<void>;
  /** The clock goes on from there. */
  setClock(at: string): void;
  now(): Date;
  /** The schedule of a source, or of a function. */
  scheduleOf(name: string): DeployedSchedule;
  /** By EventBridge Scheduler, for a time. */
  schedule(source: string, at: string): Promise<void>;
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
  /** From now on the policies are those of the templates as this leaves them, until the next deployment. */
  amend(edit: (templates: ReadonlyMap<string, Template>) => void): void;
  runningWorkers(): readonly RunningWorker[];
  close(): Promise<void>;
}

export interface LoopOptions {
  /** `holdfast.yaml`, whose vaults are buckets and whose webhook's address is `${ALERT_HOOK}`. */
  readonly plan: string;
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
  const { values } = options;
  const { plan } = loadPlan(options.plan, 'holdfast.yaml');
  const planName = plan.name;
  const region = plan.cloud?.region ?? REGION;
  /** Short: PostgreSQL's socket below it may have 107 letters in all. */
  const directory = mkdtempSync(join(tmpdir(), 'hf-l'));
  opened.defer(() => rmSync(directory, { recursive: true, force: true }));
  chmodSync(directory, 0o711);
  const scratch = join(directory, 't');
  mkdirSync(scratch);
  writeFileSync(join(directory, 'holdfast.yaml'), options.plan);
  const synthesised = synthesise(join(directory, 'holdfast.yaml'), { bundled: true });
  opened.defer(() => synthesised.close());
  const deployment = deploymentOf(synthesised, planName, region);
  const policies = new LoopPolicies(synthesised.templates, planName, region);
  const permissions = (): Permissions => policies.current.permissions;
  const keys = (): ReadonlyMap<string, string> => policies.current.keys;
  const rights = rightsOf({ permissions, keys, region });
  const { authorise, assume } = rights;

  let shift = 0;
  const now = (): Date => new Date(Date.now() + shift);
  const setClock = (at: string): void => {
    shift = Date.parse(at) - Date.now();
  };
  let delivery: Delivery = 'once';
  let hindrance: (task: StoodTask) => string | null = () => null;
  let onSays: (worker: RunningWorker) => void = () => undefined;
  const workers = new Set<RunningWorker>();
  const said: string[] = [];

  const hook: HttpSink = own(await startHttpSink());
  const services = await startServices({ plan, deployment, rights, region, shift: () => shift }, opened);
  const { sns, queues, s3, buckets, secrets, cloudWatch, credentials } = services;
  const endpoints: Record<string, string> = { ...services.endpoints };
  const surroundings = (): Record<string, string> => ({
    ...endpoints,
    HOLDFAST_TEST_CLOCK_SHIFT: String(shift),
    NODE_COMPILE_CACHE: join(directory, 'compiled'),
    NODE_OPTIONS: `--import=${CLOCK} --disable-warning=ExperimentalWarning`,
  });
  const functions = new LoopFunctions({
    deployment,
    rights,
    surroundings,
    said: (line) => void said.push(line),
    shift: () => shift,
  });
  opened.defer(() => functions.close());
  const lambda = own(
    await startLambda({
      functions: [...deployment.functions.values()],
      run: (name, event, requestId) => functions.run(name, event, requestId),
      authorise,
      async onDead({ name, event }) {
        const { role, deadLetters } = functions.named(name);
        const body = JSON.stringify(event);
        if (deadLetters) await unlessDenied(() => queues.send({ sender: role, queue: deadLetters, body }));
      },
    }),
  );
  const carriers = carriersOf({ deployment, rights, lambda, sns, queues });
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
        assume: (role) => assume('ecs-tasks.amazonaws.com', role),
        authorise,
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
    onChange: (event) => carriers.carry(event, { once: 1, twice: 2, never: 0 }[delivery]),
  });
  own(ecs);
  endpoints['AWS_ENDPOINT_URL_ECS'] = ecs.endpoint;

  const settled = async (): Promise<void> => {
    for (let round = 0; round < SETTLED_ROUNDS; round++) {
      await lambda.settled();
      await ecs.settled();
      const calls = lambda.invoked.length + ecs.asked.length;
      if (await carriers.passOn()) continue;
      await lambda.settled();
      if (calls === lambda.invoked.length + ecs.asked.length && !(await carriers.passOn())) return;
    }
    throw new Error('the deployment never comes to rest');
  };
  const invoke = (name: string, event: unknown): Promise<unknown> => functions.run(name, event, crypto.randomUUID());
  const scheduleOf = (name: string): DeployedSchedule => {
    const short = deployment.functions.get(name)?.arn;
    const found = deployment.schedules.find(
      (one) => one.function === short || (one.event('') as { readonly source?: string }).source === name,
    );
    if (!found) throw new Error(`no schedule of ${name}`);
    return found;
  };
  const watch = async (): Promise<void> => {
    await carriers.fire(scheduleOf('watch'), now().toISOString());
    await settled();
  };

  return {
    deployment,
    rights,
    permissions,
    keys,
    ecs,
    lambda,
    secrets,
    cloudWatch,
    s3,
    queues,
    carriers,
    scratch,
    said,
    told: () => hook.received.map((one) => one.json() as Told),
    buckets,
    vault: (name) => buckets.vault(name),
    ledgerOf: (source, name) => Array.fromAsync(readLedger(buckets.vault(name), source)),
    async deploy(at) {
      await settled();
      // What it remembers of earlier messages is gone with it.
      await functions.renew('send-alert');
      policies.restore();
      await buckets.renew();
      ecs.clear();
      for (const list of [
        rights.denied,
        lambda.dead,
        lambda.invoked,
        queues.letters,
        cloudWatch.written,
        s3.calls,
        hook.received,
        said,
      ])
        list.length = 0;
      for (const [name, value] of Object.entries({ ...values, ALERT_HOOK: `${hook.url}/hook` })) {
        const secret = `holdfast/${planName}/${name}`;
        if (name !== 'ALERT_HOOK' || deployment.secrets.has(secret)) secrets.put(secret, value);
      }
      delivery = 'once';
      hindrance = () => null;
      onSays = () => undefined;
      s3.onDone(() => undefined);
      setClock(at);
      await carriers.firstWatch();
      await settled();
    },
    setClock,
    now,
    scheduleOf,
    schedule: (source, at) => carriers.fire(scheduleOf(source), at),
    invoke,
    watch,
    settled,
    deliver(how) {
      delivery = how;
    },
    hinder(why) {
      hindrance = why;
    },
    replace: (name, directory) => functions.replace(name, directory),
    onSays(act) {
      onSays = act;
    },
    amend: (edit) => policies.amend(edit),
    runningWorkers: () => [...workers],
    async close() {
      for (const worker of workers) worker.signal('SIGKILL');
      await ecs.settled();
      await lambda.settled();
      await opened.disposeAsync();
    },
  };
}
