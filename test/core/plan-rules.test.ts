import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PlanInvalid } from '#core/errors';
import { loadPlan } from '#core/plan-load';

/** Parts of a plan; each test says what differs from a sound one. */
interface Parts {
  readonly top?: string;
  readonly identity?: string;
  readonly vaults?: string;
  readonly tiers?: string;
  readonly engine?: string;
  readonly schedule?: string;
  readonly more?: string;
}

const RECIPIENT = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';

function planOf(parts: Parts): string {
  return [
    'version: 1',
    'name: app',
    parts.top ?? 'timezone: Europe/Stockholm',
    `encryption: { recipients: [${RECIPIENT}]${parts.identity ?? ''} }`,
    'vaults:',
    `  ${parts.vaults ?? 'ssd: { disk: /backups }, cloud: { s3: app-backups, region: eu-north-1 }'}`,
    'tiers:',
    `  ${parts.tiers ?? 'hourly: { keep: 7d }, daily: { keep: 30d }, monthly: { keep: 12mo }, own: { keep: 5d }'}`,
    'sources:',
    '  db:',
    `    ${parts.engine ?? 'postgres: { url: "${DATABASE_URL}" }'}`,
    `    schedule: ${parts.schedule ?? '[{ cron: "0 2 * * *", tiers: [daily, monthly], to: [ssd, cloud] }]'}`,
    `    ${parts.more ?? 'prove: always'}`,
    '',
  ]
    .map((line) => (/^ {2}[a-z]+: \{.*\}, [a-z]+: \{/.test(line) ? flow(line) : line))
    .join('\n');
}

/** `a: {…}, b: {…}` on lines of their own. */
function flow(line: string): string {
  return line.replaceAll(/\}, (?=[a-z]+: \{)/g, '}\n  ');
}

function problems(parts: Parts): string[] {
  try {
    loadPlan(planOf(parts), 'holdfast.yaml');
  } catch (thrown) {
    assert.ok(thrown instanceof PlanInvalid, String(thrown));
    for (const line of thrown.message.split('\n')) assert.match(line, /^holdfast\.yaml:\d+:\d+ \S+: got .+, want .+$/);
    assert.ok(thrown.message.startsWith(`${thrown.at} `));
    return thrown.message.split('\n').map((line) => line.replace(/^holdfast\.yaml:/, ''));
  }
  return [];
}

const cases: readonly [title: string, parts: Parts, ...expected: RegExp[]][] = [
  ['a sound plan has no problems', {}],
  [
    'an unknown timezone',
    { top: 'timezone: Europe/Stokholm' },
    /^3:11 timezone: got "Europe\/Stokholm", want a name of the tz/,
  ],
  [
    'a bare offset as timezone, which knows no summer time',
    { top: 'timezone: "+01:00"' },
    /^3:11 timezone: got "\+01:00"/,
  ],
  ['no engine', { engine: 'hold: true' }, /sources\.db: got no engine, want exactly one of postgres, redis/],
  [
    'two engines',
    { engine: 'postgres: { url: x }\n    redis: { url: y }' },
    /sources\.db: got postgres and redis, want exactly one of/,
  ],
  [
    'a bad cron',
    { schedule: '[{ cron: "0 25 * * *", tier: daily, to: [ssd] }]' },
    /\.schedule\[0\]\.cron: got "0 25 \* \* \*", want hour 0-23/,
  ],
  [
    'day-of-month and weekday together',
    { schedule: '[{ cron: "0 2 13 * 5", tier: daily, to: [ssd] }]' },
    /schedule\[0\]\.cron: got "0 2 13 \* 5", want day-of-month or day-of-week, one of them \*/,
  ],
  [
    'a bad cron of a proof',
    { more: 'prove: { cron: "@daily" }' },
    /sources\.db\.prove\.cron: got "@daily", want five fields/,
  ],
  ['a bad cron of a drill', { more: 'drill: { cron: "x" }' }, /sources\.db\.drill\.cron: got "x", want five fields/],
  [
    'a bad cron of retention',
    { top: 'retain: { cron: "0 0 31 2 *" }' },
    /^3:17 retain\.cron: got "0 0 31 2 \*", want a date that exists/,
  ],
  [
    'an interval that does not divide a day',
    { schedule: '[{ every: 5h, tier: daily, to: [ssd] }]' },
    /schedule\[0\]\.every: got 5h, want a duration that divides a day/,
  ],
  ['an interval of seconds', { schedule: '[{ every: 30s, tier: daily, to: [ssd] }]' }, /every: got 30s/],
  [
    'neither cron nor every',
    { schedule: '[{ tier: daily, to: [ssd] }]' },
    /^16:16 sources\.db\.schedule\[0\]: got neither cron nor every, want exactly one/,
  ],
  [
    'both cron and every',
    { schedule: '[{ cron: "0 2 * * *", every: 1d, tier: daily, to: [ssd] }]' },
    /schedule\[0\]: got cron and every, want exactly one/,
  ],
  [
    'neither tier nor tiers',
    { schedule: '[{ every: 1d, to: [ssd] }]' },
    /schedule\[0\]: got neither tier nor tiers, want exactly one of tier: NAME, tiers:/,
  ],
  [
    'both tier and tiers',
    { schedule: '[{ every: 1d, tier: daily, tiers: [daily], to: [ssd] }]' },
    /got tier and tiers/,
  ],
  [
    'an unknown tier',
    { schedule: '[{ every: 1d, tier: dayly, to: [ssd] }]' },
    /schedule\[0\]\.tier: got "dayly", want one of hourly, daily, monthly, own \(did you mean daily\?\)/,
  ],
  [
    'an unknown tier in a list',
    { schedule: '[{ every: 1d, tiers: [daily, yearly], to: [ssd] }]' },
    /tiers\[1\]: got "yearly", want one of/,
  ],
  [
    'an unknown vault',
    { schedule: '[{ every: 1d, tier: daily, to: [ssd, clod] }]' },
    /to\[1\]: got "clod", want one of ssd, cloud \(did you mean cloud\?\)/,
  ],
  [
    'a vault named like something every object has',
    { schedule: '[{ every: 1d, tier: daily, to: [constructor] }]' },
    /to\[0\]: got "constructor", want one of/,
  ],
  ['a vault twice', { schedule: '[{ every: 1d, tier: daily, to: [ssd, ssd] }]' }, /to\[1\]: got ssd a second time/],
  [
    'tiers not from the lowest up',
    { schedule: '[{ every: 1d, tiers: [monthly, daily], to: [ssd] }]' },
    /tiers\[1\]: got daily after monthly, want tiers from the shortest/,
  ],
  [
    'a tier twice',
    { schedule: '[{ every: 1d, tiers: [daily, daily], to: [ssd] }]' },
    /tiers\[1\]: got daily a second time/,
  ],
  [
    'an own tier in a list without every:',
    { schedule: '[{ every: 1d, tiers: [daily, own], to: [ssd] }]' },
    /tiers\[1\]: got own, which has no period, want every: in tiers\.own, or one of hourly/,
  ],
  ['an own tier alone needs no every:', { schedule: '[{ every: 1d, tier: own, to: [ssd] }]' }],
  [
    'an own tier in a list with every:',
    {
      tiers: 'daily: { keep: 30d }, quarterly: { keep: 7y, every: 90d }',
      schedule: '[{ every: 1d, tiers: [daily, quarterly], to: [ssd] }]',
    },
  ],
  [
    'a period that does not divide a day',
    { tiers: 'daily: { keep: 30d, every: 7h }, monthly: { keep: 1y }' },
    /tiers\.daily\.every: got 7h, want/,
  ],
  [
    'a lock longer than its tier',
    {
      vaults: 'ssd: { disk: /b }, cloud: { s3: app, lock: compliance, lockFor: 1y }',
      tiers: 'daily: { keep: 30d }, monthly: { keep: 2y }',
    },
    /^7:48 vaults\.cloud\.lockFor: got 1y, and tier daily keeps 30d, want at most 30d: a lock may not outlast its tier$/,
  ],
  [
    'a lock of what is kept for ever may be longer than other tiers of its vault',
    {
      vaults: 'ssd: { disk: /b }, cloud: { s3: app, lock: compliance, lockFor: 1y }',
      tiers: 'daily: { keep: 30d }, monthly: { keep: forever }',
    },
  ],
  [
    'a lock of a tier that keeps a day',
    {
      vaults: 'ssd: { disk: /b }, cloud: { s3: app, lock: governance }',
      tiers: 'daily: { keep: 1d }, monthly: { keep: 1y }',
    },
    /vaults\.cloud\.lock: got governance, and tier daily keeps 1d, want a tier that keeps longer than 1d/,
  ],
  [
    'lockFor without lock',
    { vaults: 'ssd: { disk: /b }, cloud: { s3: app, lockFor: 1y }' },
    /vaults\.cloud\.lockFor: got 1y, want lock:/,
  ],
  [
    'a replica in the same region',
    { vaults: 'ssd: { disk: /b }, cloud: { s3: app, region: eu-north-1, replica: { region: eu-north-1 } }' },
    /vaults\.cloud\.replica\.region: got "eu-north-1", want another region/,
  ],
  [
    'a replica in the same region of another account',
    {
      vaults:
        'ssd: { disk: /b }, cloud: { s3: app, region: eu-north-1, replica: { region: eu-north-1, account: "123456789012" } }',
    },
  ],
  [
    'a replica vault in the same region',
    {
      vaults:
        'ssd: { disk: /b }, cloud: { s3: app, region: eu-north-1, replica: { vault: twin } }, twin: { s3: app2, region: eu-north-1 }',
    },
    /vaults\.cloud\.replica\.vault: got twin, in the same region eu-north-1/,
  ],
  [
    'a replica of a disk by region',
    { vaults: 'ssd: { disk: /b, replica: { region: x } }, cloud: { s3: app }' },
    /vaults\.ssd\.replica: got a map, want \{ vault: NAME \}/,
  ],
  [
    'a replica that is unknown',
    { vaults: 'ssd: { disk: /b, replica: { vault: clowd } }, cloud: { s3: app }' },
    /vaults\.ssd\.replica\.vault: got "clowd", want one of ssd, cloud \(did you mean cloud\?\)/,
  ],
  [
    'a replica that is the vault itself',
    { vaults: 'ssd: { disk: /b, replica: { vault: ssd } }, cloud: { s3: app }' },
    /replica\.vault: got the vault itself/,
  ],
  [
    'two vaults in one place',
    { vaults: 'ssd: { disk: /b }, cloud: { disk: /b }' },
    /vaults\.cloud: got the place of vault ssd/,
  ],
  [
    'two vaults in one place, written in two ways',
    { vaults: 'ssd: { disk: ./b }, cloud: { disk: b// }' },
    /vaults\.cloud: got the place of vault ssd/,
  ],
  [
    'half a key pair',
    { vaults: 'ssd: { disk: /b }, cloud: { s3: app, accessKeyId: "${A}" }' },
    /vaults\.cloud\.accessKeyId: got accessKeyId alone, want secretAccessKey too/,
  ],
  [
    'a proof after the archive transition',
    {
      tiers: 'daily: { keep: 90d, class: archive, after: 3d }, monthly: { keep: 1y }',
      more: 'prove: { cron: "0 4 * * 1" }\n    objectives: { rpo: 8d }',
    },
    /sources\.db\.prove\.cron: got "0 4 \* \* 1", 7d between two proofs, want a proof before tier daily moves to archive after 3d/,
  ],
  [
    'an archive transition after the tier has ended',
    { tiers: 'daily: { keep: 30d, class: archive }, monthly: { keep: 1y }' },
    /tiers\.daily\.class: got archive after 30d of a tier that keeps 30d, want after: less than 30d/,
  ],
  [
    'after: without an archive class',
    { tiers: 'daily: { keep: 30d, after: 7d }, monthly: { keep: 1y }' },
    /tiers\.daily\.after: got 7d, want class:/,
  ],
  [
    'a schedule sparser than its RPO',
    { more: 'objectives: { rpo: 12h }' },
    /^17:24 sources\.db\.objectives\.rpo: got 12h, want at least 1d, the longest time between two runs/,
  ],
  [
    'two schedules that together keep the RPO',
    {
      schedule: '[{ cron: "0 2 * * *", tier: daily, to: [ssd] }, { cron: "0 14 * * *", tier: daily, to: [ssd] }]',
      more: 'objectives: { rpo: 12h }',
    },
  ],
  [
    'a proof sparser than its RPO',
    { more: 'prove: { cron: "0 4 * * 1" }\n    objectives: { rpo: 26h }' },
    /prove\.cron: got "0 4 \* \* 1", 7d between two proofs, want no more than the RPO 1d 2h$/,
  ],
  [
    'a proof sparser than the default RPO, which is said to be that',
    { schedule: '[{ every: 15m, tier: hourly, to: [ssd] }]', more: 'prove: { cron: "0 4 * * *" }' },
    /want no more than the RPO 1h 30m \(default: objectives\.rpo sets it\)/,
  ],
  [
    'differentials kept longer than the shortest tier their fulls may land in',
    {
      engine: 'sqlite: { file: a.db }',
      schedule:
        '[{ every: 4h, tiers: [hourly, daily], to: [ssd] }, { every: 5m, kind: differential, tier: daily, to: [ssd] }]',
    },
    /schedule\[1\]\.tier: got daily, kept 30d, where a full may be hourly, kept 7d, want a tier kept no longer/,
  ],
  [
    'differentials alone',
    { engine: 'sqlite: { file: a.db }', schedule: '[{ every: 5m, kind: differential, tier: hourly, to: [ssd] }]' },
    /schedule\[0\]\.kind: got differential alone/,
  ],
  [
    'differentials where no full goes',
    {
      engine: 'sqlite: { file: a.db }',
      schedule:
        '[{ every: 4h, tier: hourly, to: [ssd] }, { every: 5m, kind: differential, tier: hourly, to: [cloud] }]',
    },
    /schedule\[1\]\.to\[0\]: got cloud, where no full goes/,
  ],
  [
    'differentials of postgres',
    {
      schedule: '[{ every: 4h, tier: hourly, to: [ssd] }, { every: 5m, kind: differential, tier: hourly, to: [ssd] }]',
    },
    /kind: got differential of postgres, want full, or one of redis, sqlite, files, git/,
  ],
  [
    'a url to prove redis at',
    { engine: 'redis: { url: x }', more: 'prove: { with: { url: y } }' },
    /sources\.db\.prove\.with: got a url to prove redis at, want with: \{ bin: DIRECTORY \}/,
  ],
  [
    'a directory of servers to prove redis by',
    { engine: 'redis: { url: x }', more: 'prove: { with: { bin: /opt/r } }' },
  ],
  [
    'a prover for files',
    { engine: 'files: { paths: [a] }', more: 'prove: { with: { bin: /opt/r } }' },
    /sources\.db\.prove\.with: got a prover for files, want with: for postgres or redis only/,
  ],
  [
    'probes of files',
    { engine: 'files: { paths: [a] }', more: 'probes: { n: select 1 }' },
    /sources\.db\.probes: got probes of files/,
  ],
  ['probes of sqlite', { engine: 'sqlite: { file: a.db }', more: 'probes: { n: select 1 }' }],
  [
    'tables of all databases',
    { engine: 'postgres: { url: x, databases: all, tables: [t] }' },
    /postgres\.tables: got tables beside databases/,
  ],
  [
    'tables of a schema only',
    { engine: 'postgres: { url: x, schemaOnly: true, tables: [t] }' },
    /postgres\.tables: got tables beside schemaOnly/,
  ],
  ['options that are false exclude nothing', { engine: 'postgres: { url: x, schemaOnly: false, tables: [t] }' }],
  [
    'a parallel dump in a container',
    { engine: 'postgres: { url: x, jobs: 4, exec: [docker] }' },
    /postgres\.jobs: got jobs beside exec/,
  ],
  [
    'partial without tables',
    { engine: 'postgres: { url: x, partial: true }' },
    /postgres\.partial: got partial without tables/,
  ],
  [
    'dump options of a physical backup',
    { engine: 'postgres: { url: x, mode: physical, globals: true }' },
    /postgres\.globals: got globals beside mode: physical/,
  ],
  [
    'wal without a physical base',
    { engine: 'postgres: { url: x, wal: { via: stream } }' },
    /postgres\.wal: got wal without mode: physical/,
  ],
  [
    'wal to an unknown vault',
    { engine: 'postgres: { url: x, mode: physical, wal: { via: stream, to: [sdd] } }' },
    /postgres\.wal\.to\[0\]: got "sdd", want one of ssd, cloud \(did you mean ssd\?\)/,
  ],
  [
    'a server version in words',
    { engine: 'postgres: { url: x, version: newest }' },
    /postgres\.version: got "newest", want a major version/,
  ],
  [
    'a cloud source without a cloud',
    { schedule: '[{ every: 1d, tier: daily, to: [cloud] }]', more: 'runs: cloud' },
    /sources\.db\.runs: got cloud, want here, or a cloud: section/,
  ],
  [
    'a disk vault, a hook and exec on a cloud source',
    {
      top: 'cloud: { region: eu-north-1 }',
      engine: 'postgres: { url: x, exec: [docker] }',
      more: 'runs: cloud\n    before: ["systemctl stop x"]',
    },
    /postgres\.exec: got exec on a source that runs: cloud, want runs: here/,
    /schedule\[0\]\.to\[0\]: got disk vault ssd on a source that runs: cloud/,
    /sources\.db\.before: got a hook \(before\) on a source that runs: cloud/,
  ],
  [
    'a key file for the proofs of a cloud source',
    {
      top: 'cloud: { region: eu-north-1 }',
      identity: ', identity: { file: ./k }',
      schedule: '[{ every: 1d, tier: daily, to: [cloud] }]',
      more: 'runs: cloud',
    },
    /sources\.db\.runs: got cloud, beside a key file \(encryption\.identity\.file\), want identity: \{ env: NAME \}/,
  ],
  [
    'a place to serve at that is none',
    { top: 'serve: { listen: nowhere }' },
    /3:18 serve\.listen: got "nowhere", want HOST:PORT/,
  ],
  [
    'files in the cloud',
    {
      top: 'cloud: { region: eu-north-1 }',
      engine: 'files: { paths: [a] }',
      schedule: '[{ every: 1d, tier: daily, to: [cloud] }]',
      more: 'runs: cloud',
    },
    /sources\.db\.files: got files on a source that runs: cloud/,
  ],
  [
    'a ${ that names nothing',
    { engine: 'postgres: { url: "${DATABASE-URL}" }' },
    /postgres\.url: got a \$\{ that names no variable, want \$\{NAME\}/,
  ],
  [
    'a ${NAME} where it is not put in',
    { engine: 'sqlite: { file: "${HOME}/a.db" }' },
    /sqlite\.file: got \$\{…\}, want the value itself/,
  ],
  ['a ${NAME} of the shell’s own in a hook', { more: 'before: ["echo ${HOME}"]' }],
];

describe('rules of the plan: what each refuses, with its place', () => {
  for (const [title, parts, ...expected] of cases) {
    test(title, () => {
      const found = problems(parts);
      assert.equal(found.length, expected.length, found.join('\n'));
      for (const [index, pattern] of expected.entries()) assert.match(found[index] ?? '', pattern);
    });
  }

  test('all problems of all sources are told at once', () => {
    const found = problems({
      top: 'timezone: Mars/Olympus',
      schedule: '[{ cron: "x", tier: dayly, to: [nowhere] }]',
      more: 'probes: {}\n  other:\n    redis: { url: x }\n    schedule: [{ tier: daily, to: [ssd] }]',
    });
    assert.deepEqual(
      found.map((line) => line.split(' ')[1]),
      [
        'timezone:',
        'sources.db.schedule[0].cron:',
        'sources.db.schedule[0].tier:',
        'sources.db.schedule[0].to[0]:',
        'sources.other.schedule[0]:',
      ],
    );
  });

  test('a plan without sources protects nothing and is refused', () => {
    const text = `version: 1\nname: a\nencryption: none\nvaults: { v: { disk: /b } }\ntiers: {}\nsources: {}\n`;
    assert.throws(() => loadPlan(text, 'p.yaml'), { message: 'p.yaml:6:1 sources: got none, want at least one' });
  });
});
