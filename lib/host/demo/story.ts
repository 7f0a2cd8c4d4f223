import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { CommandFailed, Disproven, UsageError } from '#core/errors';
import type { Manifest } from '#core/manifest';
import { machineClock } from '#host/clock';
import { type DemoServers, startServers } from '#host/demo/servers';
import { appSum, cacheSum, eventStoreSum, makeApp, makeCache, makeEventStore, makePayloads } from '#host/demo/sources';
import { createProcesses } from '#host/processes';

export interface Demo {
  /** Where `demo/` is made. */
  readonly directory: string;
  /** The command line itself, as a user calls it. */
  readonly bin: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  say(line: string): void;
}

export interface DemoResult {
  readonly folder: string;
  readonly seconds: number;
  /** Source → whether it was equal after it had been destroyed and restored. */
  readonly equal: Readonly<Record<string, boolean>>;
  readonly brokenByteFound: boolean;
}

const MARK = '# made by holdfast demo';

/** The main job from nothing to the worst day and back, on servers of its own, by the real command line. */
export async function tellStory(demo: Demo): Promise<DemoResult> {
  const began = machineClock.now().getTime();
  const folder = join(demo.directory, 'demo');
  clearOld(folder);
  mkdirSync(folder, { recursive: true });
  const temporary = mkdtempSync(join(tmpdir(), 'holdfast-demo-'));
  chmodSync(temporary, 0o711);
  const processes = createProcesses(demo.environment, demo.signal, null);
  const password = randomBytes(12).toString('hex');
  let servers: DemoServers | null = null;
  try {
    demo.say("Starting a PostgreSQL and a Redis of the demo's own …");
    servers = await startServers({ processes, clock: machineClock, directory: temporary, password });
    const teller = new Teller(
      demo,
      folder,
      { DATABASE_URL: `${servers.databaseUrl}/archon`, REDIS_URL: servers.redisUrl },
      processes,
    );
    const result = await tell(teller, servers, folder, demo, processes);
    return { ...result, folder, seconds: Math.round((machineClock.now().getTime() - began) / 1000) };
  } finally {
    await servers?.stop();
    rmSync(temporary, { recursive: true, force: true });
  }
}

async function tell(
  teller: Teller,
  servers: DemoServers,
  folder: string,
  demo: Demo,
  processes: ReturnType<typeof createProcesses>,
): Promise<Pick<DemoResult, 'equal' | 'brokenByteFound'>> {
  const app = join(folder, 'app.db');
  const payloads = join(folder, 'payloads');
  demo.say(`  events    PostgreSQL  ${await makeEventStore(servers)}`);
  demo.say(`  cache     Redis       ${await makeCache(servers)}`);
  demo.say(`  app       SQLite      ${makeApp(app)}`);
  demo.say(`  payloads  files       ${makePayloads(payloads)}`);
  const treeSum = async (): Promise<string> => {
    const script = 'find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16';
    return (await processes.run({ program: 'sh', args: ['-c', script], cwd: payloads })).stdout.trim();
  };
  const sums = async (): Promise<Record<string, string>> => ({
    events: await eventStoreSum(servers),
    cache: await cacheSum(servers),
    app: appSum(app),
    payloads: await treeSum(),
  });
  const before = await sums();

  demo.say('\nA key, a plan, a check:');
  const key = (await teller.holdfast(['keygen', '--out', 'holdfast.key'], 0)).match(/age1[0-9a-z]+/)?.[0];
  writeFileSync(join(folder, 'holdfast.yaml'), plan(key ?? '', './vault'));
  await teller.holdfast(['check', '--create'], 0);
  demo.say(
    '\nBack up everything; each backup is restored into a scratch engine and compared before it is called good:',
  );
  await teller.holdfast(['backup', '--all'], 0);
  await teller.holdfast(['prove'], 0);
  await teller.holdfast(['status'], 0);

  demo.say('\nThe worst day: every source is destroyed.');
  await servers.sql('postgres', 'drop database archon with (force)');
  await servers.stopRedis();
  for (const gone of [servers.redisDirectory, app, `${app}-wal`, `${app}-shm`, payloads])
    rmSync(gone, { recursive: true, force: true });
  demo.say('  dropped the database, killed Redis and its directory, deleted app.db and payloads/');

  demo.say('\nAnd back:');
  await teller.holdfast(['restore', 'events', '--to', 'env:DATABASE_URL'], 0);
  await teller.holdfast(['restore', 'cache', '--to', servers.redisDirectory], 0);
  await servers.startRedis(servers.redisDirectory);
  await teller.holdfast(['restore', 'app', '--to', './app.db'], 0);
  await teller.holdfast(['restore', 'payloads', '--to', './restored'], 0);
  await processes.run({ program: 'mv', args: [join(folder, 'restored', 'payloads'), payloads] });
  rmSync(join(folder, 'restored'), { recursive: true });
  const after = await sums();
  const equal = Object.fromEntries(Object.keys(before).map((name) => [name, before[name] === after[name]]));
  for (const name of Object.keys(before))
    demo.say(
      `  ${name.padEnd(9)} before ${before[name]}  after ${after[name]}  ${equal[name] ? 'equal' : 'NOT EQUAL'}`,
    );
  if (Object.values(equal).includes(false))
    throw new Disproven('a restored source of the demo is not equal to what it was');

  demo.say('\nOne byte of a stored artifact is changed (in a copy of the vault):');
  const volume = await breakOneByte(folder, key ?? '', processes);
  demo.say(`  ${volume}`);
  await teller.holdfast(['prove', 'payloads', '--plan', 'broken.yaml'], 5);

  await writeScripts(teller, folder, demo.bin);
  return { equal, brokenByteFound: true };
}

/** Runs the command line in `demo/` and shows what a user would see. */
class Teller {
  readonly #demo: Demo;
  readonly #folder: string;
  readonly #variables: Readonly<Record<string, string>>;
  readonly #processes: ReturnType<typeof createProcesses>;

  constructor(
    demo: Demo,
    folder: string,
    variables: Readonly<Record<string, string>>,
    processes: ReturnType<typeof createProcesses>,
  ) {
    this.#demo = demo;
    this.#folder = folder;
    this.#variables = variables;
    this.#processes = processes;
  }

  async holdfast(args: readonly string[], expected: number): Promise<string> {
    this.#demo.say(`$ holdfast ${args.join(' ')}`);
    const text = await this.quietly(args, expected);
    for (const line of text.trimEnd().split('\n')) this.#demo.say(`  ${line}`.trimEnd());
    return text;
  }

  async quietly(args: readonly string[], expected: number): Promise<string> {
    const ended = await this.#processes.run({
      program: this.#demo.bin,
      args,
      cwd: this.#folder,
      env: { ...this.#variables, HOLDFAST_STATE: join(this.#folder, '.state') },
      okCodes: [0, 1, 2, 3, 4, 5, 6],
    });
    const text = args.includes('--json') ? ended.stdout : `${ended.stdout}${ended.stderr}`;
    if (ended.code !== expected)
      throw new CommandFailed(
        `holdfast ${args.join(' ')} ended with ${ended.code}, the demo expects ${expected}: ${text.slice(-800)}`,
        {
          program: 'holdfast',
          exitCode: ended.code,
          stderr: ended.stderr,
        },
      );
    return text;
  }
}

/** Only what an earlier demo made may be removed. */
function clearOld(folder: string): void {
  if (!existsSync(folder)) return;
  const planFile = join(folder, 'holdfast.yaml');
  const ours =
    readdirSync(folder).length === 0 || (existsSync(planFile) && readFileSync(planFile, 'utf8').includes(MARK));
  if (!ours)
    throw new UsageError(`${folder} is there and was not made by the demo`, {
      hint: 'move it away, or run the demo elsewhere',
    });
  rmSync(folder, { recursive: true });
}

async function breakOneByte(
  folder: string,
  key: string,
  processes: ReturnType<typeof createProcesses>,
): Promise<string> {
  await processes.run({ program: 'cp', args: ['-a', join(folder, 'vault'), join(folder, 'broken-vault')] });
  writeFileSync(join(folder, 'broken.yaml'), plan(key, './broken-vault'));
  const below = join(folder, 'broken-vault', 'backups', 'payloads');
  const name = readdirSync(below, { recursive: true })
    .map(String)
    .find((one) => one.includes('tree.tar'));
  if (!name) throw new Disproven("the demo's backup of payloads has no tree.tar");
  const file = join(below, name);
  const bytes = readFileSync(file);
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] as number) ^ 0x01;
  rmSync(file);
  writeFileSync(file, bytes);
  return `broken-vault/backups/payloads/${name}: byte ${middle} of ${bytes.length}`;
}

async function writeScripts(teller: Teller, folder: string, bin: string): Promise<void> {
  const targets: Record<string, string> = {
    events: 'postgres://…/an_empty_database',
    cache: './cache-again',
    app: './app-again',
    payloads: './payloads-again',
  };
  const lines = ['# By hand, without Holdfast: only age, zstd and the tools of each engine', ''];
  for (const [source, target] of Object.entries(targets)) {
    const shown = JSON.parse(await teller.quietly(['show', source, '--json'], 0)) as { result: Manifest };
    writeFileSync(join(folder, `restore-${source}.sh`), shown.result.restore.script);
    lines.push(`    KEY=holdfast.key VAULT=vault TARGET=${target} sh -eu restore-${source}.sh`);
  }
  lines.push(
    '',
    'Or with Holdfast, from the vault and the key alone:',
    '',
    `    ${relative(folder, bin)} restore app --vault ./vault --identity holdfast.key --to ./somewhere`,
    '',
  );
  writeFileSync(join(folder, 'TRY.md'), lines.join('\n'));
}

function plan(recipient: string, vault: string): string {
  return `# yaml-language-server: $schema=../holdfast.schema.json
${MARK}
version: 1
name: demo
encryption:
  recipients: [${recipient}]           # add a second one, whose key is kept elsewhere
  identity: { file: ./holdfast.key }   # read by prove and restore only
vaults:
  here: { disk: ${vault} }
tiers:
  hourly: { keep: 7d }
  daily: { keep: 30d }
sources:
  events:
    postgres: { url: "\${DATABASE_URL}" }
    probes:
      sequence: select max(sequence_number) from events
      chain_head: select encode(hash, 'hex') from events order by sequence_number desc limit 1
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }]
  cache:
    redis: { url: "\${REDIS_URL}" }
    schedule: [{ every: 15m, tier: hourly, to: [here] }]
  app:
    sqlite: { file: app.db }
    schedule: [{ every: 4h, tiers: [hourly, daily], to: [here] }]
  payloads:
    files: { paths: [payloads] }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }]
`;
}
