import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { hostOfRun, type JobDocument, jobFor } from '#core/job';
import { type LoadedPlan, loadPlan } from '#core/plan-load';
import { createProcesses } from '#host/processes';
import { runWorker } from '#host/worker-main';
import { findBackup, outcomesOf, placesOf } from '#jobs/catalog';
import { storePlan } from '#jobs/store-backup';
import { DiskVault } from '#vault/disk-vault';
import { createVaultIdentity } from '#vault/identity';
import { readLedger } from '#vault/ledger-store';

/** A process that can be told to stop, and whose lines are kept. */
class Host {
  readonly lines: string[] = [];
  #told: () => void = () => undefined;
  readonly stdout = { write: (line: string) => this.lines.push(line) };

  on(signal: string, told: () => void): void {
    if (signal === 'SIGTERM') this.#told = told;
  }

  exit(code: number): never {
    throw new Error(`ended by force with ${code}`);
  }

  terminate(): void {
    this.#told();
  }

  said(): { level: string; message: string; run: string; code?: string }[] {
    return this.lines.map((line) => JSON.parse(line));
  }
}

describe('the worker', () => {
  let directory: string;
  let plan: LoadedPlan;
  let vaults: DiskVault[];
  const path = (...parts: string[]): string => join(directory, ...parts);

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-worker-'));
    fill(1000);
    plan = loadPlan(
      `version: 1
name: shop
encryption: none
vaults: { first: { disk: ${path('first')} }, second: { disk: ${path('second')} } }
tiers: { daily: { keep: 30d } }
sources:
  app:
    sqlite: { file: ${path('app.db')} }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [first, second] }]
  other:
    files: { paths: [${path('nothing')}] }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [first] }]
`,
      'holdfast.yaml',
    );
    const processes = createProcesses(process.env, new AbortController().signal, null);
    vaults = ['first', 'second'].map((name) => new DiskVault({ name, root: path(name), processes }));
    for (const vault of vaults) {
      await createVaultIdentity(vault, { plan: 'shop', id: vault.name, created: new Date() });
      await storePlan(plan, vault);
    }
  });

  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  function fill(rows: number): void {
    const db = new DatabaseSync(path('app.db'));
    db.exec('create table notes (id integer primary key, text text)');
    db.exec(`with recursive n(i) as (select 1 union all select i + 1 from n where i < ${rows})
      insert into notes select i, 'note ' || i from n`);
    db.close();
  }

  function document(over: Partial<JobDocument> = {}): JobDocument {
    return jobFor(plan, {
      job: 'backup',
      source: 'app',
      attempt: '0',
      id: null,
      tier: null,
      point: null,
      reason: null,
      trigger: { by: 'schedule', schedule: '0 2 * * *', scheduledAt: '2026-11-20T02:00:00.000Z' },
      deadline: '2099-01-01T00:00:00Z',
      ...over,
    });
  }

  async function run(job: JobDocument, host = new Host(), more: Record<string, string> = {}) {
    const environment = {
      ...process.env,
      HOLDFAST_JOB: JSON.stringify(job),
      HOLDFAST_SCRATCH: directory,
      ...more,
    };
    return { exit: await runWorker(environment, host), host };
  }

  async function events(vault: DiskVault) {
    const entries = [];
    for await (const entry of readLedger(vault, 'app')) entries.push(entry);
    return entries;
  }

  test('I9: stores into the first vault, reads nothing back, proves nothing, and names its run everywhere', async () => {
    const job = document();
    const { exit, host } = await run(job);
    assert.equal(exit, 0, host.lines.join(''));
    const [first, second] = vaults as [DiskVault, DiskVault];
    const [place] = await placesOf(first, 'app');
    assert.ok(place);
    const manifest = await findBackup(first, 'app', place.id);
    assert.equal(manifest.host, hostOfRun(job));
    assert.equal(manifest.plan.sha256, plan.sha256);
    assert.deepEqual(manifest.trigger, job.trigger);
    assert.deepEqual(await placesOf(second, 'app'), []);
    assert.deepEqual(
      (await events(first)).map(({ event, host: by }) => [event, by]),
      [['backup', hostOfRun(job)]],
    );
    assert.equal((await outcomesOf(first, 'app')).size, 0);
    assert.ok(host.said().every((line) => line.run === job.run));
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.startsWith('run-')),
      [],
    );
  });

  test('proves the backup it is told to, and leaves RUNBOOK.md to who knows the whole plan', async () => {
    await run(document());
    const [first] = vaults as [DiskVault, DiskVault];
    const [place] = await placesOf(first, 'app');
    const job = document({
      job: 'prove',
      id: place?.id ?? null,
      trigger: { by: 'schedule', schedule: null, scheduledAt: null },
    });
    const { exit, host } = await run(job);
    assert.equal(exit, 0, host.lines.join(''));
    assert.equal((await outcomesOf(first, 'app')).get(place?.id ?? '')?.[0]?.outcome, 'proven');
    assert.equal((await events(first)).at(-1)?.host, hostOfRun(job));
    await assert.rejects(first.get('RUNBOOK.md'));
  });

  test('the same time once more: exit 4, and nothing is stored twice', async () => {
    await run(document());
    const { exit } = await run(document({ attempt: '1' }));
    assert.equal(exit, 4);
    assert.equal((await placesOf(vaults[0] as DiskVault, 'app')).length, 1);
  });

  test('a vault that cannot be used: the night’s backup goes into the next one', async () => {
    rmSync(path('first'), { recursive: true });
    const { exit } = await run(document());
    assert.equal(exit, 3);
    const [place] = await placesOf(vaults[1] as DiskVault, 'app');
    assert.ok(place);
    const job = document({ job: 'prove', id: place.id });
    assert.equal((await run(job)).exit, 0);
  });

  test('told to stop: the run is failed in the ledger, in plain words, and nothing is listed', async () => {
    const host = new Host();
    const job = document();
    const write = host.stdout.write;
    host.stdout.write = (line: string) => {
      if (line.includes('storing')) host.terminate();
      return write(line);
    };
    const { exit } = await run(job, host);
    assert.equal(exit, 1);
    const [first] = vaults as [DiskVault, DiskVault];
    const [entry] = await events(first);
    assert.deepEqual([entry?.event, entry?.host, entry?.details['code']], ['failed', hostOfRun(job), 'cancelled']);
    assert.match(String(entry?.details['message']), /the task was told to stop, and was ended/);
    assert.deepEqual(await placesOf(first, 'app'), []);
    assert.equal((await run(document({ attempt: '1' }))).exit, 0);
  });

  test('stopped past its deadline, the ledger says so', async () => {
    const host = new Host();
    const write = host.stdout.write;
    host.stdout.write = (line: string) => {
      if (line.includes('storing')) host.terminate();
      return write(line);
    };
    await run(document({ deadline: '2026-01-01T00:00:00Z' }), host);
    const [entry] = await events(vaults[0] as DiskVault);
    assert.match(String(entry?.details['message']), /the run went on past its deadline, 2026-01-01T00:00:00Z/);
  });

  test('what fails before the source is read is in the ledger too, once', async () => {
    const job = document({
      trigger: { by: 'schedule', schedule: '0 5 * * *', scheduledAt: '2026-11-20T05:00:00.000Z' },
    });
    assert.equal((await run(job)).exit, 2);
    const entries = await events(vaults[0] as DiskVault);
    assert.deepEqual(
      entries.map(({ event, host }) => [event, host]),
      [['failed', hostOfRun(job)]],
    );
    assert.match(String(entries[0]?.details['message']), /no schedule of app is "0 5 \* \* \*"/);
  });

  test('a document that is none, or of another version: exit 2 and a hint', async () => {
    for (const text of ['{"holdfast":', '{"holdfast":2}']) {
      const host = new Host();
      const exit = await runWorker({ ...process.env, HOLDFAST_JOB: text, HOLDFAST_SCRATCH: directory }, host);
      assert.equal(exit, 2);
      assert.match(host.lines.join(''), /job document/);
    }
  });

  test('I7: what a variable stood for is in no line of the log', async () => {
    const secret = 'correct-horse-battery-staple';
    const leaky = loadPlan(
      plan.text.replace(/ {2}app:\n {4}sqlite: .*\n/, `  app:\n    postgres: { url: "\${DATABASE_URL}" }\n`),
      'holdfast.yaml',
    );
    const job = jobFor(leaky, { ...document(), trigger: { by: 'manual', schedule: null, scheduledAt: null } });
    const url = `postgres://shop:${secret}@127.0.0.1:1/shop`;
    const { exit, host } = await run(job, new Host(), { DATABASE_URL: url });
    assert.equal(exit, 1);
    assert.ok(!host.lines.join('').includes(secret), host.lines.join(''));
    assert.match(host.lines.join(''), /127\.0\.0\.1/);
  });
});
