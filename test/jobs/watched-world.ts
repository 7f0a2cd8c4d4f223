import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Telling } from '#core/alert';
import { dueRun } from '#core/due';
import type { Delivery, Log, Messenger, Vault } from '#core/ports';
import { openWorld, SecretKeeper, type World } from '#host/world';
import { backup } from '#jobs/backup';
import { type BackupRun, BY_HAND } from '#jobs/backup-run';
import { knownOf, makeDueRun } from '#jobs/due-backups';
import type { JobEnvironment } from '#jobs/environment';
import { type Watched, watch } from '#jobs/watch';
import { createVaultIdentity } from '#vault/identity';

const QUIET: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined };

/** Hears everything; may be deaf. */
export class RecordingMessenger implements Messenger {
  readonly heard: Telling[] = [];
  heartbeats = 0;
  deaf = false;
  /** Called before anybody hears. */
  before: (telling: Telling) => void = () => undefined;

  async tell(telling: Telling): Promise<readonly Delivery[]> {
    this.before(telling);
    if (this.deaf) return [{ channel: 'email ops@example.com', ok: false, error: 'connection refused' }];
    this.heard.push(telling);
    return [{ channel: 'email ops@example.com', ok: true, error: null }];
  }

  async heartbeat(): Promise<Delivery | null> {
    this.heartbeats++;
    return { channel: 'heartbeat hc.example.com', ok: true, error: null };
  }

  /** `opened high events failed`, of what was heard since the last call. */
  lines(): string[] {
    return this.heard.splice(0).map(({ what, severity, source, key }) => `${what} ${severity} ${source ?? '-'} ${key}`);
  }
}

/** A SQLite database, real disk vaults, real backups and proofs, a clock that the test sets, and somebody who listens. */
export class WatchedWorld {
  readonly directory = mkdtempSync(join(tmpdir(), 'holdfast-watch-'));
  readonly messenger = new RecordingMessenger();
  now: Date;
  /** What this machine's clock is ahead of the vaults'. */
  ahead = 0;
  /** By vault: what its listings throw. */
  readonly broken = new Map<string, () => Error>();
  /** What a restore test throws. */
  unprovable: (() => Error) | null = null;
  environment!: JobEnvironment;
  #world: World | null = null;

  constructor(now: string) {
    this.now = new Date(now);
  }

  /** @param parts lines of the plan instead of the usual ones */
  async open(parts: { vaults?: string[]; schedule?: string; more?: string[]; source?: string } = {}): Promise<this> {
    const vaults = parts.vaults ?? ['here'];
    this.fill(1000);
    mkdirSync(this.path('scratch'), { recursive: true });
    const schedule = parts.schedule ?? `[{ cron: "0 2 * * *", tier: daily, to: [${vaults.join(', ')}] }]`;
    const text = `version: 1
name: watched
encryption: none
vaults: { ${vaults.map((name) => `${name}: { disk: ./${name} }`).join(', ')} }
tiers: { daily: { keep: 30d }, weekly: { keep: 90d } }
sources:
  app: { sqlite: { file: app.db }, objectives: { rpo: 26h }, schedule: ${schedule}${parts.source ?? ''} }
${(parts.more ?? []).join('\n')}
`;
    writeFileSync(this.path('holdfast.yaml'), text);
    await this.reopen();
    for (const name of vaults) {
      if (this.exists(name)) continue;
      await createVaultIdentity(this.environment.vault(name), { plan: 'watched', id: name, created: this.now });
    }
    return this;
  }

  #made = new Set<string>();
  private exists(name: string): boolean {
    if (this.#made.has(name)) return true;
    this.#made.add(name);
    return false;
  }

  /** As another process would see it. */
  async reopen(): Promise<void> {
    await this.#world?.close();
    const machine = {
      environment: { ...process.env, HOLDFAST_STATE: this.path('state'), HOLDFAST_SCRATCH: this.path('scratch') },
      directory: this.directory,
      signal: new AbortController().signal,
      log: QUIET,
      progress: { stage: () => undefined, advance: () => undefined },
      secrets: new SecretKeeper(() => undefined),
    };
    const world = await openWorld(machine as never, this.path('holdfast.yaml'));
    this.#world = world;
    const clock = { now: () => new Date(this.now.getTime() + this.ahead), sleep: async () => undefined };
    this.environment = {
      ...world,
      run: { ...world.run, clock, host: 'bastion' },
      messenger: this.messenger,
      engine: (source) => {
        const engine = world.engine(source);
        return {
          ...engine,
          load: async (...args) => {
            if (this.unprovable) throw this.unprovable();
            return engine.load(...args);
          },
        };
      },
      vault: (name) => this.#seen(world.vault(name)),
    };
  }

  /** The real vault, but for its clock, and what the test breaks. */
  #seen(vault: Vault): Vault {
    const world = this;
    return new Proxy(vault, {
      get(target, property) {
        if (property === 'now') return async () => world.now;
        const value = Reflect.get(target, property, target) as unknown;
        if (typeof value !== 'function') return value;
        const error = world.broken.get(target.name);
        if (error && (property === 'list' || property === 'folders'))
          // biome-ignore lint/correctness/useYield: a listing that fails at once
          return async function* () {
            throw error();
          };
        return value.bind(target);
      },
    });
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  fill(rows: number): void {
    rmSync(this.path('app.db'), { force: true });
    const db = new DatabaseSync(this.path('app.db'));
    db.exec('create table notes (id integer primary key, text text)');
    db.exec(`with recursive n(i) as (select 1 union all select i + 1 from n where i < ${rows})
      insert into notes select i, 'note ' || i from n where ${rows} > 0`);
    db.close();
  }

  to(time: string): this {
    this.now = new Date(time);
    return this;
  }

  /** The run that is due by the schedule. */
  async night(source = 'app'): Promise<BackupRun> {
    const settings = this.environment.plan.plan.sources[source];
    const due = settings && dueRun(settings, await knownOf(source, this.environment), this.environment.run.clock.now());
    if (!due) throw new Error(`nothing is due at ${this.now.toISOString()}`);
    return makeDueRun(source, due, this.environment);
  }

  byHand(source = 'app'): Promise<BackupRun> {
    return backup({ source, tier: null, point: null, reason: null, trigger: BY_HAND }, this.environment);
  }

  watch(): Promise<Watched> {
    return watch(this.environment);
  }

  /** A watch, and what was heard of it. */
  async told(): Promise<string[]> {
    await this.watch();
    return this.messenger.lines();
  }

  unmount(vault: string): void {
    renameSync(this.path(vault), this.path(`${vault}.away`));
  }

  mount(vault: string): void {
    renameSync(this.path(`${vault}.away`), this.path(vault));
  }

  async close(): Promise<void> {
    await this.#world?.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
