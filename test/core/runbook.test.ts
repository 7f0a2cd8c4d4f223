import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { EngineGuide } from '#core/engine-guide';
import { type Manifest, sha256Hex, signManifest } from '#core/manifest';
import type { EngineName } from '#core/plan';
import { type RunbookBackup, type RunbookFacts, type RunbookSource, runbook } from '#core/runbook';
import { readPage } from '#test/jobs/follow-page';

const GOLDEN = join(import.meta.dirname, 'golden', 'runbook.md');

function manifest(source: string, engine: EngineName, id: string, more: Partial<Manifest> = {}): Manifest {
  const at = `${id.slice(0, 4)}-${id.slice(4, 6)}-${id.slice(6, 8)}T${id.slice(9, 11)}:${id.slice(11, 13)}:${id.slice(13, 15)}.000Z`;
  return signManifest({
    format: 1,
    plan: { name: 'archon', sha256: sha256Hex('plan') },
    source,
    engine,
    identity: {},
    tools: { server: '15.18', pg_dump: '15.18' },
    id,
    kind: 'full',
    base: null,
    tier: 'daily',
    trigger: { by: 'schedule', schedule: '0 2 * * *', scheduledAt: at },
    snapshotAt: at,
    startedAt: at,
    finishedAt: at,
    host: 'db1',
    reason: null,
    point: null,
    artifacts: [
      {
        name: 'database.dump',
        volumes: [
          { name: 'database.dump.zst.age', bytes: 20_000_000, sha256: sha256Hex(`${source} 1`) },
          { name: 'database.dump.zst.age.002', bytes: 5_000_000, sha256: sha256Hex(`${source} 2`) },
        ],
        plain: { bytes: 63_000_000, sha256: null },
      },
      {
        name: 'globals.sql',
        volumes: [{ name: 'globals.sql.zst.age', bytes: 700, sha256: sha256Hex(`${source} 3`) }],
        plain: { bytes: 2000, sha256: null },
      },
    ],
    fingerprint: { digest: 'pg1', measures: { rows: 7 }, content: null, sha256: sha256Hex('{}') },
    probes: [],
    expires: null,
    after: null,
    encryption: { method: 'age', recipients: ['sha256:4934b48905c7e8c8', 'sha256:d6e8a0640826cfe9'] },
    lease: 1,
    ledgerHead: null,
    warnings: [],
    restore: { script: `# restores ${source}\necho "$TARGET"\n` },
    ...more,
  });
}

const GUIDE: EngineGuide = {
  packages: ['postgresql-15'],
  beforeInstall: ['echo "package sources"'],
  afterInstall: ['service postgresql start'],
  target: ['URL of an **empty** database.', 'Needs PostgreSQL 15.'],
  exampleTarget: "'postgresql:///archon?host=/run'",
  makeTarget: 'createdb archon',
  look: { script: 'psql -c "select 7"', answer: '7' },
  expect: ['rows: 7'],
  after: ['Then analyze.'],
  putInPlace: 'service postgresql restart',
  notCompared: ['grants'],
};

function source(name: string, backup: RunbookBackup | null, more: Partial<RunbookSource> = {}): RunbookSource {
  return { source: name, address: null, backup, newer: [], copies: [], afterRestore: [], problems: [], ...more };
}

function backup(of: Manifest, more: Partial<RunbookBackup> = {}): RunbookBackup {
  return { manifest: of, vault: 'ssd', proven: true, seconds: 95.2, guide: GUIDE, archived: null, ...more };
}

const FACTS: RunbookFacts = {
  plan: 'archon',
  writtenAt: new Date('2026-11-21T03:00:00Z'),
  inVault: 'ssd',
  key: { saidToBe: 'the key file is `./holdfast.key`', recipients: ['age1first', 'age1second'], secret: null },
  vaults: [
    { name: 'ssd', url: '/var/backups/my archon', bucket: null, problem: null },
    {
      name: 'cold-store',
      url: 's3://archon-backups/prod',
      bucket: { name: 'archon-backups', prefix: 'prod', region: 'eu-north-1', endpoint: null, deployed: null },
      problem: null,
    },
    { name: 'usb', url: '/mnt/usb', bucket: null, problem: 'vault usb is not mounted' },
  ],
  sources: [
    source(
      'events',
      backup(
        manifest('events', 'postgres', '20261121T020000Z-7f3a', {
          point: 'before `release` 4',
          warnings: ['table a|b is *odd*'],
        }),
      ),
      {
        address: '${DATABASE_URL}',
        newer: [{ id: '20261121T023000Z-0001', proof: 'inconclusive' }],
        copies: [{ vault: 'cold-store', id: '20261121T020000Z-7f3a' }],
        afterRestore: ['app resume', 'echo ``` | sh'],
      },
    ),
    source(
      'cache',
      backup(manifest('cache', 'redis', '20261120T020000Z-11aa'), {
        vault: 'cold-store',
        guide: { ...GUIDE, packages: ['redis-server'], beforeInstall: [], makeTarget: null, look: null },
      }),
    ),
    source('logs', backup(manifest('logs', 'postgres', '20261119T020000Z-22bb'), { proven: false, seconds: null })),
    source('lost', null, { newer: [{ id: '20261118T020000Z-33cc', proof: 'disproven' }], problems: ['vault ssd: x'] }),
  ],
  notes: ['the plan told nothing'],
};

describe('the runbook', () => {
  test('the same facts give the same page, and it is this one', () => {
    const page = runbook(FACTS);
    assert.equal(page, runbook(structuredClone(FACTS)));
    assert.equal(page, readFileSync(GOLDEN, 'utf8'));
  });

  test('a backup that goes to an archive class has its thaw before its fetch, with the day, for files that are moved', () => {
    const archived = { class: 'deep-archive', from: new Date('2026-12-21T02:00:00Z'), seconds: 43_200 } as const;
    const [events, cache] = FACTS.sources as [RunbookSource, RunbookSource];
    const cold = { ...cache, backup: { ...(cache.backup as RunbookBackup), archived } };
    const page = runbook({ ...FACTS, sources: [events, cold] });
    assert.match(page, /\| 1m 35s, from 2026-12-21 on after a thaw of up to 12h \|/);
    assert.match(page, /\*\*From 2026-12-21 on\*\* its files lie in DEEP_ARCHIVE/);
    const thaws = readPage(page).blocks.filter(({ info }) => info === 'sh thaw');
    assert.deepEqual(
      thaws.map(({ text }) => /aws s3api (\S+) .*--bucket "\$BUCKET_COLD_STORE"/.exec(text)?.[1]),
      ['restore-object', 'head-object'],
    );
    assert.match(thaws[0]?.text ?? '', /^folder=prod\/backups\/cache\/daily\/20261120T020000Z-11aa$/m);
    for (const { text } of thaws)
      assert.match(text, /^for name in database.dump.zst.age database.dump.zst.age.002; do$/m, 'not the small one');
    assert.ok(page.indexOf('restore-object') < page.indexOf('fetch_cold_store backups/cache'));
    const past = runbook({ ...FACTS, sources: [cold], writtenAt: new Date('2027-01-01T00:00:00Z') });
    assert.match(past, /\| 1m 35s, after a thaw of up to 12h \|/);
  });

  test('I4: what is not proven is named as such, and what is missing is named at all', () => {
    const page = runbook(FACTS);
    for (const said of [
      '**lost has no proven backup.**',
      'lost: 20261118T020000Z-33cc is there, but disproven',
      'events: 20261121T023000Z-0001 is newer, but inconclusive',
      'logs: unproven by choice',
      'vault `usb` (`/mnt/usb`) could not be read when this was written: vault usb is not mounted',
    ])
      assert.ok(page.includes(said), said);
  });

  test('with nothing proven it says so, and still how to look for more', () => {
    const page = runbook({ ...FACTS, sources: [source('lost', null)] });
    assert.match(page, /There is nothing to restore from/);
    assert.match(page, /## 6\. What this page does not cover/);
    assert.match(page, /jq -r \.restore\.script/);
  });

  test('a newer copy in another vault is told, an older one is not', () => {
    const of = backup(manifest('events', 'postgres', '20261120T020000Z-0000'));
    const page = runbook({
      ...FACTS,
      sources: [
        source('events', of, {
          copies: [
            { vault: 'usb', id: '20261121T020000Z-0000' },
            { vault: 'cold-store', id: '20261119T020000Z-0000' },
          ],
        }),
      ],
    });
    assert.match(page, /vault `usb` has a newer proven backup, 20261121T020000Z-0000/);
    assert.doesNotMatch(page, /20261119T020000Z-0000/);
  });

  test('without encryption no key is asked for; with gpg it is gpg that opens', () => {
    const sealed = (method: 'none' | 'gpg', recipients: string[]) =>
      runbook({
        ...FACTS,
        key: { saidToBe: null, recipients: [], secret: null },
        sources: [
          source(
            'events',
            backup(manifest('events', 'postgres', '20261121T020000Z-7f3a', { encryption: { method, recipients } })),
          ),
        ],
      });
    assert.match(sealed('none', []), /None is needed/);
    assert.doesNotMatch(sealed('none', []), /age -d|age-keygen| age zstd/);
    assert.match(sealed('gpg', ['gpg:ABCD']), /apt-get install .* gnupg zstd/);
    assert.match(sealed('gpg', ['gpg:ABCD']), /gpg --batch --quiet --decrypt "\$VAULT/);
  });

  test('names, answers and scripts of others never break out of their places', () => {
    const nasty = fc.string({ unit: fc.constantFrom('`', '\n', '#', ' ', 'a', '|', 'END', '_OF_SCRIPT', '```\n') });
    fc.assert(
      fc.property(nasty, nasty, nasty, (script, words, answer) => {
        const of = manifest('events', 'postgres', '20261121T020000Z-7f3a', {
          restore: { script },
          point: words,
          warnings: [words],
          host: words,
        });
        const facts: RunbookFacts = {
          ...FACTS,
          notes: [words],
          sources: [
            source('events', backup(of, { guide: { ...GUIDE, look: { script: 'true', answer } } }), {
              address: words,
              afterRestore: [words],
              problems: [words],
            }),
          ],
        };
        const page = runbook(facts);
        const { blocks, outside } = readPage(page);
        const infos = new Set(blocks.map(({ info }) => info));
        assert.deepEqual(
          [...infos].filter((info) => !['sh', 'sh tools', 'sh new-server', 'sh holdfast', 'text'].includes(info)),
          [],
        );
        const written = blocks.find(({ text }) => text.startsWith('cat > restore-events.sh'))?.text ?? '';
        assert.ok(written.includes(`'\n${script}`), 'the script stands there as it is');
        // Every heading outside a fence is one of ours.
        for (const heading of outside.filter((line) => line.startsWith('#')))
          assert.match(
            heading,
            /^(# Restore archon by hand|## (What there is|\d\. .*)|### (4\.\d \w+ \(\w+\)|Vault .*))$/,
          );
      }),
      { numRuns: 200 },
    );
  });
});
