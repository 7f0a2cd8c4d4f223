import { type Condition, type OpenAlert, PLAN_CHAIN, type Telling } from '#core/alert';
import type { AlertChange, AlertsBefore } from '#core/alert-changes';
import { HoldfastError } from '#core/errors';
import type { LedgerHead } from '#core/ledger';
import { isoTime } from '#core/manifest';
import type { Delivery, Vault } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';
import type { FoundHistory } from '#jobs/source-history';
import type { WatchNotes } from '#jobs/watch-notes';
import { appendLedger } from '#vault/ledger-store';

/**
 * The alerts of one chain: of a source, or of the plan as a whole. A change is told first and written down afterwards: a
 * watcher that dies in between tells it once more, and never not at all. What reached nobody is not written down either,
 * and so is tried again by the next watch.
 */
export class AlertChain {
  readonly source: string | null;
  readonly #chain: string;
  readonly #found: FoundHistory;
  readonly #vaults: readonly Vault[];
  readonly #noted: WatchNotes;
  readonly #environment: JobEnvironment;
  #head: Telling['ledgerHead'];

  /** @param vaults those that answer; what no vault takes is kept in the notes */
  constructor(
    chain: string,
    found: FoundHistory,
    vaults: readonly Vault[],
    noted: WatchNotes,
    environment: JobEnvironment,
  ) {
    this.source = chain === PLAN_CHAIN ? null : chain;
    this.#chain = chain;
    this.#found = found;
    this.#vaults = vaults;
    this.#noted = noted;
    this.#environment = environment;
    this.#head = null;
    for (const [vault, { seq, sha256 }] of found.byVault)
      if (sha256 !== null && this.#head === null) this.#head = { vault, source: chain, seq, sha256 };
  }

  /** What was told before, as ledgers and notes say together: of each alert the newest word. */
  before(): AlertsBefore {
    const { alerts, alertChanges } = this.#found.history;
    const unwritten = this.#noted.unwritten[this.#chain] ?? { open: {}, changedAt: {} };
    const open: Record<string, OpenAlert> = { ...alerts };
    const changedAt: Record<string, string> = { ...alertChanges };
    for (const [key, at] of Object.entries(unwritten.changedAt)) {
      if (changedAt[key] !== undefined && changedAt[key] >= at) continue;
      changedAt[key] = at;
      const alert = unwritten.open[key];
      if (alert) open[key] = alert;
      else delete open[key];
    }
    return { open, changedAt, absentSince: this.#noted.absent[this.#chain] ?? {} };
  }

  /** @returns what became of the message; empty when the plan names nobody to tell */
  async tell(change: AlertChange, words: ChangeWords): Promise<readonly Delivery[]> {
    const { plan, run, messenger } = this.#environment;
    const { alert, condition } = change;
    return messenger.tell({
      what: change.what,
      plan: plan.plan.name,
      key: alert.key,
      kind: alert.kind,
      severity: alert.severity,
      also: change.also,
      source: this.source,
      title: alert.title,
      happened: condition?.happened ?? words.over,
      since: new Date(alert.since),
      at: run.clock.now(),
      safe: words.safe,
      next: condition?.next ?? [],
      told: alert.told,
      ledgerHead: this.#head,
      host: run.host,
    });
  }

  /** @returns why it is not written in every vault that answers */
  async writeDown({ what, alert }: AlertChange): Promise<readonly string[]> {
    const { run, redact } = this.#environment;
    const event = what === 'opened' ? 'alert-opened' : what === 'closed' ? 'alert-closed' : 'alert-repeated';
    const details =
      what === 'closed'
        ? { key: alert.key, since: alert.since, toldAt: isoTime(run.clock.now()) }
        : { ...alert, title: redact(alert.title) };
    const failed: string[] = [];
    for (const vault of this.#vaults) {
      try {
        const fields = { event, id: null, manifest: null, host: run.host, details } as const;
        const { seq, sha256 } = await appendLedger(vault, this.#chain, fields, run.clock);
        if (this.#head === null || this.#head.vault === vault.name) this.#head = this.#headOf(vault, { seq, sha256 });
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        failed.push(`${alert.key} is not written into vault ${vault.name}: ${error.message}`);
      }
    }
    if (failed.length === this.#vaults.length) this.#note(what === 'closed' ? null : alert, alert.key);
    return failed;
  }

  #headOf(vault: Vault, head: LedgerHead): Telling['ledgerHead'] {
    return { vault: vault.name, source: this.#chain, ...head };
  }

  #note(alert: OpenAlert | null, key: string): void {
    const unwritten = this.#noted.unwritten[this.#chain] ?? { open: {}, changedAt: {} };
    unwritten.changedAt[key] = isoTime(this.#environment.run.clock.now());
    if (alert) unwritten.open[key] = alert;
    else delete unwritten.open[key];
    this.#noted.unwritten[this.#chain] = unwritten;
  }
}

export interface ChangeWords {
  /** What a closed alert says instead of what happened. */
  readonly over: string;
  readonly safe: readonly string[];
}

/** One that is open, for who reads the result. */
export interface OpenTrouble extends Omit<OpenAlert, 'toldAt' | 'told'> {
  readonly source: string | null;
  readonly happened: string | null;
  readonly next: readonly string[];
  /** Null: nobody was reached yet. */
  readonly toldAt: string | null;
  readonly told: number;
}

export function troubleOf(
  source: string | null,
  alert: OpenAlert,
  condition: Condition | null,
  reached: boolean,
): OpenTrouble {
  return {
    ...alert,
    source,
    happened: condition?.happened ?? null,
    next: condition?.next ?? [],
    toldAt: reached ? alert.toldAt : null,
    told: reached ? alert.told : alert.told - 1,
  };
}
