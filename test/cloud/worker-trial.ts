import { execFileSync } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type JobDocument, jobFor } from '#core/job';
import type { LedgerEntry } from '#core/ledger';
import { type LoadedPlan, loadPlan } from '#core/plan-load';
import { variablesOfSource, variablesOfVaults } from '#core/plan-variables';
import { copiedInAws } from '#core/where';
import type { S3ForTests } from '#test/servers/ceph';
import { createVaultIdentity } from '#vault/identity';
import { readLedger } from '#vault/ledger-store';
import { S3Vault } from '#vault/s3-vault';

/** What a task of AWS finds around itself, for trials of the worker: the same for a plain process and for a container. */

const REGION = 'us-east-1';
const HOUR_MILLISECONDS = 3_600_000;

export interface Key {
  readonly recipient: string;
  readonly identity: string;
}

export function newKey(): Key {
  const identity = execFileSync('age-keygen', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const recipient = execFileSync('age-keygen', ['-y'], { input: identity, encoding: 'utf8' }).trim();
  return { recipient, identity };
}

export interface Trial {
  readonly plan: LoadedPlan;
  readonly vault: S3Vault;
  /** Where all of it is copied to, when it was asked for. */
  readonly replica: S3Vault | null;
  /** The environment of one task: its document, its secrets, and what ECS adds by itself. */
  environmentOf(document: JobDocument): Record<string, string>;
  document(job: JobDocument['job'], source: string, over?: Partial<JobDocument>): JobDocument;
  ledgerOf(source: string): Promise<readonly LedgerEntry[]>;
  close(): Promise<void>;
}

/**
 * @param sources lines of YAML below `sources:`; each source goes to the vault `cloud`
 * @param values of the `${NAME}`s, which a task gets when its source names them
 * @param options `replica`: a second bucket, a replica of the first; its keys are `${REPLICA_KEY}` and `${REPLICA_SECRET}`
 */
export async function startTrial(
  s3: S3ForTests,
  key: Key,
  sources: readonly string[],
  values: Readonly<Record<string, string>>,
  options: { readonly replica?: boolean } = {},
): Promise<Trial> {
  const bucket = await s3.another();
  const second = options.replica ? await s3.another() : null;
  const keys = 'accessKeyId: "${REPLICA_KEY}", secretAccessKey: "${REPLICA_SECRET}"';
  const plan = loadPlan(
    `version: 1
name: shop
encryption: { recipients: [${key.recipient}], identity: { env: HOLDFAST_IDENTITY } }
vaults:
  cloud: { s3: ${bucket}, prefix: prod, region: ${REGION}${second === null ? '' : ', replica: { vault: far }'} }
${second === null ? '' : `  far: { s3: ${second}, endpoint: "${s3.endpoint}", region: ${REGION}, ${keys} }`}
tiers: { daily: { keep: 30d } }
sources:
${sources.map((line) => `  ${line}`).join('\n')}
cloud: { region: ${REGION} }
`,
    'holdfast.yaml',
  );
  const opened = async (name: string, inBucket: string, prefix: string): Promise<S3Vault> => {
    const settings = { bucket: inBucket, prefix, region: REGION, endpoint: s3.endpoint, credentials: s3, sse: null };
    const made = new S3Vault({ name, settings });
    await createVaultIdentity(made, { plan: 'shop', id: `trial-${name}`, created: new Date() });
    return made;
  };
  const vault = await opened('cloud', bucket, 'prod');
  const replica = second === null ? null : await opened('far', second, '');
  const role = await taskRole(s3);
  const known: Readonly<Record<string, string>> = {
    ...values,
    HOLDFAST_IDENTITY: key.identity,
    REPLICA_KEY: s3.accessKeyId,
    REPLICA_SECRET: s3.secretAccessKey,
  };
  let attempts = 0;
  return {
    plan,
    vault,
    replica,
    document(job, source, over = {}) {
      attempts += 1;
      return jobFor(plan, {
        job,
        source,
        attempt: `t${attempts}`,
        id: null,
        tier: null,
        point: null,
        reason: null,
        trigger: { by: 'manual', schedule: null, scheduledAt: null },
        deadline: new Date(Date.now() + HOUR_MILLISECONDS).toISOString(),
        ...over,
      });
    },
    environmentOf(document) {
      const { job, source } = document;
      const ways = copiedInAws(plan.plan).get(source) ?? [];
      const names =
        job === 'replicate'
          ? variablesOfVaults(plan.plan, new Set(ways.flatMap(({ from, to }) => [from, to])))
          : variablesOfSource(plan.plan, source, job === 'prove' ? 'identity' : 'no identity');
      return {
        ...Object.fromEntries(names.map((name) => [name, known[name] ?? ''])),
        HOLDFAST_JOB: JSON.stringify(document),
        AWS_REGION: REGION,
        AWS_DEFAULT_REGION: REGION,
        AWS_EXECUTION_ENV: 'AWS_ECS_FARGATE',
        AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${(role.address() as AddressInfo).port}/task-role`,
        AWS_ENDPOINT_URL_S3: s3.endpoint,
      };
    },
    async ledgerOf(source) {
      return Array.fromAsync(readLedger(vault, source));
    },
    close: () => new Promise((done) => role.close(() => done())),
  };
}

/** Hands out the credentials of the task's role, as the agent of ECS does. */
async function taskRole({ accessKeyId, secretAccessKey }: S3ForTests): Promise<Server> {
  const credentials = {
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    Token: '',
    Expiration: new Date(Date.now() + HOUR_MILLISECONDS).toISOString(),
  };
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'application/json').end(JSON.stringify(credentials));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return server;
}
