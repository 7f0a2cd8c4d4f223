import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadPlan } from '#core/plan-load';
import { cloudProblems, placesOfSources, runsHere } from '#core/where';

/** A plan around one source. */
function planOf(source: string, options: { cloud?: boolean; identity?: string } = {}) {
  return loadPlan(
    `version: 1
name: shop
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: ${options.identity ?? '{ env: IDENTITY }'}
vaults:
  ssd: { disk: /var/backups/shop }
  cloud: { s3: shop-backups, region: eu-north-1 }
tiers: { daily: { keep: 30d } }
sources:
  one:
    ${source}
${options.cloud === false ? '' : 'cloud: { region: eu-north-1 }'}
`,
    'holdfast.yaml',
  ).plan;
}

const NIGHTLY = 'schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]';

describe('where a source runs', () => {
  const table: readonly (readonly [string, string, 'here' | 'cloud', RegExp])[] = [
    [
      'a database by a variable, kept in a bucket',
      `postgres: { url: "\${DATABASE_URL}" }\n    ${NIGHTLY}`,
      'cloud',
      /by its address/,
    ],
    [
      'a database of another machine',
      `postgres: { url: "postgres://db.example.com/shop" }\n    ${NIGHTLY}`,
      'cloud',
      /by its address/,
    ],
    [
      'redis by its address',
      `redis: { url: "rediss://cache.example.com:6380" }\n    ${NIGHTLY}`,
      'cloud',
      /by its address/,
    ],
    ['a loopback address', `postgres: { url: "postgres://localhost/shop" }\n    ${NIGHTLY}`, 'here', /own/],
    ['a socket', `postgres: { url: "postgres:///shop?host=/run/postgresql" }\n    ${NIGHTLY}`, 'here', /own/],
    [
      'a container of this machine',
      `postgres: { url: "\${DATABASE_URL}", exec: [docker, exec, -i, db] }\n    ${NIGHTLY}`,
      'here',
      /container/,
    ],
    ['a file', `sqlite: { file: app.db }\n    ${NIGHTLY}`, 'here', /files of this machine/],
    [
      'a directory as one of its vaults',
      'redis: { url: "rediss://cache.example.com" }\n    schedule: [{ every: 1d, tier: daily, to: [cloud, ssd] }]',
      'here',
      /ssd, a directory/,
    ],
    ['hooks', `redis: { url: "rediss://cache.example.com" }\n    after: ["true"]\n    ${NIGHTLY}`, 'here', /hooks/],
    ['runs: here', `postgres: { url: "\${DATABASE_URL}" }\n    runs: here\n    ${NIGHTLY}`, 'here', /runs: here/],
  ];
  for (const [title, source, where, why] of table)
    test(`${title}: ${where}`, () => {
      const [place] = placesOfSources(planOf(source));
      assert.equal(place?.where, where);
      assert.match(place?.why ?? '', why);
      assert.equal(runsHere(planOf(source), 'one'), where === 'here');
    });

  test('everything runs here while the plan has no cloud:', () => {
    const [place] = placesOfSources(planOf(`postgres: { url: "\${DATABASE_URL}" }\n    ${NIGHTLY}`, { cloud: false }));
    assert.deepEqual(place, { source: 'one', vaults: ['cloud'], where: 'here', why: 'the plan has no cloud:' });
  });
});

describe('what the cloud cannot do is refused with the line', () => {
  const postgres = `postgres: { url: "\${DATABASE_URL}" }`;
  test('a key file, unless the source is never proven', () => {
    const file = { identity: '{ file: ./holdfast.key }' };
    const [problem, ...more] = cloudProblems(planOf(`${postgres}\n    ${NIGHTLY}`, file));
    assert.deepEqual(problem?.path, ['encryption', 'identity', 'file']);
    assert.match(problem?.message ?? '', /out of a task’s reach, and one runs in the cloud/);
    assert.equal(more.length, 0);
    assert.deepEqual(cloudProblems(planOf(`${postgres}\n    prove: never\n    ${NIGHTLY}`, file)), []);
    assert.deepEqual(cloudProblems(planOf(`${postgres}\n    runs: here\n    ${NIGHTLY}`, file)), []);
  });

  test('no identity at all, where something is to be proven', () => {
    const { encryption, ...plan } = planOf(`${postgres}\n    ${NIGHTLY}`);
    assert.ok(encryption !== 'none');
    const without = { ...plan, encryption: { recipients: encryption.recipients } };
    const [problem, ...more] = cloudProblems(without);
    assert.deepEqual(problem?.path, ['encryption', 'identity']);
    assert.match(problem?.message ?? '', /identity: got nothing, and no backup can be proven .* one runs in the cloud/);
    assert.equal(more.length, 0);
    assert.deepEqual(cloudProblems({ ...without, encryption: 'none' }), []);
  });

  test('a gpg recipient: a task has no keyring', () => {
    const text = planOf(`${postgres}\n    ${NIGHTLY}`);
    const withGpg = { ...text, encryption: { recipients: ['gpg:backup@shop'] } };
    assert.match(cloudProblems(withGpg)[0]?.message ?? '', /recipients\[0\]: a gpg recipient.* one runs in the cloud/);
  });

  test('more often than every 15 minutes', () => {
    const [problem] = cloudProblems(
      planOf(`${postgres}\n    schedule: [{ cron: "*/5 * * * *", tier: daily, to: [cloud] }]`),
    );
    assert.match(problem?.message ?? '', /schedule\[0\]: a run every 5 minutes in the cloud, want 15 minutes or more/);
    assert.deepEqual(
      cloudProblems(planOf(`${postgres}\n    schedule: [{ every: 15m, tier: daily, to: [cloud] }]`)),
      [],
    );
  });

  test('periods that EventBridge has no words for', () => {
    const [problem] = cloudProblems(
      planOf(`${postgres}\n    schedule: [{ every: 3d, tier: daily, to: [cloud] }]\n    objectives: { rpo: 8d }`),
    );
    assert.match(problem?.message ?? '', /cannot run "every 3d", want a cron, 1d or 7d/);
  });
});
