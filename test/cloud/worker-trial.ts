import { execFileSync } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type JobDocument, jobFor } from '#core/job';
import type { LedgerEntry } from '#core/ledger';
import { type LoadedPlan, loadPlan } from '#core/plan-load';
import { variablesOfSource } from '#core/plan-variables';
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
  /** The environment of one task: its document, its secrets, and what ECS adds by itself. */
  environmentOf(document: JobDocument): Record<string, string>;
  document(job: JobDocument['job'], source: string, over?: Partial<JobDocument>): JobDocument;
  ledgerOf(source: string): Promise<readonly LedgerEntry[]>;
  close(): Promise<void>;
}

/**
 * @param sources lines of YAML below `sources:`; each source goes to the vault `cloud`
 * @param values of the `${NAME}`s, which a task gets when its source names them
 */
export async function startTrial(
  s3: S3ForTests,
  key: Key,
  sources: readonly string[],
  values: Readonly<Record<string, string>>,
): Promise<Trial> {
  const bucket = await s3.another();
  const plan = loadPlan(
    `version: 1
name: shop
encryption: { recipients: [${key.recipient}], identity: { env: HOLDFAST_IDENTITY } }
vaults: { cloud: { s3: ${bucket}, prefix: prod, region: ${REGION} } }
tiers: { daily: { keep: 30d } }
sources:
${sources.map((line) => `  ${line}`).join('\n')}
cloud: { region: ${REGION} }
`,
    'holdfast.yaml',
  );
  const vault = new S3Vault({
    name: 'cloud',
    settings: { bucket, prefix: 'prod', region: REGION, endpoint: s3.endpoint, credentials: s3, sse: null },
  });
  await createVaultIdentity(vault, { plan: 'shop', id: 'trial', created: new Date() });
  const role = await taskRole(s3);
  const known: Readonly<Record<string, string>> = { ...values, HOLDFAST_IDENTITY: key.identity };
  let attempts = 0;
  return {
    plan,
    vault,
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
      const names = variablesOfSource(
        plan.plan,
        document.source,
        document.job === 'prove' ? 'identity' : 'no identity',
      );
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
