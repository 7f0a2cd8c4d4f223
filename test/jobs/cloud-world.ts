import type { Telling } from '#core/alert';
import { hostOfRun, type JobDocument, type StartPayload } from '#core/job';
import { backupFolder, isoTime, type Manifest, manifestKey, newBackupId, signManifest } from '#core/manifest';
import type { Metric } from '#core/metrics';
import { loadPlan } from '#core/plan-load';
import type { RunningTask } from '#core/ports';
import { type ProofOutcome, proofKey, proofName, signProof } from '#core/proof';
import { CONTAINER, JOB_VARIABLE } from '#core/settings';
import type { TaskDetail } from '#core/task-end';
import { seenFromAws } from '#core/where';
import { openFunctionWorld } from '#host/function-world';
import { vaultNotes } from '#host/vault-notes';
import type { JobEnvironment } from '#jobs/environment';
import { type FinishPorts, finishTask } from '#jobs/finish';
import { type LaunchPorts, type StartAnswer, start } from '#jobs/launch';
import { type Reconciled, reconcile } from '#jobs/reconcile';
import { agedManifest } from '#test/jobs/aged-vault';
import { RecordingMessenger } from '#test/jobs/watched-world';
import { MemoryVault } from '#test/vault/memory-vault';
import { appendLedger, readLedger } from '#vault/ledger-store';

export const CLOUD_TEXT = `version: 1
name: shop
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: { env: HOLDFAST_IDENTITY }
vaults:
  cloud: { s3: shop-backups, region: eu-north-1 }
  disk: { disk: /srv/backups }
tiers: { daily: { keep: 30d } }
sources:
  events:
    postgres: { url: "\${DATABASE_URL}" }
    objectives: { rpo: 26h }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]
  notes:
    sqlite: { file: notes.db }
    schedule: [{ cron: "0 3 * * *", tier: daily, to: [disk] }]
alerts: { high: [{ email: ops@example.com }], critical: [{ email: ops@example.com }] }
cloud: { region: eu-north-1 }
`;

const CLUSTER = 'arn:aws:ecs:eu-north-1:111122223333:cluster/holdfast-shop';

interface Made {
  readonly task: string;
  readonly document: JobDocument;
  readonly scratchGiB: number | null;
  readonly createdAt: Date;
  end: Partial<TaskDetail> | null;
}

/** ECS, Secrets Manager, Lambda and CloudWatch as jobs see them; S3 in memory; everything else is real. */
export class CloudWorld {
  readonly messenger = new RecordingMessenger();
  readonly vault: MemoryVault;
  /** Further ones of the plan, by name. */
  readonly #more = new Map<string, MemoryVault>();
  readonly tasks: Made[] = [];
  readonly stopped: { readonly task: string; readonly reason: string }[] = [];
  readonly invoked: StartPayload[] = [];
  readonly metrics: Metric[] = [];
  readonly warnings: string[] = [];
  /** Variables whose secret has no value. */
  secretless: string[] = [];
  /** What ECS throws instead of starting or listing anything. */
  ecs: (() => Error) | null = null;
  now: Date;
  environment!: JobEnvironment;
  #requests = 0;
  readonly #text: string;

  private constructor(now: string, text: string) {
    this.now = new Date(now);
    this.#text = text;
    this.vault = new MemoryVault({ name: 'cloud', now: () => this.now });
  }

  static async open(now = '2026-11-20T12:00:00Z', text = CLOUD_TEXT): Promise<CloudWorld> {
    const world = new CloudWorld(now, text);
    await world.deploy(text);
    return world;
  }

  /** The functions of another deployment: the plan has changed. */
  async deploy(text: string): Promise<void> {
    const whole = loadPlan(text, 'holdfast.yaml');
    const plan = { ...whole, plan: seenFromAws(whole.plan) };
    const opened = await openFunctionWorld(plan, {
      name: 'shop-test',
      requestId: 'request',
      log: { debug: () => undefined, info: () => undefined, warn: (line) => this.warnings.push(line) },
      signal: new AbortController().signal,
      secrets: { values: async () => new Map() },
      messenger: null,
    });
    const vault = (name: string): MemoryVault => {
      if (!Object.hasOwn(plan.plan.vaults, name)) throw new Error(`no vault ${name} in this plan`);
      return this.vaultNamed(name);
    };
    const clock = { now: () => this.now, sleep: async () => undefined };
    this.environment = {
      ...opened,
      vault,
      notes: vaultNotes(['cloud'], vault),
      messenger: this.messenger,
      run: { ...opened.run, clock },
    };
  }

  vaultNamed(name: string): MemoryVault {
    if (name === 'cloud') return this.vault;
    const vault = this.#more.get(name) ?? new MemoryVault({ name, now: () => this.now });
    this.#more.set(name, vault);
    return vault;
  }

  async start(payload: StartPayload, requestId = `request-${++this.#requests}`): Promise<StartAnswer> {
    return start(payload, this.launching(requestId), this.environment);
  }

  launching(requestId: string): LaunchPorts {
    return {
      launcher: { launch: (document, scratchGiB) => this.#launch(document, scratchGiB) },
      secrets: { withoutValue: async (names) => names.filter((name) => this.secretless.includes(name)) },
      invoker: { retain: async () => undefined },
      requestId,
      newVaultId: () => 'vault-id',
    };
  }

  async finish(detail: TaskDetail) {
    return finishTask(detail, this.#finishing(), this.environment);
  }

  async reconcile(): Promise<Reconciled> {
    const ports = {
      ...this.#finishing(),
      newVaultId: () => 'vault-id',
      tasks: {
        running: async () => this.#listed(({ end }) => end === null).map(running),
        ended: async () => this.#listed(({ end }) => end !== null).map(detailOf),
        stop: async (task: string, reason: string) => void this.stopped.push({ task, reason }),
      },
    };
    return reconcile(ports, this.environment);
  }

  /** What the last invocation of start-job asked for, carried out. */
  async startInvoked(): Promise<StartAnswer> {
    const payload = this.invoked.at(-1);
    if (!payload) throw new Error('nobody invoked start-job');
    return this.start(payload);
  }

  #finishing(): FinishPorts {
    return {
      invoker: { start: async (payload) => void this.invoked.push(payload) },
      metrics: { write: async (metrics) => void this.metrics.push(...metrics) },
      telling: 'here',
      runbook: async () => [],
    };
  }

  async #launch(document: JobDocument, scratchGiB: number | null): Promise<{ task: string; already: boolean }> {
    if (this.ecs) throw this.ecs();
    const known = this.tasks.find((one) => one.document.run === document.run);
    if (known) return { task: known.task, already: true };
    const task = `arn:aws:ecs:eu-north-1:111122223333:task/holdfast-shop/${this.tasks.length + 1}`;
    this.tasks.push({ task, document, scratchGiB, createdAt: this.now, end: null });
    return { task, already: false };
  }

  #listed(which: (made: Made) => boolean): Made[] {
    if (this.ecs) throw this.ecs();
    return this.tasks.filter(which);
  }

  /** The last task ends; what ECS then says of it. */
  ended(end: Partial<TaskDetail> & { readonly exitCode?: number } = {}, made = this.tasks.at(-1)): TaskDetail {
    if (!made) throw new Error('no task was started');
    const { exitCode, ...rest } = { exitCode: 0, ...end };
    made.end = {
      stopCode: 'EssentialContainerExited',
      stoppedAt: isoTime(this.now),
      containers: [{ name: CONTAINER, exitCode }],
      ...rest,
    };
    return detailOf(made);
  }

  /** What a worker leaves: `at` the moment of its snapshot. */
  async stored(document: JobDocument, { ledger = true, lease = 1, plainBytes = 1000 } = {}): Promise<Manifest> {
    const { source, trigger } = document;
    const scheduledAt = new Date(trigger.scheduledAt ?? this.now);
    const { sha256: _own, ...base } = agedManifest(source, { at: this.now, tier: 'daily', keep: null });
    const id = newBackupId({ source, schedule: trigger.schedule ?? '', scheduledAt, lease });
    const [artifact] = base.artifacts;
    const manifest = signManifest({
      ...base,
      id,
      lease,
      trigger,
      host: hostOfRun(document),
      artifacts: artifact ? [{ ...artifact, plain: { ...artifact.plain, bytes: plainBytes } }] : [],
    });
    await this.vault.putOnce(`${backupFolder(manifest)}/snapshot.db.zst`, Buffer.from('sealed'));
    await this.vault.putOnce(manifestKey(manifest), Buffer.from(JSON.stringify(manifest)));
    const details = { tier: 'daily', bytes: 6, snapshotAt: manifest.snapshotAt, seconds: 1, ...triggerOf(document) };
    if (ledger) await this.entry(source, 'backup', { id, manifest: manifest.sha256, host: manifest.host, details });
    return manifest;
  }

  async proved(document: JobDocument, manifest: Manifest, outcome: ProofOutcome = 'proven'): Promise<void> {
    const proof = signProof({
      format: 1,
      source: manifest.source,
      id: manifest.id,
      tier: manifest.tier,
      proof: proofName(this.now, outcome, manifest.id),
      outcome,
      reason: outcome === 'proven' ? null : 'table public.events: 10 rows, restored 9',
      differences: [],
      snapshotAt: manifest.snapshotAt,
      startedAt: isoTime(this.now),
      finishedAt: isoTime(this.now),
      seconds: 42,
      host: hostOfRun(document),
      vault: 'cloud',
      manifest: manifest.sha256,
    });
    await this.vault.putOnce(proofKey(proof), Buffer.from(JSON.stringify(proof)));
    const { reason, sha256, seconds } = proof;
    const details = { proof: proof.proof, sha256, outcome, reason, testedIn: 'cloud', seconds };
    const host = hostOfRun(document);
    await this.entry(manifest.source, 'proof', { id: manifest.id, manifest: manifest.sha256, host, details });
  }

  async failed(document: JobDocument, message: string): Promise<void> {
    const details = { code: 'source-unreachable', message, left: null, ...triggerOf(document) };
    await this.entry(document.source, 'failed', { id: null, manifest: null, host: hostOfRun(document), details });
  }

  async entry(
    source: string,
    event: Parameters<typeof appendLedger>[2]['event'],
    fields: Pick<Parameters<typeof appendLedger>[2], 'id' | 'manifest' | 'host' | 'details'>,
  ): Promise<void> {
    await appendLedger(this.vault, source, { event, ...fields }, this.environment.run.clock);
  }

  /** `backup`, `failed`, … in order. */
  async events(source = 'events'): Promise<string[]> {
    return (await this.ledger(source)).map(({ event }) => event);
  }

  async ledger(source = 'events') {
    const entries = [];
    for await (const entry of readLedger(this.vault, source)) entries.push(entry);
    return entries;
  }

  heard(): readonly Telling[] {
    return this.messenger.heard;
  }

  metric(name: Metric['metric']): number[] {
    return this.metrics.filter(({ metric }) => metric === name).map(({ value }) => value);
  }

  to(time: string): this {
    this.now = new Date(time);
    return this;
  }

  get text(): string {
    return this.#text;
  }
}

function triggerOf({ trigger }: JobDocument): { trigger: string; schedule: string | null; scheduledAt: string | null } {
  return { trigger: trigger.by, schedule: trigger.schedule, scheduledAt: trigger.scheduledAt };
}

function running({ task, document, createdAt }: Made): RunningTask {
  return { task, document, startedAt: createdAt };
}

function detailOf({ task, document, createdAt, end }: Made): TaskDetail {
  return {
    taskArn: task,
    clusterArn: CLUSTER,
    lastStatus: 'STOPPED',
    createdAt: isoTime(createdAt),
    startedBy: document.run,
    group: `${document.job}:${document.source}`,
    containers: [],
    overrides: {
      containerOverrides: [{ name: CONTAINER, environment: [{ name: JOB_VARIABLE, value: JSON.stringify(document) }] }],
    },
    ...end,
  };
}

/** As EventBridge Scheduler sends it. */
export function nightly(scheduledAt: string, source = 'events'): StartPayload {
  return { action: 'backup', source, schedule: '0 2 * * *', scheduledAt };
}
