import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { childrenIn, commandOf, programOf } from '#test/cli/children';
import { BIN, type Place } from '#test/cli/holdfast';
import { copyOf, filesBelow, good, ledgerOf, refused, runsOf, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { type PostgresServer, startPostgres } from '#test/servers/postgres';
import { until } from '#test/until';

/** Every run below waits in its `before` hook for the file `go`, so that a test can act in the middle of it. */
describe('two runs at once, and runs that are stopped, by the command line', () => {
  let template: SmallPlan;
  let small: SmallPlan;
  let place: Place;

  const WAITING = 'before: ["touch waiting", "while ! test -e go; do sleep 0.02; done"]';
  const schedule = 'schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }]';

  before(async () => {
    template = await smallPlan();
    await good(template.place.run('check', '--create'));
  });
  after(() => template.place.remove());
  beforeEach(() => {
    small = copyOf(template);
    place = small.place;
    small.plan({
      sources: [
        `app: { sqlite: { file: app.db }, ${WAITING}, after: ["echo done >> after"], ${schedule} }`,
        `tree: { files: { paths: [tree] }, ${schedule} }`,
      ],
    });
  });
  afterEach(() => {
    writeFileSync(place.path('go'), '');
    place.remove();
  });

  async function begun(...args: string[]) {
    rmSync(place.path('waiting'), { force: true });
    rmSync(place.path('go'), { force: true });
    const child = place.start(args);
    let stdout = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      stdout += String(chunk);
    });
    const ended = new Promise<{ code: number | null; stdout: string }>((done) =>
      child.once('close', (code) => done({ code, stdout })),
    );
    await until(() => existsSync(place.path('waiting')) || child.exitCode !== null, 'the run to come to its hook');
    assert.equal(child.exitCode, null, stdout);
    return { child, ended, pid: child.pid as number };
  }

  const scratch = (): string[] => readdirSync(place.path('scratch', `holdfast-${process.getuid?.() ?? 0}`));

  test('I12: a second backup of a source exits 4 at once and names host, process and since; the first goes on', async () => {
    const first = await begun('backup', 'app', '--json');
    const second = await refused(place, ['backup', 'app'], 4, /under way/);
    const message = second.json().error?.message ?? '';
    assert.match(message, new RegExp(`process ${first.pid} on ${hostname()}`));
    assert.match(message, /since \d{4}-\d\d-\d\dT[\d:.]+Z/);
    assert.equal(second.json().error?.code, 'busy');
    assert.deepEqual(
      runsOf(second).map((run) => [run.source, run.status, run.id]),
      [['app', 'busy', null]],
    );
    await good(place.run('backup', 'tree'));
    const both = await place.run('backup', '--all', '--json');
    assert.equal(both.code, 3, 'one was busy, one is done');
    writeFileSync(place.path('go'), '');
    assert.equal((await first.ended).code, 0);
    assert.deepEqual(
      (await ledgerOf(place, 'app')).map((entry) => entry.event),
      ['backup', 'proof'],
      'meeting one’s own healthy predecessor is no failure',
    );
  });

  test('I12: after kill -9 the next run goes at once, and its leftover `after` commands run first', async () => {
    const first = await begun('backup', 'app');
    process.kill(-first.pid, 'SIGKILL');
    await first.ended;
    assert.ok(!existsSync(place.path('after')));
    writeFileSync(place.path('go'), '');
    const began = performance.now();
    const next = await good(place.run('backup', 'app', '--json'));
    assert.ok(performance.now() - began < 60_000, 'it did not wait for the dead one’s lease');
    assert.equal(readFileSync(place.path('after'), 'utf8'), 'done\ndone\n');
    assert.match(next.stderr, /ended before its `after` commands/);
    assert.equal(runsOf(next)[0]?.proof, 'proven');
    assert.deepEqual(scratch(), [], 'what the killed run left is gone');
  });

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    test(`${signal} in the middle of a backup: exit 1, lease given back, \`after\` run, children and scratch gone`, async () => {
      const first = await begun('backup', 'app', '--json');
      first.child.kill(signal);
      const { code, stdout } = await first.ended;
      assert.equal(code, 1);
      const document = JSON.parse(stdout) as { error: { code: string; hint: string | null } };
      assert.equal(document.error.code, 'cancelled');
      assert.match(document.error.hint ?? '', new RegExp(`got ${signal}`));
      assert.equal(readFileSync(place.path('after'), 'utf8'), 'done\n');
      const beats = filesBelow(place.path('vault', 'leases', 'app')).filter(({ file }) => file.endsWith('.beat.json'));
      assert.match(beats.at(-1)?.text ?? '', /"released":true/);
      assert.deepEqual(scratch(), []);
      assert.deepEqual(childrenIn(place.directory), []);
      assert.equal((await ledgerOf(place, 'app')).at(-1)?.event, 'failed');
      assert.ok(!existsSync(place.path('vault', 'backups')), 'no half backup');
      writeFileSync(place.path('go'), '');
      await good(place.run('backup', 'app'));
    });

  test('nobody reads stderr any more, or its disk is full: the backup goes on, is proven, and cleans up', async () => {
    const first = await begun('backup', 'app', '--json', '--debug');
    first.child.stderr?.destroy();
    writeFileSync(place.path('go'), '');
    const { code, stdout } = await first.ended;
    assert.equal(code, 0, stdout);
    assert.equal((JSON.parse(stdout) as { result: { runs: { proof: string }[] } }).result.runs[0]?.proof, 'proven');
    assert.deepEqual(scratch(), []);
    assert.equal(withOutput('backup tree --debug >&2 2>/dev/full').status, 0);
    assert.equal(withOutput('backup nosuch 2>/dev/full').status, 2);
  });

  test('an answer that cannot be written, as the disk of stdout is full, is exit 1 in words; a reader that went away is none', () => {
    for (const args of ['list', 'list --json']) {
      const full = withOutput(`${args} >/dev/full`);
      assert.equal(full.status, 1);
      assert.match(full.stderr, /^error: the answer could not be written to stdout: ENOSPC/m);
      assert.doesNotMatch(full.stderr, /\n\s+at /, 'a stack trace is no message');
    }
    assert.equal(withOutput('list --json | true').status, 0);
  });

  function withOutput(line: string) {
    return spawnSync('bash', ['-o', 'pipefail', '-c', `${BIN} ${line}`], {
      cwd: place.directory,
      env: { ...process.env, ...place.environment },
      encoding: 'utf8',
    });
  }

  test('a `before` that fails: nothing is captured, `after` still runs, exit 1 names the command', async () => {
    small.plan({
      sources: [
        `app: { sqlite: { file: app.db }, before: ["echo no such container >&2; exit 7"], after: ["echo done >> after"], ${schedule} }`,
      ],
    });
    const ran = await refused(place, ['backup', 'app'], 1, /before of app.*exit code 7.*no such container/);
    assert.equal(ran.json().error?.code, 'hook-failed');
    assert.equal(readFileSync(place.path('after'), 'utf8'), 'done\n');
  });

  test('an `after` that fails: the backup is good and proven, exit 3, and the next run tries it again', async () => {
    small.plan({
      sources: [
        `app: { sqlite: { file: app.db }, before: ["true"], after: ["echo tried >> after; test -e started"], ${schedule} }`,
      ],
    });
    const ran = await refused(place, ['backup', 'app'], 3, /after of app/);
    assert.deepEqual(
      runsOf(ran).map((run) => [run.status, run.proof]),
      [['ok', 'proven']],
    );
    writeFileSync(place.path('started'), '');
    await good(place.run('prove', 'app'));
    assert.equal(readFileSync(place.path('after'), 'utf8'), 'tried\ntried\n');
  });

  test('I1: a backup whose proof cannot begin, because another is under way, is stored and not busy: exit 3', async () => {
    small.plan({
      sources: [`app: { sqlite: { file: app.db }, before: ["test ! -e hold || sleep 1"], ${schedule} }`],
    });
    await good(place.run('backup', 'app'));
    const leases = place.path('vault', 'leases', 'app', 'prove');
    const [held] = readdirSync(leases).filter((name) => !name.includes('beat'));
    // A lease of a process that cannot be seen from here, as of another machine.
    writeFileSync(
      `${leases}/0000000002.json`,
      readFileSync(`${leases}/${held}`, 'utf8').replace(/"host":"[^"]*"/, '"host":"elsewhere"'),
    );
    const ran = await place.run('backup', 'app', '--json');
    assert.equal(ran.code, 3, ran.stdout);
    assert.deepEqual(
      runsOf(ran).map((run) => [run.status, run.proof]),
      [['ok', 'unproven']],
    );
    assert.match(ran.json().error?.message ?? '', /stored and not proven: .*elsewhere/);
    assert.equal((await place.run('prove', 'app')).code, 4);
  });
});

describe('a signal while PostgreSQL is dumped, and while it is proven', () => {
  let small: SmallPlan;
  let postgres: PostgresServer;

  before(async () => {
    small = await smallPlan();
    postgres = await startPostgres(small.place.path('pg'));
    await postgres.sql(
      'postgres',
      'create table events as select n as id, repeat(md5(n::text), 30) as body from generate_series(1, 40000) n',
    );
    small.place.environment['DATABASE_URL'] = postgres.url('postgres');
    small.plan({
      sources: [
        `events: { postgres: { url: "\${DATABASE_URL}" }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }] }`,
      ],
    });
    await good(small.place.run('check', '--create'));
    await good(small.place.run('backup', 'events'));
  });
  after(async () => {
    await postgres.stop();
    small.place.remove();
  });

  for (const [what, args, program] of [
    ['backup', ['backup', 'events'], 'pg_dump'],
    ['proof', ['prove', 'events'], 'postgres'],
    ['restore', ['restore', 'events', '--to', 'env:TARGET'], 'pg_restore'],
  ] as const)
    test(`SIGINT in the middle of a ${what}: exit 1, no child and no plaintext left, the next run works`, async () => {
      const { place } = small;
      place.environment['TARGET'] = postgres.url('back');
      const list = async (): Promise<string> => (await good(place.run('list'))).stdout;
      const before = await list();
      const child = place.start([...args, '--json']);
      let stdout = '';
      let stderr = '';
      child.stdout?.on('data', (chunk: Buffer) => {
        stdout += String(chunk);
      });
      child.stderr?.on('data', (chunk: Buffer) => {
        stderr += String(chunk);
      });
      const ended = new Promise<number | null>((done) => child.once('close', done));
      const seen = (): boolean => childrenIn(place.directory).some((pid) => programOf(pid) === program);
      await until(() => seen() || child.exitCode !== null, program);
      assert.equal(child.exitCode, null, `${program} was never seen`);
      child.kill('SIGINT');
      assert.equal(await ended, 1, stdout);
      const { error } = JSON.parse(stdout) as { error: { code: string; hint: string } };
      assert.equal(error.code, 'cancelled', stdout);
      assert.match(error.hint, /got SIGINT/);
      assert.deepEqual(
        childrenIn(place.directory).filter((pid) => !ofServer(pid)),
        [],
      );
      assert.deepEqual(readdirSync(place.path('scratch', `holdfast-${process.getuid?.() ?? 0}`)), []);
      assert.equal(await list(), before);
      // What was loaded beside may have to stay on a server that is not ours; it never has the name that was asked for.
      assert.equal(await postgres.sql('postgres', "select count(*) from pg_database where datname = 'back'"), '0');
      const left = await postgres.sql(
        'postgres',
        "select datname from pg_database where datname like 'back_holdfast%'",
      );
      if (left !== '') assert.match(stderr, new RegExp(`${left} could not be removed`));
      await good(place.run(...args));
    });

  /** The server under test is no child of a run. */
  function ofServer(pid: string): boolean {
    return programOf(pid) === 'postgres' && commandOf(pid).includes(small.place.path('pg'));
  }
});
