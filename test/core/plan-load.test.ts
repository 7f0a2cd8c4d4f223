import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { PlanInvalid } from '#core/errors';
import { loadPlan } from '#core/plan-load';

const design = readFileSync(new URL('./fixtures/design.yaml', import.meta.url), 'utf8');

const RECIPIENT = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';

/** A small sound plan; tests replace parts of it. */
const sound = `version: 1
name: app
encryption: { recipients: [${RECIPIENT}] }
vaults:
  ssd: { disk: /var/backups/app, capacity: 500GB }
  far: { s3: app-backups, region: eu-north-1 }
tiers:
  daily: { keep: 30d }
  weekly:
    keep: 4w
sources:
  events:
    postgres: { url: "\${DATABASE_URL}" }
    schedule: [{ cron: "0 2 * * *", tiers: [daily, weekly], to: [ssd, far] }]
`;

function refusal(text: string): PlanInvalid {
  try {
    loadPlan(text, 'holdfast.yaml');
  } catch (thrown) {
    assert.ok(thrown instanceof PlanInvalid, String(thrown));
    return thrown;
  }
  assert.fail(`the plan was accepted:\n${text}`);
}

function replaced(from: string, to: string): string {
  assert.ok(sound.includes(from), from);
  return sound.replace(from, to);
}

/** Replaced text, and the first line of the refusal. */
type Row = readonly [from: string, to: string, line: string];

function checkRows(rows: readonly Row[]): void {
  for (const [from, to, line] of rows) {
    const error = refusal(replaced(from, to));
    assert.equal(error.message.split('\n')[0], line);
    assert.equal(error.at, line.split(' ')[0]);
    assert.equal(error.exit, 2);
  }
}

describe('a plan that is right', () => {
  test('the plan of the design loads, with all its parts', () => {
    const { plan, sha256, text, at } = loadPlan(design, 'holdfast.yaml');
    assert.equal(plan.name, 'archon72');
    assert.deepEqual(Object.keys(plan.sources), ['events', 'cache', 'app', 'payloads', 'config', 'code']);
    assert.equal(text, design);
    assert.match(sha256, /^[0-9a-f]{64}$/);
    assert.equal(at(['sources', 'app']), 'holdfast.yaml:38:3');
  });

  test('positions: a value where it stands, a map where its key stands, what is not there where its parent stands', () => {
    const { at } = loadPlan(sound, 'holdfast.yaml');
    assert.equal(at(['tiers', 'weekly', 'keep']), 'holdfast.yaml:10:11');
    assert.equal(at(['tiers', 'weekly']), 'holdfast.yaml:9:3');
    assert.equal(at(['sources', 'events', 'schedule', 0, 'tiers', 1]), 'holdfast.yaml:14:52');
    assert.equal(at(['sources', 'events', 'objectives', 'rpo']), 'holdfast.yaml:12:3');
    assert.equal(at(['nowhere']), 'holdfast.yaml:1:1');
  });

  test('anchors, aliases and merge keys work, and problems in them point at the text that is wrong', () => {
    const shared = (keep: string) =>
      replaced(
        'tiers:\n  daily: { keep: 30d }\n',
        `tiers:\n  hourly: &short { keep: ${keep} }\n  daily: *short\n  monthly: { <<: *short, class: infrequent }\n`,
      );
    const { plan } = loadPlan(shared('30d'), 'holdfast.yaml');
    assert.equal(plan.tiers['monthly']?.class, 'infrequent');
    assert.deepEqual(plan.tiers['monthly']?.keep, { text: '30d', seconds: 2_592_000 });
    assert.deepEqual(refusal(shared('soon')).message.split('\n'), [
      'holdfast.yaml:8:26 tiers.hourly.keep: got "soon", want a duration such as 4w, or {versions: 10}',
      'holdfast.yaml:8:26 tiers.daily.keep: got "soon", want a duration such as 4w, or {versions: 10}',
      'holdfast.yaml:8:26 tiers.monthly.keep: got "soon", want a duration such as 4w, or {versions: 10}',
    ]);
  });

  test('routes may name some of the alarms only', () => {
    const { plan } = loadPlan(`${sound}alerts: { routes: { failed: critical } }\n`, 'holdfast.yaml');
    assert.deepEqual(plan.alerts?.routes, { failed: 'critical' });
  });
});

describe('what is not a plan', () => {
  const rows: [string, string][] = [
    ['', 'holdfast.yaml:1:1 got an empty file, want a plan: holdfast init writes one'],
    ['# nothing\n', 'holdfast.yaml:1:1 got an empty file, want a plan: holdfast init writes one'],
    ['- a\n- b\n', 'holdfast.yaml:1:1 got a list, want a map that begins with version: 1'],
    ['\nhello\n', 'holdfast.yaml:2:1 got text, want a map that begins with version: 1'],
    ['a: 1\na: 2\n', 'holdfast.yaml:2:1 got the key a a second time, want each key once'],
    ['a:\n\t- b\n', 'holdfast.yaml:2:1 got a tab, want spaces: YAML does not indent with tabs'],
    [
      'a: [b, c\n',
      'holdfast.yaml:2:1 got a line that begins too far left or right, or a bracket left open before it, want entries of one map or list below one another',
    ],
    [
      'a: "b\n',
      'holdfast.yaml:2:1 got an entry without its end, want a closing quote, bracket or comma, or ": " after a key',
    ],
    [
      'a: b: c\n',
      'holdfast.yaml:1:4 got a second ": " in one line, want quotes around a text that contains ": ", or a line of its own',
    ],
    ['a: *b\n', 'holdfast.yaml:1:4 got an alias without its anchor, want quotes around a text that begins with * or &'],
    ['a: !b c\n', 'holdfast.yaml:1:4 got an unknown tag, want quotes around a text that begins with !'],
    ['a: 1\n---\nb: 2\n', 'holdfast.yaml:2:1 got a second document after ---, want one plan in a file'],
    ['vaults: { __proto__: { disk: /x } }\n', 'holdfast.yaml:1:11 got the key __proto__, want another name'],
  ];
  for (const [text, line] of rows) {
    test(`${JSON.stringify(text)} is refused with its position`, () => {
      const error = refusal(text);
      assert.equal(error.message.split('\n')[0], line);
      assert.equal(error.at, line.split(' ')[0]);
    });
  }

  test('aliases that unfold into billions of values are refused at once', () => {
    const levels = Array.from(
      { length: 12 },
      (_, n) => `l${n + 1}: &l${n + 1} [${Array(10).fill(`*l${n}`).join(', ')}]`,
    );
    const started = performance.now();
    assert.match(refusal(`l0: &l0 [x]\n${levels.join('\n')}\n`).message, /aliases that unfold without end/);
    // Unfolded, they would take hours and all memory.
    assert.ok(performance.now() - started < 30_000);
  });

  test('a text that is nested too deep, or too long, is refused', () => {
    refusal(`a: ${'['.repeat(20_000)}`);
    assert.match(refusal(`# ${'x'.repeat(2_000_000)}`).message, /at most 1048576/);
  });
});

describe('shape: each kind of mistake, with where, what and what instead', () => {
  test('the example of the design, to the letter', () => {
    checkRows([
      [
        'keep: 4w',
        'keep: 4 weaks',
        'holdfast.yaml:10:11 tiers.weekly.keep: got "4 weaks", want a duration such as 4w, or {versions: 10}',
      ],
    ]);
  });

  test('unknown keys name the nearest that exists', () => {
    checkRows([
      [
        'keep: 4w',
        'kep: 4w',
        'holdfast.yaml:9:3 tiers.weekly.keep: got nothing, want a duration such as 4w, or {versions: 10}',
      ],
      [
        'keep: 30d',
        'keep: 30d, evry: 1h',
        'holdfast.yaml:8:23 tiers.daily.evry: got an unknown key, want one of keep, class, after, every (did you mean every?)',
      ],
      [
        'capacity: 500GB',
        'capacty: 500GB',
        'holdfast.yaml:5:34 vaults.ssd.capacty: got an unknown key, want one of disk, capacity, site, replica (did you mean capacity?)',
      ],
      [
        'name: app',
        'name: app\nsource: {}',
        'holdfast.yaml:3:1 source: got an unknown key, want one of version, name, timezone, encryption, vaults, tiers, sources, alerts, retain, kpi, serve, cloud (did you mean sources?)',
      ],
      [
        '{ url: "${DATABASE_URL}" }',
        '{ url: "${DATABASE_URL}", password: hunter22 }',
        'holdfast.yaml:13:41 sources.events.postgres.password: got an unknown key, want one of url, tables, mode, jobs, schemaOnly, databases, globals, partial, fingerprint, version, packages, bin, exec, wal',
      ],
    ]);
  });

  test('a union complains about the branch that was meant', () => {
    checkRows([
      [
        'capacity: 500GB',
        'capacity: 500 gigs',
        'holdfast.yaml:5:44 vaults.ssd.capacity: got "500 gigs", want a size such as 500GB, 2TB or 64MiB',
      ],
      [
        '{ disk: /var/backups/app, capacity: 500GB }',
        '{ disc: /var/backups/app }',
        'holdfast.yaml:5:3 vaults.ssd: got { disc }, want { disk: PATH } or { s3: BUCKET }',
      ],
      [
        's3: app-backups',
        's3: "s3://app"',
        'holdfast.yaml:6:14 vaults.far.s3: got (not shown), want the name of a bucket, such as archon72-backups',
      ],
      [
        `{ recipients: [${RECIPIENT}] }`,
        'nonee',
        'holdfast.yaml:3:13 encryption: got "nonee", want { recipients: [age1…], identity: { file: PATH } } or the single word none',
      ],
      [
        `{ recipients: [${RECIPIENT}] }`,
        '{ recipients: [AGE-SECRET-KEY-1QQQ] }',
        'holdfast.yaml:3:28 encryption.recipients[0]: got (not shown), want a public key: age1…, ssh-ed25519 …, ssh-rsa …, or "gpg:ID"',
      ],
      ['keep: 4w', 'keep: { versions: 0 }', 'holdfast.yaml:10:23 tiers.weekly.keep.versions: got 0, want at least 1'],
      [
        'schedule:',
        'prove: sometimes\n    schedule:',
        'holdfast.yaml:14:12 sources.events.prove: got "sometimes", want always, never, or { cron, with }',
      ],
      [
        'schedule:',
        'probes: { n: { query: select 1, expect: { atLeast: many } } }\n    schedule:',
        'holdfast.yaml:14:56 sources.events.probes.n.expect.atLeast: got "many", want a number',
      ],
    ]);
  });

  test('what is missing points at its parent; what is of the wrong kind says which kind is wanted', () => {
    checkRows([
      ['version: 1\n', '', 'holdfast.yaml:1:1 version: got nothing, want 1'],
      ['version: 1', 'version: "1"', 'holdfast.yaml:1:10 version: got "1", want 1'],
      [
        'name: app',
        'name: My App',
        'holdfast.yaml:2:7 name: got "My App", want lower-case letters, digits and dashes, at most 63',
      ],
      ['    keep: 4w\n', '', 'holdfast.yaml:9:3 tiers.weekly: got nothing, want a map'],
      [', to: [ssd, far]', '', 'holdfast.yaml:14:16 sources.events.schedule[0].to: got nothing, want a list'],
      ['to: [ssd, far]', 'to: ssd', 'holdfast.yaml:14:65 sources.events.schedule[0].to: got text, want a list'],
      [
        'to: [ssd, far]',
        'to: []',
        'holdfast.yaml:14:61 sources.events.schedule[0].to: got an empty list, want at least 1 entry',
      ],
      [
        '  daily: {',
        '  Daily!: {',
        'holdfast.yaml:8:3 tiers["Daily!"]: got "Daily!", want lower-case letters, digits and dashes, at most 63',
      ],
      [
        '{ url: "${DATABASE_URL}" }',
        '{ url: 5 }',
        'holdfast.yaml:13:22 sources.events.postgres.url: got (not shown), want text',
      ],
      [
        '{ url: "${DATABASE_URL}" }',
        'postgres://u:p@h/d',
        'holdfast.yaml:13:15 sources.events.postgres: got text, want a map',
      ],
      [
        'schedule:',
        'runs: there\n    schedule:',
        'holdfast.yaml:14:11 sources.events.runs: got "there", want one of here, cloud',
      ],
    ]);
  });

  test('all problems are told, in the order of the file', () => {
    const broken = sound.replace('500GB', '500').replace('keep: 4w', 'keep: soon').replace('version: 1', 'version: 3');
    assert.deepEqual(refusal(broken).message.split('\n'), [
      'holdfast.yaml:1:10 version: got 3, want 1',
      'holdfast.yaml:5:44 vaults.ssd.capacity: got 500, want a size such as 500GB, 2TB or 64MiB',
      'holdfast.yaml:10:11 tiers.weekly.keep: got "soon", want a duration such as 4w, or {versions: 10}',
    ]);
  });
});

describe('I7: no secret in what is said about a plan', () => {
  /** Where secrets stand, and shapes they may stand in by mistake. */
  const places = [
    (it: string) => replaced('url: "${DATABASE_URL}"', `url: ${it}`),
    (it: string) => replaced('{ url: "${DATABASE_URL}" }', it),
    (it: string) => replaced('url: "${DATABASE_URL}"', `url: [${it}]`),
    (it: string) => replaced('url: "${DATABASE_URL}"', `url: { value: ${it} }`),
    (it: string) => replaced('region: eu-north-1', `accessKeyId: ${it}, secretAccessKey: ${it}`),
    (it: string) => replaced('region: eu-north-1', `accessKeyId: k, secretAccessKey: [${it}]`),
    (it: string) => `${sound}alerts: { critical: [${it}], high: [{ slack: ${it} }], medium: [{ slack: [${it}] }] }\n`,
    (it: string) => `${sound}alerts: { heartbeat: { url: ${it} }, critical: ${it} }\n`,
    (it: string) => `${sound}serve: { listen: "127.0.0.1:1", token: [${it}] }\n`,
    (it: string) => `${sound}serve: ${it}\n`,
    (it: string) => replaced('schedule:', `prove: { with: { url: [${it}] } }\n    schedule:`),
    (it: string) => replaced('schedule:', `before: ${it}\n    schedule:`),
    (it: string) => `${sound}  ${it}\n`,
  ];
  const word = fc.string({
    unit: fc.constantFrom(...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789+/=_-'),
    minLength: 8,
    maxLength: 30,
  });
  const secret = word.map((text) => `zq9X${text}`);

  test('whatever is wrong with it, wherever it stands, quoted or not', () => {
    const signs = fc.constantFrom(
      '',
      '*',
      '&',
      '!',
      '%',
      '@',
      '`',
      '|',
      '>',
      '"',
      "'",
      '{',
      '[',
      '${',
      ': ',
      '# ',
      '\t',
    );
    fc.assert(
      fc.property(secret, signs, fc.constantFrom(...places), fc.boolean(), (value, sign, place, quoted) => {
        const written = quoted ? JSON.stringify(`${sign}${value}`) : `${sign}${value}`;
        try {
          loadPlan(place(written), 'holdfast.yaml');
        } catch (thrown) {
          assert.ok(thrown instanceof PlanInvalid, String(thrown));
          const said = `${thrown.message} ${thrown.hint} ${thrown.at} ${thrown.cause}`;
          assert.ok(!said.includes(value), said);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
