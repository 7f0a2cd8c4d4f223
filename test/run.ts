import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, chmodSync, constants, globSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { endLeftovers } from '#test/runner/leftovers';
import { longestFirst } from '#test/runner/longest-first';
import { type FileResult, runTestFile } from '#test/runner/test-file';
import { startCeph } from '#test/servers/ceph';

/**
 * `npm test [-- SUBSTRING…]`: typecheck, lint, then every test file whose path has one of the substrings in it. The
 * last line is always `N passed, N failed`; a skip, a crash, a hang, a file without tests and anything left behind
 * count as failed.
 */

const ROOT = join(import.meta.dirname, '..');
/** One more than there are processors: most files wait now and then. */
const AT_ONCE = Math.min(availableParallelism() + 1, 4);
const FILE_LIMIT_SECONDS = 600;

const CHECKS: Readonly<Record<string, readonly string[]>> = {
  typecheck: ['tsc', '--noEmit'],
  'typecheck: cloud': ['tsc', '--noEmit', '-p', 'tsconfig.cloud.json'],
  'lint: biome': ['biome', 'check', '--colors=off', '--max-diagnostics=50'],
  'lint: knip': ['knip', '--no-progress'],
};

const STEERING = /^(HOLDFAST_(?!TEST_)|PG|AWS_|CDK_|REDIS|DATABASE_URL|GNUPGHOME|NODE_TEST|(https?|all|no)_proxy$)/i;

const TOOLS = [
  ...['zstd', 'age', 'age-keygen', 'gpg', 'psql', 'pg_dump', 'redis-server', 'redis-cli', 'sqlite3', 'tar', 'openssl'],
  ...['restic', 'curl', 'radosgw', 'radosgw-admin', 'ceph', 'ceph-mon', 'ceph-osd', 'ceph-authtool', 'monmaptool'],
];

const run = randomBytes(4).toString('hex');
/** Short, because PostgreSQL's socket below it may have 107 letters in all. */
const dir = mkdtempSync(join(tmpdir(), 'hf-'));
chmodSync(dir, 0o711);
const stopping = new AbortController();
const results: FileResult[] = [];
let ceph: Awaited<ReturnType<typeof startCeph>> | null = null;
let ended = false;

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.on(signal, () => {
    if (stopping.signal.aborted) return;
    tell({ ...nothing('the run'), failures: [{ title: 'stopped', error: `by ${signal}` }] });
    stopping.abort();
    finish(code);
  });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!stopping.signal.aborted) {
    tell({ ...nothing('the runner'), failures: [{ title: 'defect', error: (error as Error).stack ?? String(error) }] });
  }
}
await finish();

async function main(wanted: readonly string[]): Promise<void> {
  const matches = (name: string): boolean => wanted.length === 0 || wanted.some((part) => name.includes(part));
  const files = longestFirst(globSync('test/**/*.test.ts', { cwd: ROOT }).filter(matches));
  const checks = Object.keys(CHECKS).filter(matches);
  if (files.length + checks.length === 0) {
    tell({
      ...nothing('the run'),
      failures: [{ title: 'nothing to do', error: `no test has "${wanted}" in its path` }],
    });
    return;
  }
  if (wanted.length === 0) tell(tools());
  // Whatever this machine's user has set must not steer a test, least of all to real servers.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !STEERING.test(name)));
  Object.assign(env, {
    HOLDFAST_TEST_RUN: run,
    NO_COLOR: '1',
    FORCE_COLOR: '0',
    // A machine in AWS would answer who asks for credentials.
    AWS_EC2_METADATA_DISABLED: 'true',
    // The CDK turns Node's compile cache on, which would else be left behind in the temporary directory.
    NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/holdfast'),
  });
  // Core is pure, and the runner's own tests need no server.
  const s3 = files.some((file) => !/^test\/(core|runner)\//.test(file)) ? startS3(env) : Promise.resolve();
  await inParallel(checks, async (name) => tell(await check(name, env)));
  await s3;
  await inParallel(files, async (file) => {
    const number = String(files.indexOf(file)).padStart(3, '0');
    const options = { dir: join(dir, number), env, timeoutSeconds: FILE_LIMIT_SECONDS, signal: stopping.signal };
    const result = await runTestFile(join(ROOT, file), options);
    if (!stopping.signal.aborted) tell({ ...result, file });
  });
}

/** One S3 server for all files, named to them by HOLDFAST_TEST_S3. */
async function startS3(env: Record<string, string | undefined>): Promise<void> {
  if (env['HOLDFAST_TEST_S3']) return;
  try {
    ceph = await startCeph(join(dir, 'ceph'));
    const { endpoint, accessKeyId, secretAccessKey } = ceph;
    env['HOLDFAST_TEST_S3'] = JSON.stringify({ endpoint, accessKeyId, secretAccessKey });
  } catch (error) {
    tell({ ...nothing('test/servers/ceph.ts'), failures: [{ title: 'start', error: String(error) }] });
  }
}

async function check(name: string, env: Record<string, string | undefined>): Promise<FileResult> {
  const [program, ...args] = CHECKS[name] as [string, ...string[]];
  const began = performance.now();
  const child = spawn(join(ROOT, 'node_modules/.bin', program), args, {
    cwd: ROOT,
    // The tools' `#!/usr/bin/env node` must find this node, not the system's older one.
    env: { ...env, PATH: `${join(ROOT, 'node_modules/.bin')}${delimiter}${env['PATH'] ?? ''}` },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: stopping.signal,
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  const error = Buffer.concat(chunks).toString('utf8').trim() || `exit code ${code}`;
  return {
    ...nothing(name),
    passed: code === 0 ? 1 : 0,
    failures: code === 0 ? [] : [{ title: [program, ...args].join(' '), error }],
    seconds: (performance.now() - began) / 1000,
  };
}

/** A tool that lacks is named once and loudly here; the tests that need it fail as well. */
function tools(): FileResult {
  const postgres = globSync('/usr/lib/postgresql/*/bin');
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin', ...postgres];
  const missing = [...TOOLS, 'initdb', 'pg_ctl'].filter(
    (tool) => !folders.some((folder) => executable(join(folder, tool))),
  );
  const failures = missing.map((tool) => ({
    title: tool,
    error: 'TOOL MISSING on this machine; run bin/setup --tests',
  }));
  return { ...nothing('tools'), passed: failures.length === 0 ? 1 : 0, failures };
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined && !stopping.signal.aborted; item = queue.shift())
      await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** A line as soon as it is known; a failure at once and in full. */
function tell(result: FileResult): void {
  results.push(result);
  const { file, passed, failures, seconds, output } = result;
  const verdict = failures.length === 0 ? 'ok  ' : 'FAIL';
  console.log(
    `${verdict} ${`${seconds.toFixed(1)}s`.padStart(7)}  ${file}  ${passed} passed${failures.length ? `, ${failures.length} failed` : ''}`,
  );
  for (const { title, error } of failures) console.log(`\n  ✖ ${file} › ${title}\n${indent(error)}\n`);
  if (failures.length > 0 && output) console.log(`  what ${file} printed:\n${indent(output)}\n`);
}

async function finish(code?: number): Promise<never> {
  if (ended) return new Promise<never>(() => undefined);
  ended = true;
  await ceph?.stop();
  const marks = [`${dir}/`, `HOLDFAST_TEST_RUN=${run}`];
  const left = (
    await Promise.all(marks.map((mark) => endLeftovers(mark, stopping.signal.aborted ? 0 : undefined)))
  ).flat();
  const failures = [...new Map(left.map((one) => [one.pid, one])).values()].map(({ pid, command }) => ({
    title: 'left behind',
    error: `process ${pid} was still running: ${command}`,
  }));
  const forgotten = readdirSync(dir);
  if (forgotten.length > 0) failures.push({ title: 'left behind', error: `in ${dir}: ${forgotten.join(', ')}` });
  rmSync(dir, { recursive: true, force: true });
  // What a stopped run leaves is not the tests' fault.
  if (!stopping.signal.aborted)
    tell({ ...nothing('nothing is left behind'), passed: failures.length === 0 ? 1 : 0, failures });
  summarise();
  const failed = results.reduce((sum, result) => sum + result.failures.length, 0);
  console.log(`${results.reduce((sum, result) => sum + result.passed, 0)} passed, ${failed} failed`);
  process.exit(code ?? (failed === 0 ? 0 : 1));
}

function summarise(): void {
  const slowest = results.toSorted((a, b) => b.seconds - a.seconds).slice(0, 10);
  console.log('\nslowest:');
  for (const { file, seconds } of slowest) console.log(`${`${seconds.toFixed(1)}s`.padStart(9)}  ${file}`);
  const failed = results.flatMap(({ file, failures }) => failures.map((failure) => ({ file, ...failure })));
  if (failed.length > 0) console.log('\nfailed:');
  for (const { file, title, error } of failed) {
    console.log(`  ✖ ${file} › ${title}${error.startsWith('SKIPPED') ? '  (SKIPPED)' : ''}`);
  }
  console.log('');
}

function nothing(file: string): FileResult {
  return { file, passed: 0, failures: [], seconds: 0, output: '' };
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '    ');
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
