import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { BIN } from '#test/cli/holdfast';
import { good, refused, runsOf, SCHEDULE, type SmallPlan, smallPlan } from '#test/cli/small-plan';

describe('a plan that is wrong, by the command line', () => {
  let small: SmallPlan;

  before(async () => {
    small = await smallPlan();
    await good(small.place.run('check', '--create'));
  });
  after(() => small.place.remove());

  const app = (text: string): string => `app: { sqlite: { file: app.db }, ${text} }`;
  const scheduled = (text: string): string => app(`schedule: [{ ${text}, tier: daily, to: [here] }]`);

  const COMMANDS = [['backup', '--all'], ['status'], ['check']] as const;
  const PROBLEMS = [
    ['an unknown key', { sources: [app(`${SCHEDULE}, porve: always`)] }, 7, /porve.*prove/s],
    ['a bad cron', { sources: [scheduled('cron: "61 2 * * *"')] }, 7, /cron.*61 2 \* \* \*/s],
    ['a cron of six fields', { sources: [scheduled('cron: "0 0 2 * * *"')] }, 7, /cron.*five fields/s],
    ['a bad interval', { sources: [scheduled('every: 7m')] }, 7, /every.*7m/s],
    ['a bad duration', { tiers: '{ daily: { keep: "4 weaks" } }' }, 5, /got "4 weaks", want a duration such as/],
    ['a bad size', { vaults: '{ here: { disk: ./vault, capacity: 5 gigs } }' }, 4, /capacity.*"5 gigs".*want/s],
    ['an unknown tier', { sources: [app('schedule: [{ cron: "0 2 * * *", tier: dayly, to: [here] }]')] }, 7, /daily/],
    ['an unknown vault', { sources: [app('schedule: [{ cron: "0 2 * * *", tier: daily, to: [her] }]')] }, 7, /here/],
    ['no recipients', { encryption: '{ recipients: [] }' }, 3, /recipients/],
    ['what is no YAML', { name: '"small' }, 2, /want/],
  ] as const;
  for (const [number, [what, parts, where, message]] of PROBLEMS.entries())
    test(`${what} is exit 2 and names line, value and what is allowed`, async () => {
      small.plan(parts);
      try {
        // Each problem by one command, and each command with a few of them: they read the plan by the same words.
        const command = COMMANDS[number % COMMANDS.length] as (typeof COMMANDS)[number];
        const ran = await refused(small.place, command, 2, message);
        assert.match(ran.json().error?.at ?? '', new RegExp(`^holdfast\\.yaml:${where}:\\d+$`), ran.stderr);
        assert.equal(ran.json().error?.code, 'plan-invalid');
      } finally {
        small.plan();
      }
    });

  test('I7: a secret that stands in a broken plan itself is not printed', async () => {
    small.plan({ sources: [`db: { postgres: { url: ["postgres://u:hunter2secret@h/d"] }, ${SCHEDULE} }`] });
    const ran = await refused(small.place, ['backup', 'db'], 2, /url/);
    assert.doesNotMatch(ran.stdout + ran.stderr, /hunter2secret/);
    small.plan();
  });

  test('a missing variable is exit 2 and named; the .env beside the plan gives it, and the environment hides that', async () => {
    small.plan({ sources: [`db: { redis: { url: "\${CACHE_URL}" }, ${SCHEDULE} }`] });
    const { place } = small;
    await refused(place, ['backup', 'db'], 2, /\$\{CACHE_URL\}.*not set/);
    place.write('.env', 'CACHE_URL=redis://127.0.0.1:1/0\n');
    await refused(place, ['backup', 'db'], 1, /127\.0\.0\.1:1\b/);
    place.environment['CACHE_URL'] = 'redis://127.0.0.1:2/0';
    await refused(place, ['backup', 'db'], 1, /127\.0\.0\.1:2\b/);
    place.environment['CACHE_URL'] = '';
    await refused(place, ['backup', 'db'], 2, /\$\{CACHE_URL\}.*empty/);
    delete place.environment['CACHE_URL'];
    small.plan();
  });

  test('one source whose variable is missing does not cost the others their backup', async () => {
    small.plan({ sources: [`a-cache: { redis: { url: "\${NOT_SET}" }, ${SCHEDULE} }`, app(SCHEDULE)] });
    const ran = await small.place.run('backup', '--all', '--json');
    assert.equal(ran.code, 2, ran.stderr);
    assert.deepEqual(
      runsOf(ran).map((run) => [run.source, run.status]),
      [
        ['a-cache', 'failed'],
        ['app', 'ok'],
      ],
    );
    small.plan();
  });

  test('a source of a kind that is not there yet does not cost the others their backup either', async () => {
    small.plan({ sources: [`a-code: { git: { repository: . }, ${SCHEDULE} }`, app(SCHEDULE)] });
    const ran = await refused(small.place, ['backup', '--all'], 2, /git/);
    assert.deepEqual(
      runsOf(ran).map((run) => [run.source, run.status, run.error?.code ?? null]),
      [
        ['a-code', 'failed', 'not-there-yet'],
        ['app', 'ok', null],
      ],
    );
    const line =
      readFileSync(small.place.path('holdfast.yaml'), 'utf8')
        .split('\n')
        .findIndex((one) => one.includes('a-code')) + 1;
    assert.match(ran.json().error?.at ?? '', new RegExp(`holdfast\\.yaml:${line}:\\d+$`));
    assert.equal(runsOf(ran)[0]?.error?.at, ran.json().error?.at);
    small.plan();
  });

  test('the plan is --plan, else $HOLDFAST_PLAN, and its paths count from its own directory', async () => {
    const { place } = small;
    mkdirSync(place.path('elsewhere'));
    const call = (args: readonly string[], environment: Record<string, string> = {}) =>
      spawnSync(BIN, args, {
        cwd: place.path('elsewhere'),
        env: { ...process.env, ...place.environment, ...environment },
        encoding: 'utf8',
      });
    assert.equal(call(['status']).status, 2);
    assert.equal(call(['backup', 'app'], { HOLDFAST_PLAN: place.path('holdfast.yaml') }).status, 0);
    assert.equal(call(['list', '--plan', '../holdfast.yaml'], { HOLDFAST_PLAN: '/absent.yaml' }).status, 0);
    assert.equal(call(['--plan=../holdfast.yaml', 'list', '--json']).status, 0);
    const unset = call(['status'], { HOLDFAST_PLAN: '' });
    assert.equal(unset.status, 2);
    assert.match(unset.stderr, /no plan at holdfast\.yaml/);
  });

  test('a `.env` that is there and cannot be read is exit 2 and named, and no defect', async () => {
    const { place } = small;
    rmSync(place.path('.env'), { force: true });
    mkdirSync(place.path('.env'));
    try {
      const ran = await refused(place, ['list'], 2, /\.env cannot be read: EISDIR/);
      assert.equal(ran.json().error?.code, 'plan-invalid');
    } finally {
      rmdirSync(place.path('.env'));
    }
  });

  for (const [args, message, hint] of [
    [['prove', '--all'], /unknown option '--all'/, 'holdfast prove --help'],
    [['restore', 'app'], /--to <target>/, 'holdfast restore --help'],
    [['backup', 'app', '--all'], /names or --all, got --all and app/, 'holdfast backup --help'],
    [['backup', 'app', '--point', ''], /--point: got nothing/, 'holdfast backup --help'],
    [['pause', 'app', '--all', '--reason', 'x'], /names or --all/, 'holdfast pause --help'],
    [['list', '--since'], /--since <duration>.*missing/, 'holdfast list --help'],
    [['frobnicate'], /unknown command 'frobnicate'/, 'holdfast --help lists the commands'],
  ] as const)
    test(`a wrong command line (${args.join(' ')}) is exit 2, and its hint is the help of what was asked for`, async () => {
      const ran = await refused(small.place, args, 2, message);
      assert.equal(ran.json().error?.hint, hint);
      assert.match(ran.stderr, new RegExp(`^hint: ${hint}$`, 'm'));
    });

  test('no HOME, TERM=dumb, a reader that left early, and a removed directory do no harm', async () => {
    const { place } = small;
    const plan = place.path('holdfast.yaml');
    const env = { PATH: process.env['PATH'] ?? '', TERM: 'dumb', ...place.environment };
    const bare = spawnSync(BIN, ['backup', 'app', '--plan', plan], { cwd: '/', env, encoding: 'utf8' });
    assert.equal(bare.status, 0, bare.stderr);
    const script = (text: string) =>
      spawnSync('bash', ['--norc', '-o', 'pipefail', '-c', text, BIN, plan], {
        env,
        encoding: 'utf8',
        cwd: place.directory,
      });
    const head = script('"$0" show app --plan "$1" | head -1');
    assert.equal(head.stdout, '{\n');
    assert.equal(head.stderr, '', 'no broken pipe is told');
    const typed = (term: string): string =>
      spawnSync('script', ['-qec', `${BIN} backup app --plan ${plan}`, '/dev/null'], {
        env: { ...env, TERM: term },
        encoding: 'utf8',
      }).stdout;
    assert.ok(typed('xterm').includes('\u001b[K'), 'a terminal sees progress');
    const dumb = typed('dumb');
    assert.ok(!dumb.includes('\u001b'), dumb);
    assert.match(dumb, /app: ok/);
    const gone = script('mkdir gone && cd gone && rmdir ../gone && "$0" status --plan "$1" && "$0" status --json');
    assert.equal(gone.status, 2, gone.stderr);
    assert.match(gone.stdout, /ok {2}app/);
    assert.match(gone.stdout, /"message":"the directory this was called in has been removed"/);
    assert.doesNotMatch(gone.stderr, /defect/);
  });

  test('I6: the plan lies in the vault as it was written, its variables not put in', async () => {
    const { place } = small;
    const { plan } = (await good(place.run('show', 'app', '--json'))).json().result as { plan: { sha256: string } };
    assert.equal(
      readFileSync(place.path('vault', 'plans', `${plan.sha256}.yaml`), 'utf8'),
      readFileSync(place.path('holdfast.yaml'), 'utf8'),
    );
  });
});
