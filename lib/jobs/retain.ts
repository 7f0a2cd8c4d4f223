import { formatSeconds } from '#core/duration';
import { Busy, HoldfastError, PartlyDone, UsageError } from '#core/errors';
import type { Vault } from '#core/ports';
import { CLOCK_TOLERANCE_MILLISECONDS } from '#core/retention';
import { sourcesIn } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { factsFor } from '#jobs/retain-facts';
import type {
  Cleared,
  NotRenewed,
  Renewed,
  RetainDecision,
  Retained,
  RetainRequest,
  Stopped,
} from '#jobs/retain-result';
import { retainSource } from '#jobs/retain-source';
import { readVaultIdentity } from '#vault/identity';

/**
 * Decides about every backup of the sources in every vault (I5), and removes what is given up, vault by vault. What goes
 * wrong with one vault or source is told by `stopped` and costs the others nothing.
 * @throws UsageError no such vault or source
 */
export async function retain(request: RetainRequest, environment: JobEnvironment): Promise<Retained> {
  const { plan } = environment.plan;
  if (request.vault !== null && !Object.hasOwn(plan.vaults, request.vault))
    throw new UsageError(`no vault "${request.vault}" in the plan, want one of ${Object.keys(plan.vaults).join(', ')}`);
  const decisions: RetainDecision[] = [];
  const cleared: Cleared[] = [];
  const stopped: Stopped[] = [];
  const renewed: Renewed[] = [];
  const notRenewed: NotRenewed[] = [];
  const warnings = new Set<string>();
  const found = new Set(Object.keys(plan.sources));
  const facts = factsFor(request, environment);
  const stopAt = (vault: string, source: string | null, error: unknown): void => {
    if (!(error instanceof HoldfastError) || environment.run.signal.aborted) throw error;
    stopped.push({ vault, source, code: error.code, reason: error.message, hint: error.hint });
  };
  let reached = 0;
  for (const name of request.vault === null ? Object.keys(plan.vaults) : [request.vault]) {
    let vault: Vault;
    let there: readonly string[];
    try {
      vault = environment.vault(name);
      await readVaultIdentity(vault, plan.name);
      await clocksAgree(vault, environment);
      there = await sourcesIn(vault);
      reached++;
    } catch (error) {
      stopAt(name, null, error);
      continue;
    }
    for (const source of there) found.add(source);
    for (const source of request.sources.length > 0 ? there.filter((one) => request.sources.includes(one)) : there) {
      try {
        const one = await retainSource(vault, source, request, await facts(source, name), environment);
        decisions.push(...one.decisions);
        cleared.push(...one.cleared);
        stopped.push(...one.stopped);
        renewed.push(...one.renewed);
        notRenewed.push(...one.notRenewed);
        for (const warning of one.warnings) warnings.add(warning);
      } catch (error) {
        stopAt(name, source, error);
      }
    }
  }
  for (const source of request.sources)
    if (!found.has(source) && reached > 0 && stopped.length === 0)
      throw new UsageError(`no source "${source}" in the plan or its vaults, want one of ${[...found].join(', ')}`);
  return { decisions, cleared, stopped, renewed, notRenewed, warnings: [...warnings] };
}

/** The first thing that stopped it, as an error for whoever started it; null when nothing did. */
export function retainTrouble({ stopped, notRenewed, decisions }: Retained): HoldfastError | null {
  const [first, ...more] = stopped;
  if (!first) return lockTrouble(notRenewed);
  const where = first.source === null ? `vault ${first.vault}` : `${first.source} in ${first.vault}`;
  const others = more.length > 0 ? ` (and ${more.length} more)` : '';
  const message = `${where}: nothing more is removed: ${first.reason}${others}`;
  const details = { hint: first.hint ?? 'look what ails it: holdfast check', source: first.source };
  const onlyBusy = decisions.length === 0 && stopped.every(({ code }) => code === 'busy');
  return onlyBusy ? new Busy(message, details) : new PartlyDone(message, details);
}

function lockTrouble([first, ...more]: readonly NotRenewed[]): HoldfastError | null {
  if (!first) return null;
  const { vault, source, reason, hint } = first;
  const others = more.length > 0 ? ` (and of ${more.length} more)` : '';
  return new PartlyDone(`${source} in ${vault}: locks that run out could not be renewed${others}: ${reason}`, {
    hint: hint ?? 'look what ails it: holdfast check',
    source,
  });
}

/** Ages are counted by this machine's clock: one that is wrong must not end anything. */
async function clocksAgree(vault: Vault, { run }: JobEnvironment): Promise<void> {
  const apart = run.clock.now().getTime() - (await vault.now()).getTime();
  if (Math.abs(apart) <= CLOCK_TOLERANCE_MILLISECONDS) return;
  throw new PartlyDone(
    `this machine's clock is ${formatSeconds(Math.abs(apart) / 1000)} ${apart > 0 ? 'ahead of' : 'behind'} that of vault ${vault.name}: one of them is wrong`,
    { hint: 'set the clock (timedatectl), then run it again' },
  );
}
