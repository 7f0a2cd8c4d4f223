import { type Condition, type OpenAlert, PLAN_CHAIN, type Severity } from '#core/alert';
import {
  type AlertChange,
  type AlertSettings,
  alertChanges,
  DEFAULT_ESCALATE_AFTER,
  DEFAULT_REPEAT_SECONDS,
} from '#core/alert-changes';
import { scheduleKeys } from '#core/due';
import { HoldfastError } from '#core/errors';
import { isoTime } from '#core/manifest';
import { engineOf } from '#core/plan';
import type { Delivery, Vault } from '#core/ports';
import { routeOf } from '#core/severity';
import { sourceConditions } from '#core/source-conditions';
import { type VaultFacts, vaultConditions } from '#core/vault-conditions';
import { AlertChain, type OpenTrouble, troubleOf } from '#jobs/alert-chain';
import { surveyCopies } from '#jobs/copies';
import type { JobEnvironment } from '#jobs/environment';
import { type FoundHistory, historyOf, keepHistory } from '#jobs/source-history';
import { lookAtSource, type SourceLook } from '#jobs/source-look';
import { lookAtVault } from '#jobs/vault-look';
import { emptyWatchNotes, readWatchNotes, type WatchNotes, writeWatchNotes } from '#jobs/watch-notes';

export interface WatchedChange {
  readonly what: AlertChange['what'];
  readonly source: string | null;
  readonly key: string;
  readonly kind: Condition['kind'];
  readonly severity: Severity;
  readonly title: string;
  /** False: no channel took it, and the next watch tries again. */
  readonly told: boolean;
}

export interface WatchedDelivery extends Delivery {
  readonly source: string | null;
  readonly key: string;
}

export interface Watched {
  readonly healthy: boolean;
  readonly open: readonly OpenTrouble[];
  readonly changes: readonly WatchedChange[];
  readonly delivered: readonly WatchedDelivery[];
  /** Null: the plan names none, or it was kept back because somebody could not be told. */
  readonly heartbeat: Delivery | null;
  readonly warnings: readonly string[];
}

/**
 * Looks at everything, compares it with what was told, and tells what has changed: once. Made to run every few minutes,
 * on one machine or on several. A vault that is away hinders nothing: it is told, and the rest is looked at.
 */
export async function watch(
  environment: JobEnvironment,
  onLooked: (looks: readonly SourceLook[], vaults: readonly VaultFacts[]) => void = () => undefined,
): Promise<Watched> {
  const known = await readWatchNotes(environment);
  const noted = known ?? emptyWatchNotes();
  const warnings: string[] = [];
  noteWhatIsNew(noted, known === null, environment);

  const sources = Object.keys(environment.plan.plan.sources);
  const looks: SourceLook[] = [];
  for (const source of sources) looks.push(await lookAtSource(source, noted, true, environment));
  const surveyed = await withAllCopies(looks, environment, warnings);
  const planHistory = await historyOf(PLAN_CHAIN, environment);
  const vaults: VaultFacts[] = [];
  for (const name of Object.keys(environment.plan.plan.vaults))
    vaults.push(await lookAtVault(name, surveyed, true, environment));

  onLooked(surveyed, vaults);
  const telling = new Telling(surveyed, noted, environment);
  const answering = vaults.filter(({ problem }) => problem === null).map(({ name }) => environment.vault(name));
  await telling.ofPlan(vaults, planHistory, answering);
  for (const look of surveyed) await telling.ofSource(look);
  const { open, changes, delivered } = telling;

  for (const { facts, judged } of surveyed) {
    // What could not be told has to be found again.
    const allTold = changes.every(({ source, told }) => told || source !== facts.source);
    if (judged !== null && allTold) noted.judged[facts.source] = judged;
  }
  await keepAll(
    [[PLAN_CHAIN, planHistory], ...surveyed.map(({ facts, found }) => [facts.source, found] as const)],
    answering,
    environment,
    warnings,
  );
  await attempted(warnings, 'the watcher will have forgotten what it noted', () => writeWatchNotes(noted, environment));
  warnings.push(...telling.warnings);
  const everybodyTold = changes.every(({ told }) => told);
  return {
    healthy: open.length === 0,
    open,
    changes,
    delivered,
    // A watcher that cannot make itself heard must not look alive.
    heartbeat: everybodyTold && !environment.run.signal.aborted ? await environment.messenger.heartbeat() : null,
    warnings,
  };
}

/** On the first run of all, nothing is taken for new: whoever loses his notes rather rings than is silent. */
function noteWhatIsNew(noted: WatchNotes, isFirst: boolean, { plan: { plan }, run }: JobEnvironment): void {
  const seen: Record<string, string> = {};
  const now = isoTime(isFirst ? new Date(0) : run.clock.now());
  for (const [source, settings] of Object.entries(plan.sources))
    for (const name of [source, ...scheduleKeys(settings).map((key) => `${source} ${key}`)])
      seen[name] = noted.seen[name] ?? now;
  noted.seen = seen;
}

class Telling {
  readonly open: OpenTrouble[] = [];
  readonly changes: WatchedChange[] = [];
  readonly delivered: WatchedDelivery[] = [];
  readonly warnings: string[] = [];
  readonly #looks: readonly SourceLook[];
  readonly #noted: WatchNotes;
  readonly #environment: JobEnvironment;
  readonly #settings: AlertSettings;

  constructor(looks: readonly SourceLook[], noted: WatchNotes, environment: JobEnvironment) {
    const { plan } = environment.plan;
    this.#looks = looks;
    this.#noted = noted;
    this.#environment = environment;
    this.#settings = {
      severityOf: (kind) => routeOf(kind, plan),
      escalateAfter: plan.alerts?.escalateAfter ?? DEFAULT_ESCALATE_AFTER,
      repeatEverySeconds: plan.alerts?.repeatEvery?.seconds ?? DEFAULT_REPEAT_SECONDS,
    };
  }

  async ofPlan(vaults: readonly VaultFacts[], found: FoundHistory, answering: readonly Vault[]): Promise<void> {
    const chain = new AlertChain(PLAN_CHAIN, found, answering, this.#noted, this.#environment);
    const openKeys = new Set(Object.keys(chain.before().open));
    const { plan } = this.#environment.plan;
    const now = this.#environment.run.clock.now();
    const conditions = vaultConditions(vaults, plan.alerts?.storageAbove, openKeys, now);
    const unknown = new Set(vaults.filter(({ problem }) => problem !== null).map(({ name }) => name));
    await this.#tellAll(chain, PLAN_CHAIN, conditions, ({ key }) => {
      const [what, name = ''] = key.split('/');
      if (what === 'clock') return vaults.every(({ clockAheadSeconds }) => clockAheadSeconds === null);
      if (what === 'ending') return vaults.some((vault) => vault.name === name && (vault.endingRules ?? null) === null);
      return (what === 'storage' || what === 'space') && unknown.has(name);
    });
  }

  async ofSource({ facts, found, answered, away }: SourceLook): Promise<void> {
    const { source } = facts;
    const chain = new AlertChain(source, found, answered, this.#noted, this.#environment);
    const { plan } = this.#environment.plan;
    const conditions = sourceConditions(facts, plan, this.#environment.run.clock.now());
    await this.#tellAll(chain, source, conditions, ({ key }) =>
      answered.length === 0 ? true : away.size > 0 && !DECIDED_BY_ONE.has(key.split('/')[0] ?? ''),
    );
  }

  async #tellAll(
    chain: AlertChain,
    name: string,
    conditions: readonly Condition[],
    undecided: (alert: OpenAlert) => boolean,
  ): Promise<void> {
    const before = chain.before();
    const clean = conditions.map((one) => this.#redacted(one));
    const now = this.#environment.run.clock.now();
    const { changes, absentSince } = alertChanges(before, { conditions: clean, undecided }, this.#settings, now);
    this.#noted.absent[name] = { ...absentSince };
    const reached = new Set<string>();
    for (const change of changes) {
      const { alert, what } = change;
      const deliveries = await chain.tell(change, { over: overWords(change), safe: this.#safe(chain.source) });
      // Where the plan names nobody, the ledger is told.
      const told = deliveries.length === 0 || deliveries.some(({ ok }) => ok);
      this.delivered.push(...deliveries.map((one) => ({ source: chain.source, key: alert.key, ...one })));
      this.changes.push({
        what,
        source: chain.source,
        key: alert.key,
        kind: alert.kind,
        severity: alert.severity,
        title: alert.title,
        told,
      });
      if (!told) continue;
      reached.add(alert.key);
      this.warnings.push(...(await chain.writeDown(change)));
    }
    this.#addOpen(chain.source, before.open, clean, changes, reached);
  }

  #addOpen(
    source: string | null,
    before: Readonly<Record<string, OpenAlert>>,
    conditions: readonly Condition[],
    changes: readonly AlertChange[],
    reached: ReadonlySet<string>,
  ): void {
    const changed = new Map(changes.map((change) => [change.alert.key, change]));
    for (const key of new Set([...conditions.map((one) => one.key), ...Object.keys(before)])) {
      const change = changed.get(key);
      if (change?.what === 'closed') continue;
      const alert = change?.alert ?? before[key];
      const condition = conditions.find((one) => one.key === key) ?? null;
      if (alert) this.open.push(troubleOf(source, alert, condition, change === undefined || reached.has(key)));
    }
  }

  /** What runs may say was written by engines, hooks and servers. */
  #redacted(condition: Condition): Condition {
    const { redact } = this.#environment;
    return { ...condition, title: redact(condition.title), happened: redact(condition.happened) };
  }

  #safe(source: string | null): string[] {
    return this.#looks
      .filter(({ facts }) => source === null || facts.source === source)
      .flatMap((look) => safeLines(look, this.#environment));
  }
}

/** One vault that answers can say that these are over; of the others the one that is away may know better. */
const DECIDED_BY_ONE = new Set(['age', 'clock', 'rto', 'paused']);

function overWords({ alert }: AlertChange): string {
  if (alert.key.startsWith('anomaly/')) return 'It was acknowledged, or its backup is there no more.';
  if (alert.key.startsWith('proof/')) return 'A newer backup was proven since. The bad one stays what it is.';
  return 'It is over: the last look found nothing wrong with it.';
}

/** What there is to go back to, and how. */
export function safeLines({ facts, newestProven }: SourceLook, { plan: { plan } }: JobEnvironment): string[] {
  if (!newestProven) return [];
  const { source } = facts;
  const { id, vault, snapshotAt, seconds } = newestProven;
  const settings = plan.sources[source];
  const proven = seconds === null ? 'newest backup, unproven by choice' : 'newest proven backup';
  const target = settings && engineOf(settings) === 'postgres' ? 'postgres://…/new' : './restored';
  return [
    `${source}: ${proven} ${id}, of ${isoTime(snapshotAt).slice(0, 16).replace('T', ' ')} UTC, in vault ${vault}`,
    `holdfast restore ${source} --id ${id} --from ${vault} --to ${target}${seconds === null ? ' --unproven' : ''}`,
  ];
}

/** The survey of all copies, where the plan has any, instead of that of the newest alone. */
async function withAllCopies(
  looks: readonly SourceLook[],
  environment: JobEnvironment,
  warnings: string[],
): Promise<readonly SourceLook[]> {
  const survey = await surveyCopies({ sources: looks.map(({ facts }) => facts.source) }, environment);
  warnings.push(...survey.warnings);
  return looks.map((look) => {
    const states = survey.states.filter(({ source, problem }) => source === look.facts.source && problem === null);
    const copies = states.map(({ route, missing, lagSeconds, differences }) => ({
      from: route.from,
      to: route.to,
      missing: missing.length,
      oldest: missing[0]?.id ?? null,
      lagSeconds: lagSeconds ?? 0,
      limitSeconds: route.limitSeconds,
      differences,
    }));
    const own = new Set([...look.found.byVault.keys(), ...states.flatMap(({ route }) => [route.from, route.to])]);
    const away = [...survey.away].filter(([name]) => own.has(name));
    return { ...look, facts: { ...look.facts, copies }, away: new Map([...away, ...look.away]) };
  });
}

/** So that the next look reads on from here. */
async function keepAll(
  chains: readonly (readonly [string, FoundHistory])[],
  answering: readonly Vault[],
  environment: JobEnvironment,
  warnings: string[],
): Promise<void> {
  for (const [chain, { byVault, unkept }] of chains)
    for (const [name, history] of byVault) {
      const vault = answering.find((one) => one.name === name);
      if (!vault || (unkept.get(name) ?? 0) === 0 || environment.run.signal.aborted) continue;
      await attempted(warnings, `the next look reads the ledger of ${chain} again`, () =>
        keepHistory(vault, chain, history),
      );
    }
}

async function attempted(warnings: string[], otherwise: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    warnings.push(`${error.message}; ${otherwise}`);
  }
}
