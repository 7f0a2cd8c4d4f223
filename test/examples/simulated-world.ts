import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Readable } from 'node:stream';
import { parse, stringify } from 'yaml';
import type { Telling } from '#core/alert';
import { NotProvableHere } from '#core/errors';
import type { Plan } from '#core/plan';
import type { Clock, Delivery, Messenger, StoredVolume, StoreOptions, Vault, VaultEntry } from '#core/ports';
import { openWorld, SecretKeeper, type World } from '#host/world';
import type { JobEnvironment } from '#jobs/environment';
import { DiskVault } from '#vault/disk-vault';
import { createVaultIdentity } from '#vault/identity';

/**
 * An example plan in a world whose time the test sets. Real: the jobs, the engines, disk vaults with their records and
 * their ledger, the plan's own schedules, tiers, holds, routes. Not real: the clock; the sources, which are small SQLite
 * files and directories in place of servers and data; every vault is a directory unless the test makes it another;
 * nothing is encrypted; messages are kept and not sent; nothing is replicated. Schedules, tiers, holds, objectives and alerts are the example's, word by word.
 */
export interface SimulatedWorld {
  readonly clock: SimulatedClock;
  readonly environment: JobEnvironment;
  readonly plan: Plan;
  /** What was told, in order, with the simulated time in each. */
  readonly told: readonly Telling[];
  heartbeats(): number;
  vault(name: string): Vault;
  /** Gives a source another content. */
  change(source: string): void;
  /** Takes away, or gives back, what a proof needs: engines then cannot load, and say so. */
  breakProofs(broken: boolean): void;
  close(): Promise<void>;
}

/** Waiting is time that passes at once. */
export class SimulatedClock implements Clock {
  #now: number;

  constructor(start: Date) {
    this.#now = start.getTime();
  }

  now(): Date {
    return new Date(this.#now);
  }

  set(moment: Date): void {
    if (moment.getTime() < this.#now) throw new Error(`time goes back from ${this.now().toISOString()}`);
    this.#now = moment.getTime();
  }

  async sleep(milliseconds: number): Promise<void> {
    this.#now += milliseconds;
  }
}

/** A directory whose own clock, and whose files' times, are the simulated ones. */
class SimulatedVault extends DiskVault {
  readonly #clock: Clock;
  readonly #times = new Map<string, Date>();

  constructor(options: ConstructorParameters<typeof DiskVault>[0], clock: Clock) {
    super(options);
    this.#clock = clock;
  }

  override async putOnce(key: string, body: Uint8Array): Promise<void> {
    await super.putOnce(key, body);
    this.#times.set(key, this.#clock.now());
  }

  override async putAgain(key: string, body: Uint8Array): Promise<void> {
    await super.putAgain(key, body);
    this.#times.set(key, this.#clock.now());
  }

  override async store(
    folder: string,
    name: string,
    bytes: Readable,
    options: StoreOptions,
  ): Promise<readonly StoredVolume[]> {
    const volumes = await super.store(folder, name, bytes, options);
    for (const volume of volumes) this.#times.set(`${folder}/${volume.name}`, this.#clock.now());
    return volumes;
  }

  override async remove(key: string): Promise<void> {
    await super.remove(key);
    this.#times.delete(key);
  }

  override async *list(prefix: string, options?: { after?: string; limit?: number }): AsyncGenerator<VaultEntry> {
    for await (const entry of super.list(prefix, options))
      yield { ...entry, modified: this.#times.get(entry.key) ?? entry.modified };
  }

  override async now(): Promise<Date> {
    return this.#clock.now();
  }
}

class KeptMessages implements Messenger {
  readonly told: Telling[] = [];
  heartbeats = 0;

  async tell(telling: Telling): Promise<readonly Delivery[]> {
    this.told.push(telling);
    return [{ channel: 'kept by the test', ok: true, error: null }];
  }

  async heartbeat(): Promise<Delivery> {
    this.heartbeats += 1;
    return { channel: 'kept by the test', ok: true, error: null };
  }
}

/** In memory where the machine has such a directory: a year writes tens of thousands of small files. */
function folderFor(name: string): string {
  for (const place of ['/dev/shm', tmpdir()]) {
    try {
      return mkdtempSync(join(place, `holdfast-year-${name}-`));
    } catch (error) {
      if (place === tmpdir()) throw error;
    }
  }
  throw new Error('no temporary directory');
}

/**
 * @param text the example; `start`: when its vaults are made
 * @param vaultOf makes one of the plan's vaults, whose own clock has to be the given one
 */
export async function simulatedWorld(
  name: string,
  text: string,
  start: Date,
  vaultOf?: (name: string, clock: Clock) => Vault,
): Promise<SimulatedWorld> {
  const folder = folderFor(name);
  const contents = makeSources(folder, text);
  writeFileSync(join(folder, 'holdfast.yaml'), forSimulation(text));
  const controller = new AbortController();
  const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined };
  const world: World = await openWorld(
    {
      environment: {
        PATH: process.env['PATH'],
        HOLDFAST_SCRATCH: join(folder, 'scratch'),
        HOLDFAST_STATE: join(folder, 'state'),
      },
      directory: folder,
      signal: controller.signal,
      log: silent,
      progress: { stage: () => undefined, advance: () => undefined },
      secrets: new SecretKeeper(() => 'http://127.0.0.1:9/'),
    },
    join(folder, 'holdfast.yaml'),
  );
  const clock = new SimulatedClock(start);
  const messenger = new KeptMessages();
  const run = { ...world.run, clock, host: 'the-year' };
  const { plan } = world.plan;
  const vaults = new Map<string, Vault>();
  for (const vault of Object.keys(plan.vaults)) {
    const root = join(folder, 'vaults', vault);
    const opened =
      vaultOf?.(vault, clock) ?? new SimulatedVault({ name: vault, root, processes: run.processes }, clock);
    await createVaultIdentity(opened, { plan: plan.name, id: `vault-${vault}`, created: start });
    vaults.set(vault, opened);
  }
  const vault = (asked: string): Vault => {
    const found = vaults.get(asked);
    if (!found) throw new Error(`the plan has no vault ${asked}`);
    return found;
  };
  let broken = false;
  const engine: World['engine'] = (source) => {
    const real = world.engine(source);
    return broken
      ? { ...real, load: () => Promise.reject(new NotProvableHere('the program that would load it is gone')) }
      : real;
  };
  return {
    clock,
    plan,
    vault,
    breakProofs: (now) => {
      broken = now;
    },
    environment: { ...world, run, messenger, vault, engine },
    told: messenger.told,
    heartbeats: () => messenger.heartbeats,
    change: (source) => contents.get(source)?.(),
    async close() {
      await world.close();
      controller.abort(new Error('the year is over'));
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

type Parts = Record<string, Record<string, unknown>>;

/** All that is changed in the example: where things lie, and what asks for a server, a container or a key. */
function forSimulation(text: string): string {
  const plan = parse(text) as Parts & { vaults: Parts; sources: Parts };
  const vaults = Object.keys(plan.vaults).map((name) => [name, { disk: `./vaults/${name}` }] as const);
  const sources = Object.entries(plan.sources).map(([name, source]) => {
    const { postgres, redis, sqlite, files, probes, before, after, afterRestore, drill, ...kept } = source;
    const engine = files
      ? {
          files: { paths: [`data/${name}`], ...((files as { onChange?: boolean }).onChange ? { onChange: true } : {}) },
        }
      : { sqlite: { file: `data/${name}.db` } };
    return [name, { ...engine, ...kept }] as const;
  });
  return stringify({
    ...plan,
    encryption: 'none',
    vaults: Object.fromEntries(vaults),
    sources: Object.fromEntries(sources),
  });
}

/** A table of 200 rows or twenty files each; what is returned changes one of them. */
function makeSources(folder: string, text: string): ReadonlyMap<string, () => void> {
  mkdirSync(join(folder, 'data'));
  mkdirSync(join(folder, 'scratch'));
  const { sources } = parse(text) as { sources: Parts };
  const changes = Object.entries(sources).map(([name, source]): [string, () => void] => {
    let changed = 0;
    if (source['files']) {
      mkdirSync(join(folder, 'data', name));
      const write = (file: number): void =>
        writeFileSync(join(folder, 'data', name, `${file % 20}.txt`), `${name} ${file}\n`);
      for (let file = 0; file < 20; file++) write(file);
      return [name, () => write(20 + changed++)];
    }
    const within = (act: (db: DatabaseSync) => void): void => {
      const db = new DatabaseSync(join(folder, 'data', `${name}.db`));
      act(db);
      db.close();
    };
    within((db) =>
      db.exec(`create table t (id integer primary key, text text);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 200) insert into t select i, 'a' from n`),
    );
    return [
      name,
      () => within((db) => db.prepare('update t set text = ? where id = ?').run(`b${changed}`, 1 + (changed++ % 200))),
    ];
  });
  return new Map(changes);
}
