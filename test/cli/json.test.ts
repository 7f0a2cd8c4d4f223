import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as z from 'zod';
import { type Manifest, readManifest } from '#core/manifest';
import type { Ran } from '#test/cli/holdfast';
import { good, SCHEDULE, type SmallPlan, smallPlan } from '#test/cli/small-plan';

/** Section 8 of the design: other people's scripts rely on these fields. A field may be added, none may go or change. */

const time = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
const id = z.string().regex(/^\d{8}T\d{6}Z-[0-9a-f]{4}$/);
const bytes = z.int().min(0);
const seconds = z.number().min(0);
const proof = z.enum(['proven', 'disproven', 'inconclusive', 'unproven']);
const kind = z.enum(['full', 'differential', 'log']);

const envelope = z.strictObject({
  holdfast: z.literal(1),
  command: z.string(),
  exit: z.int().min(0).max(6),
  at: time,
  result: z.unknown(),
  warnings: z.array(z.string()),
  error: z
    .strictObject({
      code: z.string().regex(/^[a-z-]+$/),
      message: z.string().min(1),
      hint: z.string().nullable(),
      source: z.string().nullable(),
      at: z.string().nullable(),
    })
    .nullable(),
});

const results = {
  backup: z.object({
    runs: z.array(
      z.object({
        source: z.string(),
        id: id.nullable(),
        kind,
        tier: z.string().nullable(),
        vaults: z.array(z.string()),
        status: z.enum(['ok', 'failed', 'busy', 'unchanged']),
        proof,
        bytes,
        error: z.object({ code: z.string(), message: z.string(), hint: z.string().nullable() }).nullable(),
      }),
    ),
  }),
  list: z.object({
    backups: z.array(
      z.object({
        source: z.string(),
        id,
        kind,
        tier: z.string(),
        vault: z.string(),
        snapshotAt: time,
        startedAt: time,
        finishedAt: time,
        bytes,
        proof,
        expires: time.nullable(),
      }),
    ),
  }),
  prove: z.object({
    proofs: z.array(
      z.object({
        source: z.string(),
        id,
        result: proof,
        reason: z.string().nullable(),
        differences: z.array(z.string()),
      }),
    ),
  }),
  restore: z.object({ source: z.string(), id, target: z.string(), seconds, verified: z.boolean() }),
  status: z.object({
    healthy: z.boolean(),
    sources: z.array(
      z.object({
        source: z.string(),
        newestProven: z.object({ id, snapshotAt: time }).nullable(),
        ageSeconds: seconds.nullable(),
        rpoSeconds: seconds,
        restoreSeconds: seconds.nullable(),
        rtoSeconds: seconds.nullable(),
        problems: z.array(z.string()),
      }),
    ),
    vaults: z.array(z.object({ name: z.string(), reachable: z.boolean(), problem: z.string().nullable() })),
  }),
  check: z.object({
    ok: z.boolean(),
    checks: z.array(
      z.object({
        name: z.string(),
        ok: z.boolean().nullable(),
        message: z.string().min(1),
        hint: z.string().nullable(),
      }),
    ),
  }),
  retain: z.object({
    decisions: z
      .array(
        z.object({
          source: z.string(),
          id,
          action: z.enum(['keep', 'remove', 'hold']),
          reasons: z.array(z.string().min(1)).min(1),
        }),
      )
      .min(1),
  }),
  keygen: z.object({ file: z.string(), publicKey: z.string().startsWith('age1') }),
  ledger: z.object({
    entries: z.array(z.object({ seq: z.int().min(1), at: time, event: z.string(), id: id.nullable() })),
  }),
} as const;

describe('--json', () => {
  let small: SmallPlan;

  before(async () => {
    small = await smallPlan();
    small.plan({
      tiers: '{ daily: { keep: 30d }, yearly: { keep: forever } }',
      sources: [
        `app: { sqlite: { file: app.db }, objectives: { rpo: 30h, rto: 1h }, ${SCHEDULE} }`,
        'tree: { files: { paths: [tree] }, schedule: [{ every: 1h, tier: yearly, to: [here] }] }',
      ],
    });
  });
  after(() => small.place.remove());

  /** One document and nothing else on stdout; the exit code in it is the process's. */
  function document(ran: Ran, command: string): z.output<typeof envelope> {
    assert.equal(ran.stdout.trimEnd().split('\n').length, 1);
    const read = envelope.parse(JSON.parse(ran.stdout));
    assert.equal(read.command, command);
    assert.equal(read.exit, ran.code);
    return read;
  }

  for (const [name, command, args] of [
    ['keygen', 'keygen', ['keygen', '--out', 'second.key']],
    ['check', 'check', ['check', '--create']],
    ['backup', 'backup', ['backup', '--all', '--reason', 'a "quoted" reason']],
    ['list', 'list', ['list']],
    ['prove', 'prove', ['prove', 'app']],
    ['prove', 'prove', ['prove', 'app', '--stored']],
    ['restore', 'restore', ['restore', 'app', '--to', './out']],
    ['restore', 'restore', ['restore', 'app', '--to', './dry', '--dry-run']],
    ['retain', 'retain', ['retain', '--dry-run']],
    ['retain', 'retain', ['retain']],
    ['status', 'status', ['status']],
    ['status', 'status', []],
    ['ledger', 'ledger', ['ledger', 'app']],
  ] as const)
    test(`\`holdfast ${args.join(' ')}\` prints one document with the fields of the design, null never absent`, async () => {
      const ran = await good(small.place.run(...args, '--json'));
      const { result, error } = document(ran, command);
      assert.equal(error, null);
      results[name].parse(result);
    });

  test('`show` prints the manifest itself, and `expires` is null where a tier keeps for ever', async () => {
    const { result } = document(await good(small.place.run('show', 'tree', '--json')), 'show');
    const manifest = result as Manifest;
    readManifest(JSON.stringify(manifest), `backups/tree/yearly/${manifest.id}/manifest.json`);
    assert.equal(manifest.expires, null);
    const list = document(await good(small.place.run('list', 'tree', '--json')), 'list').result;
    assert.equal((list as z.output<typeof results.list>).backups[0]?.expires, null);
  });

  test('`ledger verify` tells ok and a report for each source and vault', async () => {
    const { result } = document(await good(small.place.run('ledger', 'verify', '--json')), 'ledger');
    z.object({
      ok: z.literal(true),
      reports: z.array(z.object({ source: z.string(), vault: z.string(), findings: z.array(z.string()) })).length(2),
    }).parse(result);
  });

  for (const args of [
    ['backup', 'nope'],
    ['bakup'],
    ['backup', '--all', '--nope'],
    ['restore', 'app'],
    ['keygen'],
    ['keygen', '--out', 'second.key'],
    ['drill'],
    ['wal', 'push', 'x'],
    ['--plan', 'absent.yaml', 'list'],
    ['list', '--since', 'ages'],
    ['show', 'app', '20200101T000000Z-0000'],
  ])
    test(`\`holdfast ${args.join(' ')}\` fails with a document too: code, message, hint`, async () => {
      const ran = await small.place.run(...args, '--json');
      assert.notEqual(ran.code, 0);
      const { error, result, exit } = document(
        ran,
        args.find((one) => !one.startsWith('-') && one !== 'absent.yaml') ?? '',
      );
      assert.equal(result, null);
      assert.ok(error?.hint, ran.stdout);
      assert.doesNotMatch(error.message, /defect/);
      assert.ok([1, 2].includes(exit));
    });

  test('text: columns line up, durations under ten seconds have a tenth, and stdout alone carries the result', async () => {
    const { place } = small;
    const list = await good(place.run('list'));
    const lines = list.stdout.trimEnd().split('\n');
    assert.equal(new Set(lines.map((line) => line.search(/tier|daily|yearly/))).size, 1, list.stdout);
    assert.match((await good(place.run('backup', 'app'))).stdout, /in \d\.\ds {2}to here {2}proven\n/);
    assert.match((await good(place.run('prove', 'app'))).stdout, /proven {2}in \d\.\ds\n/);
    assert.match((await good(place.run('status'))).stdout, /\d\.\ds +1h\n/);
    assert.equal(list.stderr, '');
  });
});
