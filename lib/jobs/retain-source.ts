import { HoldfastError } from '#core/errors';
import type { SourceHistory } from '#core/history';
import { isoTime } from '#core/manifest';
import type { Vault } from '#core/ports';
import { type Decision, decide, type Retention, setAside } from '#core/retention';
import { removalOrder } from '#core/retention-chains';
import { byTime, countsAsProven, type RetentionInput } from '#core/retention-input';
import { acknowledgedBackups } from '#jobs/acknowledged-backups';
import { givenUpSince } from '#jobs/copies-held';
import type { JobEnvironment } from '#jobs/environment';
import { releaseLoudly } from '#jobs/held-vault';
import { type Holds, holdsOf } from '#jobs/holds';
import { type Applying, giveUp, type How } from '#jobs/retain-apply';
import type { SourceFacts } from '#jobs/retain-facts';
import { clearLeftovers } from '#jobs/retain-leftovers';
import { renewLocks } from '#jobs/retain-locks';
import type { Cleared, RetainDecision, Retained, RetainRequest, Stopped } from '#jobs/retain-result';
import { byRecords, type Survey, type Surveyed, surveyOf } from '#jobs/retain-survey';
import { historyOf } from '#jobs/source-history';
import { acquireLease, type Lease } from '#vault/lease';

/** How long a store may take to remove what was marked, and a killed run to be followed by the next. */
const GIVEN_UP_DAYS = 30;
const DAY_MILLISECONDS = 86_400_000;

/**
 * One source in one vault.
 * @throws Busy another run of retention is at work; and whatever the vault answers while it is looked at
 */
export async function retainSource(
  vault: Vault,
  source: string,
  request: RetainRequest,
  facts: SourceFacts,
  environment: JobEnvironment,
): Promise<Retained> {
  const { run, holder, isGone } = environment;
  if (request.dryRun) return foreseen(vault, source, request, facts, environment);
  const lease = await acquireLease(vault, { source, job: 'retain', holder }, run.clock, isGone);
  try {
    const seen = await look(vault, source, request, facts, environment);
    const applied = await apply(seen, vault, source, lease, environment);
    return { ...applied, ...(await renewLocks(keptOf(seen), vault, source, false, environment)) };
  } finally {
    await releaseLoudly(lease, environment);
  }
}

/** What would be done. Who may look at backups need not be allowed to look at their locks: that is said, and no more. */
async function foreseen(
  vault: Vault,
  source: string,
  request: RetainRequest,
  facts: SourceFacts,
  environment: JobEnvironment,
): Promise<Retained> {
  const seen = await look(vault, source, request, facts, environment);
  const found = told(seen, vault, source);
  if (request.at) return found;
  const { renewed, notRenewed } = await renewLocks(keptOf(seen), vault, source, true, environment);
  const unknown = notRenewed.map(
    ({ reason }) => `whether locks of ${source} in ${vault.name} run out is not known: ${reason}`,
  );
  return { ...found, renewed, warnings: [...found.warnings, ...unknown] };
}

/** What is kept, and nobody has marked. */
function keptOf({ survey, retention }: Seen): Parameters<typeof renewLocks>[0] {
  const actions = new Map(retention.decisions.map(({ id, action }) => [id, action]));
  return survey.backups.flatMap((backup) => {
    const action = actions.get(backup.id);
    return action === undefined || action === 'remove' ? [] : [{ backup, action }];
  });
}

/** All that was read, and what was decided on it. */
interface Seen {
  readonly survey: Survey;
  readonly retention: Retention;
  readonly newest: Surveyed | null;
  readonly history: SourceHistory;
  /** What retention gave up lately; null = nobody had to know so far. */
  readonly given: ReadonlySet<string> | null;
  readonly marking: ReadonlySet<string>;
  readonly markingProofs: boolean;
  /** Marked before; the store removes them. */
  readonly marked: readonly Surveyed[];
  readonly warnings: readonly string[];
}

async function look(
  vault: Vault,
  source: string,
  request: RetainRequest,
  facts: SourceFacts,
  environment: JobEnvironment,
): Promise<Seen> {
  const { run, plan } = environment;
  const now = run.clock.now();
  const listed = await surveyOf(vault, source);
  const found = await historyOf(source, environment);
  const holds = await holdsOf(source, environment, found);
  const marking = await markingTiers(vault, source, listed);
  const given = marking.size > 0 ? await givenUpLately(vault, source, now) : null;
  const present = new Set(listed.backups.map(({ id }) => id));
  const acknowledged = await acknowledgedBackups(vault, source, found.history.acknowledged, present);
  const input = (survey: Survey): RetentionInput => ({
    backups: survey.backups.filter(({ id, tier }) => !(marking.has(tier) && given?.has(id))),
    unreadable: survey.unreadable,
    holds: holds.reasons,
    acknowledged,
    logs: new Map(),
    tiers: plan.plan.tiers,
    settings: facts.settings,
    zone: plan.plan.timezone,
    now: request.at ?? now,
    unchanged: new Map(Object.entries(found.history.unchanged).map(([id, at]) => [id, new Date(at)])),
    provenElsewhere: facts.provenElsewhere,
    stop: facts.stop,
    assumeFresh: request.at !== null,
  });
  const byNames = decide(input(listed));
  // Names are enough to see that nothing goes; what is acted on has to be read.
  const acts = byNames.decisions.some(({ action }) => action === 'remove');
  const survey = acts ? await byRecords(vault, listed) : listed;
  const asked = input(survey);
  const marked = survey.backups.filter((backup) => !asked.backups.includes(backup));
  const aside = setAside(asked);
  return {
    survey,
    retention: acts ? decide(asked) : byNames,
    newest:
      (asked.backups as readonly Surveyed[])
        .filter((backup) => countsAsProven(backup, facts.settings) && !aside.has(backup.id))
        .toSorted(byTime)
        .at(-1) ?? null,
    history: found.history,
    given,
    marking,
    markingProofs: marking.size > 0 && (await vault.expiryMarks?.covers(`proofs/${source}/`)) === true,
    marked,
    warnings: [...survey.warnings, ...warningsOf(holds, marked)],
  };
}

/** Tiers in which the store itself ends what bears the mark. */
async function markingTiers(vault: Vault, source: string, survey: Survey): Promise<Set<string>> {
  const marking = new Set<string>();
  const tiers = new Set([...survey.backups.map(({ tier }) => tier), ...survey.leftovers.map(({ tier }) => tier)]);
  for (const tier of tiers) if (await vault.expiryMarks?.covers(`backups/${source}/${tier}/`)) marking.add(tier);
  return marking;
}

function givenUpLately(vault: Vault, source: string, now: Date): Promise<ReadonlySet<string>> {
  return givenUpSince(vault, source, new Date(now.getTime() - GIVEN_UP_DAYS * DAY_MILLISECONDS));
}

function warningsOf({ reasons, warnings }: Holds, marked: readonly Surveyed[]): string[] {
  return [
    ...warnings,
    ...marked.flatMap(({ id }) =>
      reasons.has(id) ? [`${id} was held after it was marked: the store may remove it all the same`] : [],
    ),
  ];
}

async function apply(
  seen: Seen,
  vault: Vault,
  source: string,
  lease: Lease,
  environment: JobEnvironment,
): Promise<Retained> {
  const { survey, retention } = seen;
  const decisions = new Map(retention.decisions.map((decision) => [decision.id, decision]));
  const removed = survey.backups.filter(({ id }) => decisions.get(id)?.action === 'remove');
  const anything = removed.length > 0 || seen.marked.length > 0;
  const applying: Applying = {
    vault,
    source,
    lease,
    newest: seen.newest,
    marking: seen.marking,
    markingProofs: seen.markingProofs,
    // Under the same lease: nobody has given anything up since.
    given: seen.given ?? (anything ? await givenUpLately(vault, source, environment.run.clock.now()) : new Set()),
    released: new Set(seen.history.released),
    environment,
  };
  const done = new Map<string, How>();
  const stopped: Stopped[] = [];
  const cleared: Cleared[] = [];
  try {
    for (const backup of removalOrder([...removed, ...seen.marked])) {
      const proofs = (survey.proofs.get(backup.id) ?? []).map(({ key }) => key);
      const how = await giveUp(backup, decisions.get(backup.id)?.reasons ?? [], proofs, applying);
      if (how) done.set(backup.id, how);
    }
    if (!retention.stop) cleared.push(...(await clearLeftovers(survey, seen.history, applying)));
  } catch (error) {
    if (!(error instanceof HoldfastError) || environment.run.signal.aborted) throw error;
    stopped.push({ vault: vault.name, source, code: error.code, reason: error.message, hint: error.hint });
  }
  const result = told(seen, vault, source, done);
  return { ...result, cleared, stopped: [...result.stopped, ...stopped] };
}

function told(seen: Seen, vault: Vault, source: string, done: ReadonlyMap<string, How> = new Map()): Retained {
  const { survey, retention, marked, warnings } = seen;
  const byId = new Map(survey.backups.map((backup) => [backup.id, backup]));
  const decisionOf = (decision: Decision): RetainDecision => {
    const backup = byId.get(decision.id) as Surveyed;
    return {
      source,
      vault: vault.name,
      ...decision,
      tier: backup.tier,
      kind: backup.kind,
      snapshotAt: isoTime(backup.snapshotAt),
      bytes: backup.folder.bytes,
      done: done.get(backup.id) ?? null,
    };
  };
  const { stop, heldBack } = retention;
  const isTold = stop && (heldBack > 0 || stop.why === 'clock');
  return {
    decisions: [
      ...retention.decisions,
      ...marked.map(({ id }): Decision => ({ id, action: 'remove', reasons: ['marked before; the store removes it'] })),
    ].map(decisionOf),
    cleared: [],
    renewed: [],
    notRenewed: [],
    stopped: isTold ? [stopOf(vault, source, stop, heldBack)] : [],
    warnings,
  };
}

function stopOf(vault: Vault, source: string, stop: NonNullable<Retention['stop']>, heldBack: number): Stopped {
  const kept = heldBack > 0 ? `; ${heldBack} ${heldBack === 1 ? 'backup that is' : 'backups that are'} over stay` : '';
  const hint =
    stop.why === 'clock'
      ? `set the clock (timedatectl), then run it again; was it ahead then, and is right now: holdfast status ${source}`
      : `holdfast status ${source}`;
  return { vault: vault.name, source, code: stop.why, reason: `${stop.reason}${kept}`, hint };
}
