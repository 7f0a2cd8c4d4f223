import { type Duration, parseDuration } from '#core/duration';
import { VaultUnreachable } from '#core/errors';
import { type LoadedPlan, loadPlan } from '#core/plan-load';
import type { JobEnvironment } from '#jobs/environment';
import { retain } from '#jobs/retain';
import type { Retained, RetainRequest } from '#jobs/retain-result';
import { type Aged, addAged } from '#test/jobs/aged-vault';
import { MemoryVault } from '#test/vault/memory-vault';
import { createVaultIdentity } from '#vault/identity';

const HOLDER = { host: 'bastion', pid: 1, start: '1', boot: 'b', namespace: 'n' };
const DAY = 86_400_000;

export interface AgedOptions {
  /** Flow YAML. */
  readonly tiers?: string;
  readonly schedule?: string;
  /** More of the source `app`, as `, prove: never`. */
  readonly more?: string;
  /** More lines below `sources:`. */
  readonly sources?: readonly string[];
  readonly vaults?: readonly string[];
  readonly now?: string;
}

/** A plan, vaults in memory, and a clock that the test sets: everything retention needs, nothing that takes a backup. */
export class AgedWorld {
  now: Date;
  /** How far the vaults' clock is ahead of the machine's, in milliseconds. */
  vaultsAhead = 0;
  readonly logged: string[] = [];
  readonly vaults = new Map<string, MemoryVault>();
  /** Holders of this machine that have ended. */
  gone: (pid: number) => boolean = () => false;
  plan: LoadedPlan;
  readonly environment: JobEnvironment;
  readonly #options: AgedOptions;

  constructor(options: AgedOptions = {}) {
    this.#options = options;
    this.now = new Date(options.now ?? '2026-11-21T12:00:00Z');
    this.plan = loadPlan(planText(options), 'holdfast.yaml');
    const world = this;
    const never = async (): Promise<never> => {
      throw new Error('retention starts no child');
    };
    const processes = { run: never, find: never, pipe: () => fail(), start: () => fail() };
    this.environment = {
      get plan() {
        return world.plan;
      },
      run: {
        processes,
        clock: { now: () => this.now, sleep: async () => undefined },
        log: {
          debug: () => undefined,
          info: (line) => this.logged.push(line),
          warn: (line) => this.logged.push(`warning: ${line}`),
        },
        progress: { stage: () => undefined, advance: () => undefined },
        scratch: '/nonexistent',
        signal: new AbortController().signal,
        reveal: (text) => text,
        host: 'bastion',
      },
      vault: (name) => {
        const vault = this.vaults.get(name);
        if (!vault) throw new VaultUnreachable(`vault ${name} does not answer`, { hint: 'mount it' });
        return vault;
      },
      source: () => fail(),
      engine: () => fail(),
      identity: async () => null,
      holder: HOLDER,
      isGone: ({ pid }) => this.gone(pid),
      intents: {
        directory: '/nonexistent',
        processes,
        write: never,
        remove: never,
        leave: () => fail(),
        takeLeft: never,
      },
      notes: { read: async () => null, write: async () => undefined },
      messenger: { tell: async () => [], heartbeat: async () => null },
      redact: (text) => text.replaceAll('s3cr3t', '***'),
    };
  }

  /** Makes the vaults. */
  async open(): Promise<this> {
    for (const name of this.#options.vaults ?? ['here']) {
      const vault = new MemoryVault({ name, now: () => new Date(this.now.getTime() + this.vaultsAhead) });
      await createVaultIdentity(vault, { plan: 'aged', id: name, created: new Date('2020-01-01') });
      this.vaults.set(name, vault);
    }
    return this;
  }

  /** Another plan for the same vaults. */
  replan(options: AgedOptions): void {
    this.plan = loadPlan(planText({ ...this.#options, ...options }), 'holdfast.yaml');
  }

  vault(name = 'here'): MemoryVault {
    return this.environment.vault(name) as MemoryVault;
  }

  /** @param daysAgo counted back from the world's now, to the day at 02:00 */
  async add(
    daysAgo: number,
    aged: Partial<Aged> = {},
    source = 'app',
    vaults = [...this.vaults.keys()],
  ): Promise<string> {
    const day = new Date(this.now.getTime() - daysAgo * DAY).toISOString().slice(0, 10);
    const all: Aged = { at: `${day}T02:00:00Z`, tier: 'daily', keep: keepOf('30d'), ...aged };
    let id = '';
    for (const name of vaults) ({ id } = await addAged(this.vault(name), source, all));
    return id;
  }

  retain(request: Partial<RetainRequest> = {}): Promise<Retained> {
    return retain({ sources: [], vault: null, dryRun: false, at: null, ...request }, this.environment);
  }

  /** Keys below a prefix. */
  keys(prefix: string, vault = 'here'): string[] {
    return [...this.vault(vault).objects.keys()].filter((key) => key.startsWith(prefix)).sort();
  }

  /** Ids of committed backups. */
  ids(source = 'app', vault = 'here'): string[] {
    return this.keys(`backups/${source}/`, vault)
      .flatMap((key) => /([^/]+)\/manifest\.json$/.exec(key)?.[1] ?? [])
      .sort();
  }
}

export function keepOf(text: string): Duration {
  return parseDuration(text) as Duration;
}

export function actions({ decisions }: Retained): Record<string, string> {
  return Object.fromEntries(decisions.map(({ id, action }) => [id, action]));
}

function planText(options: AgedOptions): string {
  const { tiers = '{ daily: { keep: 30d } }', vaults = ['here'], more = '', sources = [] } = options;
  const schedule = options.schedule ?? `[{ cron: "0 2 * * *", tier: daily, to: [${vaults.join(', ')}] }]`;
  return `version: 1
name: aged
encryption: none
vaults: { ${vaults.map((name) => `${name}: { disk: ./${name} }`).join(', ')} }
tiers: ${tiers}
sources:
  app: { sqlite: { file: app.db }, schedule: ${schedule}${more} }
${sources.map((line) => `  ${line}\n`).join('')}`;
}

function fail(): never {
  throw new Error('retention touches no source');
}
