import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type InitHost, type InitOptions, type InitResult, init } from '#cli/init';
import { type HoldfastError, UsageError, VaultForeign, VaultMissing } from '#core/errors';
import { sha256Hex } from '#core/manifest';
import { loadPlan } from '#core/plan-load';
import { machineClock } from '#host/clock';
import { createProcesses } from '#host/processes';
import { buildExample, EXAMPLES } from '#test/cli/init-examples';
import { addAged } from '#test/jobs/aged-vault';
import { openVaultUrl } from '#vault/open';

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'init-'));
});
after(() => rm(root, { recursive: true, force: true }));

let count = 0;
/** A directory with the name an application's has, in a place of its own. */
async function place(name: string): Promise<string> {
  const directory = join(root, String(count++), name);
  await mkdir(directory, { recursive: true });
  return directory;
}

function hostAt(
  directory: string,
  environment: InitHost['environment'] = {},
  answers: string[] | null = null,
): InitHost {
  const processes = createProcesses(process.env, new AbortController().signal, null);
  return {
    environment,
    processes,
    clock: machineClock,
    timezone: 'Europe/Stockholm',
    schema: '/opt/holdfast/holdfast.schema.json',
    vaults: join(directory, '..', 'vaults'),
    ask: answers && (async (_question, otherwise) => answers.shift() || otherwise),
    openVault: (url) => openVaultUrl(url, { processes, baseDirectory: directory, reveal: (text) => text }),
  };
}

function initAt(directory: string, host = hostAt(directory), options: Partial<InitOptions> = {}): Promise<InitResult> {
  return init({ file: join(directory, 'holdfast.yaml'), from: null, name: null, vault: null, ...options }, host);
}

function refusal(kind: new (...args: never[]) => HoldfastError, words: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof kind, String(error));
    assert.match(error.message, words);
    assert.ok(error.hint);
    return true;
  };
}

describe('init in the five systems', () => {
  for (const name of Object.keys(EXAMPLES)) {
    test(`${name}: writes the plan of its golden file, which loads`, async () => {
      const directory = await place(name);
      await buildExample(name, directory);
      const result = await initAt(directory);
      const text = await readFile(result.plan, 'utf8');
      const told = text
        .replaceAll(result.key?.publicKey ?? '', 'age1PUBLICKEY')
        .replaceAll(directory, '/srv/app')
        .replaceAll(join(directory, '..', 'vaults'), '/var/backups');
      assert.equal(told, await readFile(join(import.meta.dirname, 'golden', `${name}.yaml`), 'utf8'));
      const { plan } = loadPlan(text, 'holdfast.yaml');
      assert.deepEqual(
        Object.keys(plan.sources),
        result.sources.map((source) => source.name),
      );
    });

    test(`I7: ${name}: no secret of .env or compose is in the plan or in what is printed`, async () => {
      const directory = await place(name);
      await buildExample(name, directory);
      const result = await initAt(directory);
      const all = JSON.stringify(result) + (await readFile(result.plan, 'utf8'));
      assert.doesNotMatch(all, /p4ssw0rd|s3cret|password-of|pa%40ss|pa@ss|key-of|secret-of|AGE-SECRET/);
    });
  }
});

describe('init', () => {
  test('makes the vault and a key for its owner alone, whose public key is the recipient', async () => {
    const directory = await place('app');
    const result = await initAt(directory);
    assert.ok(existsSync(join(result.vault, 'vault.json')));
    const key = join(directory, 'holdfast.key');
    assert.equal((await stat(key)).mode & 0o777, 0o600);
    assert.equal(execFileSync('age-keygen', ['-y', key], { encoding: 'utf8' }).trim(), result.key?.publicKey);
    const { plan } = loadPlan(await readFile(result.plan, 'utf8'), 'holdfast.yaml');
    assert.deepEqual(plan.encryption === 'none' ? null : plan.encryption.recipients, [result.key?.publicKey]);
  });

  test('takes a key that is there already', async () => {
    const directory = await place('app');
    execFileSync('age-keygen', ['-o', join(directory, 'holdfast.key')], { stdio: 'ignore' });
    const before = await readFile(join(directory, 'holdfast.key'), 'utf8');
    const { key } = await initAt(directory);
    assert.equal(key?.made, false);
    assert.ok(before.includes(key.publicKey));
    assert.equal(await readFile(join(directory, 'holdfast.key'), 'utf8'), before);
  });

  test('refuses a holdfast.key that is no key, and leaves it', async () => {
    const directory = await place('app');
    await writeFile(join(directory, 'holdfast.key'), 'my diary');
    await assert.rejects(initAt(directory), refusal(UsageError, /holdfast\.key.*no age identity/));
    assert.equal(await readFile(join(directory, 'holdfast.key'), 'utf8'), 'my diary');
    assert.deepEqual(await readdir(directory), ['holdfast.key']);
    assert.ok(!existsSync(join(directory, '..', 'vaults')));
  });

  test('never overwrites a plan, not even an empty one', async () => {
    const directory = await place('app');
    await writeFile(join(directory, 'holdfast.yaml'), '');
    await assert.rejects(initAt(directory), refusal(UsageError, /never overwritten/));
    assert.deepEqual(await readdir(directory), ['holdfast.yaml']);
  });

  test('where nothing is found, the plan covers the directory itself, without the vault inside it', async () => {
    const directory = await place('Notes & Co.');
    await writeFile(join(directory, 'todo.txt'), 'x');
    const result = await initAt(directory, hostAt(directory), { vault: join(directory, 'vault') });
    const { plan } = loadPlan(await readFile(result.plan, 'utf8'), 'holdfast.yaml');
    assert.equal(plan.name, 'notes-co');
    assert.deepEqual(plan.sources['files']?.files, { paths: ['.'], exclude: ['node_modules/', '*.key', '/vault/'] });
  });

  test('answers on a terminal decide; a source left out stays as a comment', async () => {
    const directory = await place('elspeth');
    await buildExample('elspeth', directory);
    const vault = join(directory, '..', 'elsewhere');
    const result = await initAt(directory, hostAt(directory, {}, ['audit-trail', vault, '1 3']));
    const text = await readFile(result.plan, 'utf8');
    assert.deepEqual([result.name, result.vault, result.sources.length], ['audit-trail', vault, 2]);
    assert.match(text, /# .*left out by holdfast init\n {2}# queue:\n/);
  });

  test('refuses an answer that is none of the numbers, before anything is made', async () => {
    const directory = await place('elspeth');
    await buildExample('elspeth', directory);
    const before = await readdir(directory);
    await assert.rejects(
      initAt(directory, hostAt(directory, {}, ['', '', '1 99'])),
      refusal(UsageError, /"99".*1 to \d/),
    );
    assert.deepEqual(await readdir(directory), before);
    assert.ok(!existsSync(join(directory, '..', 'vaults')));
  });

  test('refuses a name that cannot be part of a key, and proposes one', async () => {
    const directory = await place('app');
    await assert.rejects(initAt(directory, hostAt(directory), { name: 'My App' }), (error: HoldfastError) => {
      assert.match(error.message, /"My App".*lower-case/);
      assert.match(error.hint ?? '', /my-app/);
      return true;
    });
  });

  test("refuses another plan's vault, and writes neither plan nor key", async () => {
    const [first, second] = [await place('one'), await place('two')];
    const { vault } = await initAt(first);
    await assert.rejects(initAt(second, hostAt(second), { vault }), refusal(VaultForeign, /"one".*"two"/));
    assert.deepEqual(await readdir(second), []);
  });

  test('survives unreadable compose files, loops of links and dead links, and says what it did not read', async () => {
    const directory = await place('app');
    await writeFile(join(directory, 'docker-compose.yml'), 'services: [unclosed');
    await symlink('.', join(directory, 'loop'));
    await symlink('nowhere', join(directory, 'dead.db'));
    const { notes } = await initAt(directory);
    assert.match(notes.join('\n'), /docker-compose\.yml could not be read/);
  });

  test('an address in the environment wins over .env, and one database named twice is one source', async () => {
    const directory = await place('app');
    await writeFile(join(directory, '.env'), 'DATABASE_URL=postgres://a@old/x\n');
    const url = 'postgres://a:b@new.example.com/x';
    const environment = { DATABASE_URL: url, POSTGRES_URL: `${url}?pool=1`, MYSQL_URL: 'mysql://x/y', HOME: '/root' };
    const result = await initAt(directory, hostAt(directory, environment));
    assert.deepEqual(
      result.sources.map(({ name, engine, why }) => [name, engine, why]),
      [['database', 'postgres', 'DATABASE_URL in the environment']],
    );
  });

  test("Prisma's file: address and the file that it names are one source", async () => {
    const directory = await place('app');
    await writeFile(join(directory, '.env'), 'DATABASE_URL="file:./dev.db"\n');
    execFileSync('sqlite3', [join(directory, 'dev.db'), 'create table t (x)']);
    const result = await initAt(directory);
    assert.deepEqual(result.sources, [{ name: 'dev', engine: 'sqlite', why: 'DATABASE_URL in .env' }]);
  });
});

describe('init --from', () => {
  async function vaultWithPlans(...plans: string[]): Promise<string> {
    const directory = await place('origin');
    const { vault } = await initAt(directory);
    await mkdir(join(vault, 'plans'));
    for (const [age, text] of plans.entries()) {
      const file = join(vault, 'plans', `${sha256Hex(text)}.yaml`);
      await writeFile(file, text);
      const time = new Date(Date.now() - age * 3_600_000);
      await utimes(file, time, time);
    }
    return vault;
  }

  async function aPlan(comment: string): Promise<string> {
    const directory = await place('origin');
    await writeFile(join(directory, '.env'), 'DATABASE_URL=postgres://a:b@h/x\n');
    return `${await readFile((await initAt(directory)).plan, 'utf8')}# ${comment}\n`;
  }

  test('brings the newest plan back, byte for byte, and names the variables and the key it needs', async () => {
    const [newest, older] = [await aPlan('newest'), await aPlan('older')];
    const vault = await vaultWithPlans(newest, older);
    const target = await place('fresh-machine');
    const result = await initAt(target, hostAt(target), { from: vault });
    assert.equal(await readFile(join(target, 'holdfast.yaml'), 'utf8'), newest);
    assert.deepEqual(await readdir(target), ['holdfast.yaml']);
    assert.equal(result.name, 'origin');
    assert.match(result.notes.join(), /DATABASE_URL/);
    assert.match(result.next.join(), /holdfast\.key/);
  });

  test('of a vault that was copied, the plan of the newest backup is brought back, whatever the times of its files say', async () => {
    const [used, newerFile] = [await aPlan('used by the newest backup'), await aPlan('gone back from')];
    const vault = await vaultWithPlans(newerFile, used);
    const disk = hostAt('/').openVault(vault);
    const of = (text: string) => ({ name: 'aged', sha256: sha256Hex(text) });
    await addAged(disk, 'dev', { at: '2026-11-20T02:00:00Z', tier: 'daily', keep: null, plan: of(newerFile) });
    const { id } = await addAged(disk, 'dev', {
      at: '2026-11-21T02:00:00Z',
      tier: 'daily',
      keep: null,
      plan: of(used),
    });
    const target = await place('fresh-machine');
    const result = await initAt(target, hostAt(target), { from: vault });
    assert.equal(await readFile(join(target, 'holdfast.yaml'), 'utf8'), used);
    assert.equal(result.sources[0]?.why, `in the plan of dev ${id}`);

    const moved = join(await place('elsewhere'), 'vault');
    await cp(vault, moved, { recursive: true });
    await rm(join(moved, 'vault.json'));
    const again = await place('second-machine');
    const { name, notes } = await initAt(again, hostAt(again), { from: moved });
    assert.equal(name, 'origin');
    assert.match(notes.join('\n'), /no vault\.json in .*; backups are there, and are read without it/);
    assert.ok(notes.some((note) => note.startsWith(`this vault was read from ${moved}, and the plan has local in /`)));
  });

  test('I14: a directory that is no vault is "not mounted or not a vault", never "no plans"', async () => {
    const target = await place('fresh-machine');
    const empty = await place('unmounted');
    await assert.rejects(initAt(target, hostAt(target), { from: empty }), refusal(VaultMissing, /not mounted/));
    assert.deepEqual(await readdir(target), []);
  });

  test('I15: a stored plan that was edited is refused', async () => {
    const vault = await vaultWithPlans(await aPlan('good'));
    const [file = ''] = await readdir(join(vault, 'plans'));
    await writeFile(join(vault, 'plans', file), 'version: 1\n');
    const target = await place('fresh-machine');
    await assert.rejects(initAt(target, hostAt(target), { from: vault }), /changed or damaged/);
    assert.ok(!existsSync(join(target, 'holdfast.yaml')));
  });

  test('a vault that no run has used yet says so', async () => {
    const vault = await vaultWithPlans();
    const target = await place('fresh-machine');
    await assert.rejects(initAt(target, hostAt(target), { from: vault }), refusal(UsageError, /no plan/));
  });

  test('never overwrites the plan that is there', async () => {
    const vault = await vaultWithPlans(await aPlan('x'));
    const target = await place('fresh-machine');
    await writeFile(join(target, 'holdfast.yaml'), 'mine');
    await assert.rejects(initAt(target, hostAt(target), { from: vault }), refusal(UsageError, /never overwritten/));
    assert.equal(await readFile(join(target, 'holdfast.yaml'), 'utf8'), 'mine');
    assert.equal(basename(target), 'fresh-machine');
  });
});
