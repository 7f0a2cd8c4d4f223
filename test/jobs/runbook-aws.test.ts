import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { type Manifest, sha256Hex } from '#core/manifest';
import { loadPlan } from '#core/plan-load';
import { runbook } from '#core/runbook';
import type { JobEnvironment } from '#jobs/environment';
import { factsFor, gather } from '#jobs/runbook-facts';
import { blocksOf } from '#test/jobs/follow-page';
import { backup, clock, NOW, store } from '#test/jobs/stored-backups';
import { type HttpSink, type Received, startHttpSink } from '#test/servers/http-sink';
import { MemoryVault } from '#test/vault/memory-vault';
import { createVaultIdentity } from '#vault/identity';

const execute = promisify(execFile);

const ACCOUNT = '111122223333';
const REGION = 'eu-north-1';
const SECRET_KEY = 'secret/+key';
const NIGHTLY = 'cron: "0 2 * * *", tier: daily';
const SEALED: Manifest['encryption'] = { method: 'age', recipients: ['sha256:4934b48905c7e8c8'] };

/** The page of a plan whose sources each have a proven backup in every vault. */
async function pageOf(vaults: string, sources: readonly string[], cloud: string): Promise<string> {
  const plan = loadPlan(
    `version: 1
name: many
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: { env: HOLDFAST_IDENTITY }
vaults: ${vaults}
tiers: { daily: { keep: 30d } }
sources:
${sources.map((line) => `  ${line}`).join('\n')}
${cloud}
`,
    'holdfast.yaml',
  );
  const stored = new Map<string, MemoryVault>();
  for (const [name, settings] of Object.entries(plan.plan.vaults)) {
    assert.ok('s3' in settings);
    const vault = new MemoryVault({ now: () => NOW });
    Object.defineProperty(vault, 'url', {
      value: `s3://${[settings.s3, ...(settings.prefix ? [settings.prefix] : [])].join('/')}`,
    });
    await createVaultIdentity(vault, { plan: 'many', id: name, created: NOW });
    for (const [source, { schedule }] of Object.entries(plan.plan.sources))
      if (schedule.some(({ to }) => to.includes(name)))
        await store(vault, backup(source, 1, { encryption: SEALED }), 'proven');
    stored.set(name, vault);
  }
  // What the runbook asks of an environment; anything else would fail loudly.
  const environment = {
    plan,
    run: { clock },
    vault: (name: string) => stored.get(name),
    redact: (text: string) => text,
  } as unknown as JobEnvironment;
  return runbook(factsFor(await gather(environment), null, NOW));
}

const EVENTS = `events: { postgres: { url: "\${DATABASE_URL}" }, schedule: [{ ${NIGHTLY}, to: [cloud] }] }`;

describe('RUNBOOK.md of a bucket that a deployment in AWS has made', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hf-page-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** One block of the page in a shell, with an `aws` that writes down how it was called; what it leaves in the environment. */
  function ran(
    page: string,
    info: string,
    answer: string,
  ): { readonly calls: string; readonly left: Map<string, string> } {
    const [block, ...more] = blocksOf(page).filter((one) => one.info === info);
    assert.ok(block, `the page has a block ${info}`);
    assert.deepEqual(more, []);
    const calls = join(folder, 'calls');
    writeFileSync(join(folder, 'answer'), answer);
    writeFileSync(calls, '');
    writeFileSync(
      join(folder, 'aws'),
      `#!/bin/sh\nprintf '%s\\n' "$@" >> '${calls}'\ncat '${join(folder, 'answer')}'\n`,
      {
        mode: 0o755,
      },
    );
    const env = { HOME: folder, PATH: `${folder}:/usr/bin:/bin` };
    const said = execFileSync('/bin/bash', ['-ec', `${block.text}\nenv`], { env, encoding: 'utf8' });
    const left = said.split('\n').map((line) => [line.split('=')[0] ?? '', line.slice(line.indexOf('=') + 1)] as const);
    return { calls: readFileSync(calls, 'utf8'), left: new Map(left) };
  }

  test('names the role, who may take it on, and the very command; its answer becomes the credentials', async () => {
    const page = await pageOf(
      `{ cloud: { s3: many-backups, region: ${REGION}, prefix: prod } }`,
      [EVENTS],
      `cloud: { region: ${REGION}, account: "${ACCOUNT}", restorers: ["arn:aws:iam::${ACCOUNT}:user/ops/ann", "arn:aws:iam::${ACCOUNT}:user/bo"] }`,
    );
    assert.match(
      page,
      /It is `s3:\/\/many-backups\/prod`\..* `many-restorer`, which can read, thaw what is archived, and nothing else/,
    );
    assert.match(page, /These may take it on: `arn:aws:iam::111122223333:user\/ops\/ann`, `.*user\/bo`\./);
    const { calls, left } = ran(page, 'sh restorer', 'ASIAEXAMPLE\tsecret/+key\ttoken==\n');
    assert.deepEqual(calls.trimEnd().split('\n'), [
      ...['sts', 'assume-role', '--region', REGION, '--role-arn', `arn:aws:iam::${ACCOUNT}:role/many-restorer`],
      ...['--role-session-name', 'restore', '--serial-number', `arn:aws:iam::${ACCOUNT}:mfa/ann`],
      ...['--token-code', '123456', '--duration-seconds', '43200'],
      ...['--query', 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]', '--output', 'text'],
    ]);
    assert.deepEqual(
      ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_REGION'].map((name) => left.get(name)),
      ['ASIAEXAMPLE', 'secret/+key', 'token==', REGION],
    );
    assert.doesNotMatch(page, /sh replica/);
  });

  test('without account and people in the plan: the account is asked for, and whoever may assume roles is meant', async () => {
    const page = await pageOf('{ cloud: { s3: many-backups } }', [EVENTS], `cloud: { region: ${REGION} }`);
    assert.match(page, /Whoever may assume roles in the account may take it on\./);
    const { calls, left } = ran(page, 'sh restorer', ACCOUNT);
    assert.match(calls, /^sts\nget-caller-identity\n--query\nAccount\n--output\ntext\nsts\nassume-role\n/);
    assert.ok(calls.includes(`arn:aws:iam::${ACCOUNT}:mfa/NAME\n`), calls);
    assert.equal(left.get('AWS_REGION'), REGION, 'that of the deployment, where the vault says none');
  });

  test('the copy in another region is the way when the first one is gone: its name, its region, the same lines', async () => {
    const page = await pageOf(
      `{ cloud: { s3: many-backups, region: ${REGION}, prefix: prod, replica: { region: eu-west-1 } } }`,
      [EVENTS],
      `cloud: { region: ${REGION} }`,
    );
    assert.match(page, /Where `eu-north-1` is gone, or the bucket,\*\* its copy in `eu-west-1` has the same backups/);
    const [replica] = blocksOf(page).filter(({ info }) => info === 'sh replica');
    assert.equal(replica?.text, 'export AWS_REGION=eu-west-1\nexport BUCKET=many-backups-replica\n');
    const fetches = blocksOf(page).filter(({ info, text }) => info === 'sh' && text.startsWith('fetch_cloud()'));
    assert.equal(fetches.length, 3);
    const [holdfast] = blocksOf(page).filter(({ info }) => info === 'sh holdfast');
    assert.match(holdfast?.text ?? '', /--vault "s3:\/\/\$BUCKET\/prod"/);
    for (const { text } of fetches) {
      assert.match(text, /\$BUCKET\b/);
      assert.match(text, /\$AWS_REGION\b/);
      assert.doesNotMatch(text, /many-backups|eu-north-1/, 'nothing that the correction does not reach');
    }
  });

  test('a copy in another account is that account’s to open; of a bucket that was there before, its owner has to have set it up', async () => {
    const there = await pageOf(
      `{ cloud: { s3: many-backups, region: ${REGION}, replica: { region: eu-west-1, account: "999988887777" } } }`,
      [EVENTS],
      `cloud: { region: ${REGION}, account: "${ACCOUNT}" }`,
    );
    assert.match(there, /in the account `999988887777`, whose own people open it: the role is not of it/);
    const existing = await pageOf(
      `{ cloud: { s3: many-backups, region: ${REGION}, existing: true, replica: { region: eu-west-1 } } }`,
      [EVENTS],
      `cloud: { region: ${REGION} }`,
    );
    assert.match(existing, /`many-restorer`/);
    assert.match(existing, /export BUCKET=many-backups-replica\n/);
    assert.match(
      existing,
      /its owner has to have put the replication rule, and only what was stored since is there\. Then/,
    );
    assert.doesNotMatch(there, /its owner has to have put/);
  });

  test('two buckets: the role is told once, and each has a name of its own to correct', async () => {
    const page = await pageOf(
      `{ cloud: { s3: many-backups }, other: { s3: many-more }, space: { s3: far, endpoint: "https://s3.example.com" } }`,
      [
        EVENTS,
        `users: { postgres: { url: "\${USERS_URL}" }, schedule: [{ ${NIGHTLY}, to: [other] }] }`,
        `logs: { files: { paths: [logs] }, schedule: [{ ${NIGHTLY}, to: [space] }] }`,
      ],
      `cloud: { region: ${REGION} }`,
    );
    assert.equal(blocksOf(page).filter(({ info }) => info === 'sh restorer').length, 1);
    assert.match(page, /It is `s3:\/\/many-more`\. The same role, `many-restorer`, may list and read it\./);
    assert.match(page, /`https:\/\/s3\.example\.com`\. You need credentials that may list and read it; its owner/);
    for (const name of ['BUCKET_CLOUD=many-backups', 'BUCKET_OTHER=many-more', 'BUCKET_SPACE=far'])
      assert.ok(page.includes(`export ${name}\n`), name);
  });

  test('the secret that holds the identity, and who may read it', async () => {
    const vaults = `{ cloud: { s3: many-backups, region: ${REGION} } }`;
    const page = await pageOf(vaults, [EVENTS], `cloud: { region: ${REGION} }`);
    assert.match(page, /A copy of it is the secret `holdfast\/many\/HOLDFAST_IDENTITY` in `eu-north-1`/);
    const { calls } = ran(page, 'sh secret', 'AGE-SECRET-KEY-1EXAMPLE');
    assert.equal(readFileSync(join(folder, 'holdfast.key'), 'utf8'), 'AGE-SECRET-KEY-1EXAMPLE');
    const asked = ['secretsmanager', 'get-secret-value', '--region', REGION, '--secret-id'];
    const rest = ['holdfast/many/HOLDFAST_IDENTITY', '--query', 'SecretString', '--output', 'text'];
    assert.deepEqual(calls.trimEnd().split('\n'), [...asked, ...rest]);
    const here = EVENTS.replace('events: {', 'events: { runs: here,');
    assert.doesNotMatch(await pageOf(vaults, [here], `cloud: { region: ${REGION} }`), /holdfast\/many\//);
    assert.doesNotMatch(await pageOf(vaults, [EVENTS], ''), /many-restorer|holdfast\/many\//);
  });
});

test('the runbook’s aws s3 sync takes what was thawed: by itself it skips whatever lies in an archive class', async () => {
  const syncOf = async (more: string): Promise<string> =>
    blocksOf(await pageOf(`{ cloud: { s3: many-backups${more} } }`, [EVENTS], '')).find(({ text }) =>
      text.startsWith('fetch_cloud() { aws s3 sync'),
    )?.text ?? '';
  assert.match(await syncOf(''), / --force-glacier-transfer /);
  assert.match(await syncOf(', endpoint: "https://s3.example.com"'), / --endpoint-url https:\/\/s3\.example\.com /);
});

describe('the runbook’s curl', () => {
  let sink: HttpSink;
  before(async () => {
    sink = await startHttpSink();
  });
  after(() => sink.stop());

  test('signs what it asks for, a role’s session token included', async () => {
    const vault = `{ cloud: { s3: many-backups, prefix: prod, endpoint: "${sink.url}" } }`;
    const page = await pageOf(vault, [EVENTS], '');
    const fetch = blocksOf(page).findLast(({ text }) => text.startsWith('fetch_cloud()'))?.text ?? '';
    const folder = mkdtempSync(join(tmpdir(), 'hf-curl-'));
    const env = {
      ...{ PATH: '/usr/bin:/bin', HOME: folder, VAULT: folder, BUCKET: 'many-backups', AWS_REGION: REGION },
      ...{ AWS_ACCESS_KEY_ID: 'ASIAEXAMPLE', AWS_SECRET_ACCESS_KEY: SECRET_KEY },
    };
    try {
      for (const token of [undefined, 'token==']) {
        const more = token === undefined ? {} : { AWS_SESSION_TOKEN: token };
        await execute('/bin/bash', ['-ec', `${fetch}\nfetch_cloud backups/a one.age`], { env: { ...env, ...more } });
        const asked = sink.received.at(-1) as Received;
        assert.equal(asked.path, '/many-backups/prod/backups/a/one.age');
        assert.equal(asked.headers['x-amz-security-token'], token);
        const [, signed = '', signature] =
          /SignedHeaders=([^,]+), *Signature=([0-9a-f]{64})$/.exec(String(asked.headers['authorization'])) ?? [];
        assert.equal(signed.split(';').includes('x-amz-security-token'), token !== undefined);
        assert.equal(signature, signatureOf(asked, signed));
        assert.equal(readFileSync(join(folder, 'backups/a/one.age'), 'utf8'), 'ok');
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

/** As AWS works it out (Signature Version 4), from what arrived. */
function signatureOf({ method, path, headers }: Received, signed: string): string {
  const date = String(headers['x-amz-date']);
  const canonical = [
    ...[method, path, ''],
    ...signed.split(';').map((name) => `${name}:${String(headers[name]).trim()}`),
    ...['', signed, 'UNSIGNED-PAYLOAD'],
  ].join('\n');
  const scope = [date.slice(0, 8), REGION, 's3', 'aws4_request'];
  const key = scope.reduce<string | Buffer>(
    (secret, part) => createHmac('sha256', secret).update(part).digest(),
    `AWS4${SECRET_KEY}`,
  );
  const toSign = ['AWS4-HMAC-SHA256', date, scope.join('/'), sha256Hex(canonical)].join('\n');
  return createHmac('sha256', key).update(toSign).digest('hex');
}
