import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { draftPlan, type PlanDraft } from '#core/plan-draft';
import { loadPlan } from '#core/plan-load';
import {
  type DraftSource,
  type ServiceTrace,
  slug,
  sourcesFrom,
  type Traces,
  type VariableTrace,
} from '#core/plan-sources';

const NOTHING: Traces = { variables: [], services: [], databases: [], trees: [], configuration: [] };

function draft(sources: readonly DraftSource[], more: Partial<PlanDraft> = {}): PlanDraft {
  return {
    schema: '/opt/holdfast/holdfast.schema.json',
    name: 'app',
    timezone: 'UTC',
    recipients: ['age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq'],
    identityFile: './holdfast.key',
    vault: { name: 'local', disk: '/var/backups/app' },
    sources,
    ...more,
  };
}

function variable(name: string, address: string, more: Partial<VariableTrace> = {}): VariableTrace {
  const [host = '', port, database] = address.split(/[:/]/);
  const engine = name.includes('REDIS') ? 'redis' : 'postgres';
  const rest = { port: port ? Number(port) : null, database: database ?? null, file: null };
  return { name, url: `\${${name}}`, foundIn: '.env', engine, host, ...rest, ...more };
}

function service(name: string, more: Partial<ServiceTrace> = {}): ServiceTrace {
  return {
    engine: 'postgres',
    service: name,
    container: null,
    image: 'postgres:16',
    composeFile: '/srv/app/compose.yaml',
    user: 'postgres',
    database: 'postgres',
    publishedPort: null,
    wantsPassword: false,
    ...more,
  };
}

describe('draftPlan', () => {
  /** Anything a file system, a compose file or a person may hold, odd YAML above all. */
  const text = fc.oneof(
    fc.string({ minLength: 1, unit: 'grapheme' }),
    fc.string({ minLength: 1, unit: 'binary' }).filter((one) => one.isWellFormed()),
    fc.constantFrom(
      'no',
      '1e3',
      '.5',
      '0x1F',
      '~',
      '- a',
      'a: b',
      '# c',
      '"',
      "'",
      '{}',
      '[',
      '*x',
      '&y',
      '!!int',
      '.inf',
      '.',
      '..',
    ),
  );
  // What the plan's own rules say about paths and references is not the draft's business.
  const path = text.filter((one) => !one.includes('$') && !one.includes('\0')).map((one) => `x/${one}`);
  const file = fc.record({
    engine: fc.constant('files' as const),
    why: text,
    lacks: fc.option(text),
    paths: fc.array(path, { minLength: 1, maxLength: 3 }),
    exclude: fc.array(path, { maxLength: 2 }),
    configuration: fc.boolean(),
    service: fc.option(text),
  });
  const sqlite = fc.record({ engine: fc.constant('sqlite' as const), why: text, lacks: fc.option(text), file: path });

  test('loads again with every value as it was, whatever letters are in it', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(file, sqlite), { minLength: 1, maxLength: 4 }), path, (found, disk) => {
        const sources = found.map((one, index) => ({
          ...one,
          name: `s${index}`,
          lacks: index === 0 ? null : one.lacks,
        }));
        const { plan } = loadPlan(draftPlan(draft(sources, { vault: { name: 'local', disk } })), 'holdfast.yaml');
        assert.deepEqual(plan.vaults['local'], { disk });
        const ready = sources.filter((source) => source.lacks === null);
        assert.deepEqual(
          Object.keys(plan.sources),
          ready.map((source) => source.name),
        );
        for (const source of ready) {
          const got = plan.sources[source.name];
          if (source.engine === 'sqlite') assert.equal(got?.sqlite?.file, source.file);
          else assert.deepEqual(got?.files?.paths, source.paths);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('a comment cannot end its line and become part of the plan', () => {
    const evil = 'x\nencryption: none\r\nname: other\u2028y';
    const source: DraftSource = { engine: 'sqlite', name: 'a', file: 'a.db', why: evil, lacks: null };
    const { plan } = loadPlan(draftPlan(draft([source, { ...source, name: 'b', lacks: evil }], { schema: evil })), 'x');
    assert.notEqual(plan.encryption, 'none');
    assert.equal(plan.name, 'app');
  });

  test('names the schema on its first line, for editors', () => {
    assert.match(
      draftPlan(draft(sourcesFrom({ ...NOTHING, databases: ['a.db'] }))),
      /^# yaml-language-server: \$schema=\/opt\/holdfast\/holdfast\.schema\.json\n/,
    );
  });

  test('a source written as a comment is a plan again when its # are taken away', () => {
    const sources = sourcesFrom({ ...NOTHING, databases: ['a.db'], services: [service('redis', { engine: 'redis' })] });
    const commented = draftPlan(draft(sources));
    const opened = commented.replace(
      /^ {2}# (redis:\n(?: {2}# .*\n)+)/m,
      (_all, lines: string) => `  ${lines.replaceAll('\n  # ', '\n  ')}`,
    );
    assert.deepEqual(Object.keys(loadPlan(commented, 'x').plan.sources), ['a']);
    assert.deepEqual(Object.keys(loadPlan(opened, 'x').plan.sources), ['a', 'redis']);
  });
});

describe('sourcesFrom', () => {
  test('a loopback address on the port a service publishes is that service, reached by its address', () => {
    const [only, ...rest] = sourcesFrom({
      ...NOTHING,
      variables: [variable('DATABASE_URL', '127.0.0.1:5433/x')],
      services: [service('db', { publishedPort: 5433 })],
    });
    assert.deepEqual([only?.engine === 'postgres' && only.exec, rest], [null, []]);
  });

  test("an address by a service's or a container's name is reached inside of the container", () => {
    for (const host of ['db', 'the-db']) {
      const [only] = sourcesFrom({
        ...NOTHING,
        variables: [variable('DATABASE_URL', `${host}:5432/x`)],
        services: [service('db', { container: 'the-db' })],
      });
      assert.deepEqual(only?.engine === 'postgres' && only.exec, ['docker', 'exec', '-i', 'the-db']);
      assert.equal(only?.engine === 'postgres' && only.url, '${DATABASE_URL}');
    }
  });

  test('a service beside a remote address is proposed as a comment, not run', () => {
    const sources = sourcesFrom({
      ...NOTHING,
      variables: [variable('DATABASE_URL', 'db.example.com/x')],
      services: [service('db', { publishedPort: 5432 })],
    });
    assert.deepEqual(
      sources.map(({ name, lacks }) => [name, lacks !== null]),
      [
        ['database', false],
        ['db', true],
      ],
    );
  });

  test('odd user and database names are made safe in an address, references stay', () => {
    const [one] = sourcesFrom({ ...NOTHING, services: [service('db', { user: 'a b@c', database: '${POSTGRES_DB}' })] });
    assert.equal(one?.engine === 'postgres' && one.url, 'postgres://a%20b%40c@localhost/${POSTGRES_DB}');
  });

  test('names are always fit for keys, and never twice the same', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { maxLength: 12 }), (names) => {
        const databases = names.map((name, index) => `${index}/${name.replaceAll('/', '')}.db`);
        const got = sourcesFrom({ ...NOTHING, databases }).map((source) => source.name);
        assert.equal(new Set(got).size, databases.length);
        for (const name of got) assert.match(name, /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
      }),
    );
  });

  test('a tree inside of another one is not copied twice', () => {
    const tree = { service: null, hasDatabases: false };
    const trees = [
      { ...tree, path: 'data' },
      { ...tree, path: 'data/uploads' },
      { ...tree, path: 'database' },
    ];
    assert.deepEqual(
      sourcesFrom({ ...NOTHING, trees }).map((source) => source.name),
      ['data', 'database'],
    );
  });

  test('slug keeps what is a name, and never gives an empty one', () => {
    assert.deepEqual(
      ['archon72', 'SIN Solver!', '---', 'å', 'x'.repeat(80)].map((text) => slug(text, 'plan')),
      ['archon72', 'sin-solver', 'plan', 'plan', 'x'.repeat(63)],
    );
  });
});
