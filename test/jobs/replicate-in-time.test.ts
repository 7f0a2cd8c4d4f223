import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CloudFailed, VaultUnreachable } from '#core/errors';
import type { StartPayload } from '#core/job';
import type { Archived } from '#core/ports';
import { type InTime, replicateInTime, SURE_BYTES_PER_SECOND } from '#jobs/replicate-in-time';
import { addAged } from '#test/jobs/aged-vault';
import { keepOf } from '#test/jobs/aged-world';
import { CloudWorld } from '#test/jobs/cloud-world';
import { createVaultIdentity } from '#vault/identity';
import { acquireLease } from '#vault/lease';

const NOW = '2026-11-21T12:10:00Z';
/** In one millisecond, the least that a date can tell. */
const SURE = SURE_BYTES_PER_SECOND / 1000;
const KEEP = keepOf('30d');

const TEXT = `version: 1
name: shop
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: { env: HOLDFAST_IDENTITY }
vaults:
  cloud: { s3: shop-backups, region: eu-north-1, replica: { vault: space, lag: 5m, concurrent: 2 } }
  space: { s3: shop, endpoint: "https://sgp1.example.com" }
tiers: { daily: { keep: 30d } }
sources:
  events: { postgres: { url: "\${DATABASE_URL}" }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }] }
  cache:  { redis: { url: "\${REDIS_URL}" }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }] }
cloud: { region: eu-north-1 }
`;

interface Told {
  /** Milliseconds that are left. */
  readonly left?: number;
  readonly signal?: AbortSignal;
  readonly start?: (payload: StartPayload) => Promise<void>;
}

class Copying {
  readonly asked: StartPayload[] = [];
  readonly said: string[] = [];
  readonly world: CloudWorld;

  constructor(world: CloudWorld) {
    this.world = world;
  }

  static async open(text = TEXT): Promise<Copying> {
    const world = await CloudWorld.open(NOW, text);
    for (const name of ['cloud', 'space'])
      await createVaultIdentity(world.vaultNamed(name), { plan: 'shop', id: name, created: new Date(NOW) });
    return new Copying(world);
  }

  async add(source: string, day: number, bytes: number, base: string | null = null): Promise<string> {
    const at = `2026-11-${day}T02:00:00Z`;
    const kind = base === null ? 'full' : 'differential';
    return (await addAged(this.world.vault, source, { at, tier: 'daily', keep: KEEP, bytes, base, kind })).id;
  }

  run({ left = 1, signal = new AbortController().signal, start }: Told = {}): Promise<InTime> {
    const { environment, now } = this.world;
    const say = (line: string): void => void this.said.push(line);
    const run = { ...environment.run, signal, log: { debug: () => undefined, info: say, warn: say } };
    const invoker = { start: start ?? (async (payload: StartPayload) => void this.asked.push(payload)) };
    return replicateInTime({ until: new Date(now.getTime() + left) }, invoker, { ...environment, run });
  }

  copied(source: string): string[] {
    const keys = [...this.world.vaultNamed('space').objects.keys()];
    return keys.flatMap((key) => new RegExp(`^backups/${source}/daily/([^/]+)/manifest.json$`).exec(key)?.[1] ?? []);
  }

  /** Leases in the second vault that nobody gave back. */
  held(): string[] {
    const { objects } = this.world.vaultNamed('space');
    const beats = [...objects].filter(([key]) => key.endsWith('.beat.json'));
    return beats.flatMap(([key, { bytes }]) => (JSON.parse(bytes.toString()).released ? [] : [key]));
  }

  async hold(source: string, job: string): Promise<{ release(): Promise<void> }> {
    const holder = { host: 'fargate:0123', pid: 1, start: null, boot: null, namespace: null };
    const { clock } = this.world.environment.run;
    return acquireLease(this.world.vaultNamed('space'), { source, job, holder }, clock, () => false);
  }
}

const sources = (asked: readonly StartPayload[]): unknown[] => asked.map(({ action, source }) => [action, source]);

describe('a function that copies', () => {
  test('what is surely done in time it copies; a source that lacks more gets a task, and nothing of it is begun here', async () => {
    const copying = await Copying.open();
    const small = await copying.add('cache', 20, SURE);
    await copying.add('events', 20, SURE);
    await copying.add('events', 21, 1);
    const done = await copying.run();
    assert.deepEqual(copying.copied('cache'), [small]);
    assert.deepEqual(copying.copied('events'), []);
    assert.deepEqual(sources(copying.asked), [['replicate', 'events']]);
    assert.deepEqual([done.toTasks, done.exit, done.error, done.proofs], [['events'], 0, null, 1]);
    assert.match(
      copying.said.join('\n'),
      /2 copies of events \(10 KB\): a task is asked for, as a function has too little/,
    );
  });

  test('the same copies are one task within an hour, others another', async () => {
    const copying = await Copying.open();
    const attempt = async (at: string): Promise<string> => {
      copying.world.to(at);
      await copying.run();
      const [payload] = copying.asked.splice(0);
      assert.ok(payload && 'attempt' in payload && payload.attempt, 'no task was asked for');
      return payload.attempt;
    };
    await copying.add('events', 20, SURE + 1);
    const first = await attempt('2026-11-21T12:10:00Z');
    assert.equal(await attempt('2026-11-21T12:55:00Z'), first);
    assert.notEqual(await attempt('2026-11-21T13:05:00Z'), first);
    copying.world.to('2026-11-21T12:25:00Z');
    await copying.add('events', 21, SURE + 1);
    assert.notEqual(await attempt('2026-11-21T12:25:00Z'), first);
  });

  test('I12: while a task is at it, no second one is asked for, and nothing fails', async () => {
    const copying = await Copying.open();
    await copying.add('events', 20, SURE + 1);
    const lease = await copying.hold('events', 'replicate');
    const done = await copying.run();
    assert.deepEqual([copying.asked, done.exit, done.error], [[], 0, null]);
    assert.match(
      copying.said.join('\n'),
      /events is being copied to space since 2026-11-21T12:10:00.000Z, by fargate:0123/,
    );
    await lease.release();
    await copying.run();
    assert.deepEqual(sources(copying.asked), [['replicate', 'events']]);
  });

  test('what the run that stored it is still copying itself is nobody else’s', async () => {
    const copying = await Copying.open();
    copying.world.to('2026-11-20T01:59:00Z');
    const lease = await copying.hold('events', 'backup');
    await copying.add('events', 20, SURE + 1);
    copying.world.to('2026-11-20T02:00:10Z');
    const done = await copying.run();
    assert.deepEqual(copying.asked, []);
    assert.deepEqual(
      done.copies.map(({ status }) => status),
      ['waiting'],
    );
    await lease.release();
  });

  test('for what there was no time left after all, a task is asked for too; a differential never without its full', async () => {
    const copying = await Copying.open();
    await copying.add('cache', 19, SURE / 2);
    const full = await copying.add('events', 19, SURE - 100);
    await copying.add('events', 20, 50, full);
    const slow = copying.world.vaultNamed('space');
    slow.before = (operation, key) => {
      // Time goes by with the first copy's bytes.
      if (operation === 'putOnce' && key.startsWith('backups/cache')) copying.world.to('2026-11-21T12:10:00.001Z');
    };
    const done = await copying.run();
    assert.deepEqual(copying.copied('cache').length, 1);
    assert.deepEqual(copying.copied('events'), []);
    assert.deepEqual(sources(copying.asked), [['replicate', 'events']]);
    assert.deepEqual([done.exit, done.error], [0, null]);
    assert.deepEqual(copying.held(), []);
  });

  test('I1, I12: told to stop in the middle of a copy, it commits nothing, gives the lease back, and asks for a task', async () => {
    const copying = await Copying.open();
    await copying.add('events', 20, 300_000);
    await copying.add('cache', 20, 400_000);
    const stop = new AbortController();
    copying.world.vaultNamed('cloud').before = (operation, key) => {
      if (operation === 'open' && key.includes('snapshot')) stop.abort(new Error('the time is over'));
    };
    const done = await copying.run({ left: 60_000, signal: stop.signal });
    assert.deepEqual([...copying.copied('events'), ...copying.copied('cache')], []);
    assert.deepEqual(copying.held(), []);
    assert.deepEqual(sources(copying.asked), [
      ['replicate', 'events'],
      ['replicate', 'cache'],
    ]);
    assert.deepEqual([done.exit, done.error], [0, null]);
  });

  test('I10: without a task (no cloud:) a large one is tried all the same; stopped, it is said in plain words and is no error', async () => {
    const copying = await Copying.open(TEXT.replace(/cloud: \{ region.*\n$/, ''));
    const id = await copying.add('events', 20, 20 * SURE);
    assert.equal((await copying.run()).copies[0]?.status, 'copied');
    const next = await copying.add('events', 21, 20 * SURE);
    const stop = new AbortController();
    copying.world.vaultNamed('cloud').before = (operation, key) => {
      if (operation === 'open' && key.includes('snapshot')) stop.abort(new Error('the time is over'));
    };
    const done = await copying.run({ signal: stop.signal });
    assert.deepEqual(copying.copied('events'), [id]);
    assert.deepEqual([copying.asked, copying.held()], [[], []]);
    assert.deepEqual(done.warnings, [
      `events ${next} (200 KB) is not in space yet: a function has too little time to copy it from cloud; from a machine: holdfast replicate events --to space`,
    ]);
    assert.deepEqual([done.exit, done.error], [0, null]);
  });

  test('what lies in an archive class is no work for a task: it is said why it is missing, and asked for once it is thawed', async () => {
    const copying = await Copying.open();
    const old = await copying.add('events', 18, SURE + 1);
    const young = await copying.add('events', 20, SURE);
    let state: Archived['state'] = 'frozen';
    const archived = async (prefix: string): Promise<Archived[]> =>
      prefix.includes(old)
        ? [{ key: `${prefix}snapshot.db.zst`, bytes: SURE + 1, class: 'deep-archive', state, until: new Date(0) }]
        : [];
    Object.assign(copying.world.vaultNamed('cloud'), { archive: { archived, thaw: assert.fail } });
    const done = await copying.run();
    assert.deepEqual([copying.asked, done.toTasks], [[], []]);
    assert.deepEqual(copying.copied('events'), [young]);
    assert.deepEqual([done.exit, done.error?.code], [3, 'thaw-needed']);
    assert.match(done.error?.message ?? '', new RegExp(`^${old} is not copied to space: it lies in DEEP_ARCHIVE`));
    assert.deepEqual(
      done.copies.map(({ id, status, error }) => [id, status, error?.code ?? null]),
      [
        [young, 'copied', null],
        [old, 'failed', 'thaw-needed'],
      ],
    );
    state = 'thawed';
    await copying.run();
    assert.deepEqual(sources(copying.asked), [['replicate', 'events']]);
  });

  test('what left the plan has no task', async () => {
    const copying = await Copying.open();
    const id = await copying.add('gone', 20, 20 * SURE);
    await copying.run();
    assert.deepEqual([copying.asked, copying.copied('gone')], [[], [id]]);
  });

  test('start-job cannot be asked: what could be copied here has been, and then it fails, so that it rings', async () => {
    const copying = await Copying.open();
    const small = await copying.add('cache', 20, 1);
    await copying.add('events', 20, SURE + 1);
    const start = async (): Promise<void> => {
      throw new CloudFailed('could not invoke shop-start-job: 500');
    };
    await assert.rejects(copying.run({ start }), /could not invoke shop-start-job/);
    assert.deepEqual(copying.copied('cache'), [small]);
  });

  test('I14: of a vault that does not answer nobody knows what it lacks: no task is asked for', async () => {
    const copying = await Copying.open();
    await copying.add('events', 20, SURE + 1);
    copying.world.vaultNamed('space').before = () => {
      throw new VaultUnreachable('space does not answer');
    };
    const done = await copying.run();
    assert.deepEqual([copying.asked, done.exit, done.error?.code], [[], 1, 'vault-unreachable']);
  });
});
