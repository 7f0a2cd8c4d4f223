import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LedgerEntry } from '#core/ledger';
import type { Vault } from '#core/ports';
import { HostOfServe } from '#host/serve-host';
import { type Machine, SecretKeeper, variablesOf } from '#host/world';
import type { JobEnvironment } from '#jobs/environment';
import { type ServeHost, type ServeJobs, serve } from '#jobs/serve';
import type { FastTime } from '#test/jobs/fast-time';
import { createVaultIdentity } from '#vault/identity';
import { readLedger } from '#vault/ledger-store';

/** A directory with a plan, in which `serve` runs in this very process, through virtual time. */
export class Serving {
  readonly directory = mkdtempSync(join(tmpdir(), 'holdfast-serve-'));
  /** What was logged, each line with its virtual hour: `02:00 backup of app: …`. */
  readonly lines: string[] = [];
  readonly #stop = new AbortController();
  readonly #time: FastTime;
  #host: HostOfServe | null = null;

  constructor(time: FastTime) {
    this.#time = time;
    chmodSync(this.directory, 0o711);
    for (const name of ['scratch', 'state']) mkdirSync(this.path(name));
    time.over.addEventListener('abort', () => this.#stop.abort(new Error('the time is over')));
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  write(name: string, text: string): void {
    writeFileSync(this.path(name), text);
  }

  /** The machine's signal: for what it gathers over time. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** As SIGTERM does. */
  stop(): void {
    this.#stop.abort(new Error('got SIGTERM'));
  }

  /**
   * Reads the plan in `holdfast.yaml`.
   * @param created whether its vaults are made, as old as the virtual time
   */
  async open({ created = true } = {}): Promise<HostOfServe> {
    const environment = {
      ...process.env,
      HOLDFAST_SCRATCH: this.path('scratch'),
      HOLDFAST_STATE: this.path('state'),
    };
    const say = (line: string): void => {
      this.lines.push(`${this.#time.now().toISOString().slice(11, 16)} ${line}`);
    };
    const machine: Machine = {
      environment,
      directory: this.directory,
      signal: this.#stop.signal,
      log: { debug: () => undefined, info: say, warn: (line) => say(`warning: ${line}`) },
      progress: { stage: () => undefined, advance: () => undefined },
      secrets: new SecretKeeper(variablesOf(environment, this.directory)),
      clock: this.#time.clock,
    };
    this.#host = await HostOfServe.open(machine, this.path('holdfast.yaml'));
    const { plan, vault } = this.#host.environment();
    for (const name of created ? Object.keys(plan.plan.vaults) : [])
      await createVaultIdentity(vault(name), { plan: plan.plan.name, id: name, created: this.#time.now() });
    return this.#host;
  }

  /** Runs to the end of the time, or until it is stopped. The vaults' clock is the virtual one too. */
  async run(host: HostOfServe, jobs: Partial<ServeJobs> = {}): Promise<void> {
    const timed: ServeHost = {
      environment: () => this.timed(host.environment()),
      inRun: (act) => host.inRun((environment) => act(this.timed(environment))),
      reread: () => host.reread(),
    };
    await serve(timed, {
      jobs: { watch: async () => undefined, retain: async () => null, replicate: async () => null, ...jobs },
      pacer: this.#time.pacer,
      signal: this.#stop.signal,
    });
  }

  environment(): JobEnvironment {
    if (!this.#host) throw new Error('not open');
    return this.#host.environment();
  }

  timed(environment: JobEnvironment): JobEnvironment {
    const now = async (): Promise<Date> => this.#time.now();
    const vault = (name: string): Vault =>
      new Proxy(environment.vault(name), {
        get: (target, property) => {
          if (property === 'now') return now;
          const value: unknown = Reflect.get(target, property, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    return { ...environment, vault };
  }

  async ledger(source: string, vault = 'here'): Promise<LedgerEntry[]> {
    const entries: LedgerEntry[] = [];
    for await (const entry of readLedger(this.environment().vault(vault), source)) entries.push(entry);
    return entries;
  }

  async close(): Promise<void> {
    await this.#host?.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** `02:15 failed source-unreachable`: an entry in few words. */
export function brief({ at, event, details }: LedgerEntry): string {
  const more = event === 'failed' ? ` ${details['code']}` : event === 'backup' ? ` ${details['trigger']}` : '';
  return `${at.slice(11, 16)} ${event}${more}`;
}
