import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '#core/errors';
import type { LoadedPlan } from '#core/plan-load';
import { checkedPlan } from '#core/plan-value';
import { variablesOfHeartbeat, variablesOfVaults } from '#core/plan-variables';
import type { Clock, Delivery, Log, Messenger, Processes, RunContext, Vault } from '#core/ports';
import { redact, reveal } from '#core/secrets';
import { BUNDLED_PLAN } from '#core/settings';
import { seenFromAws } from '#core/where';
import { machineClock } from '#host/clock';
import type { PlanSecrets } from '#host/secrets-manager-names';
import { vaultNotes } from '#host/vault-notes';
import type { JobEnvironment } from '#jobs/environment';
import { PACE } from '#notify/delivery';
import { beat } from '#notify/heartbeat';
import { printableHost } from '#notify/secret-url';
import { openBucket } from '#vault/open-bucket';

/** The plan of the deployment, as AWS sees it. Its text and hash are those of the whole. */
export function bundledPlan(directory: string): LoadedPlan {
  const { text, value } = JSON.parse(readFileSync(join(directory, BUNDLED_PLAN), 'utf8')) as {
    readonly text: string;
    readonly value: unknown;
  };
  const whole = checkedPlan(value, text, 'holdfast.yaml');
  return { ...whole, plan: seenFromAws(whole.plan) };
}

export interface FunctionWorldOptions {
  /** As people know the function: `shop-watch`. */
  readonly name: string;
  readonly requestId: string;
  readonly log: Log;
  /** Fires a little before Lambda would end it. */
  readonly signal: AbortSignal;
  readonly secrets: Pick<PlanSecrets, 'values'>;
  /** Null: this function tells nobody. */
  readonly messenger: ((own: OwnVoice) => Messenger) | null;
  readonly clock?: Clock;
}

export interface OwnVoice {
  redact(text: string): string;
  heartbeat(): Promise<Delivery | null>;
}

/**
 * What a Lambda function gives a job: vaults and ledgers, people to tell, and no children, engines or keys: what it was
 * not given it cannot use.
 */
export async function openFunctionWorld(plan: LoadedPlan, options: FunctionWorldOptions): Promise<JobEnvironment> {
  const { name, requestId, log, signal, secrets } = options;
  const values = await secrets.values(
    options.messenger === null
      ? variablesOfVaults(plan.plan)
      : [...new Set([...variablesOfVaults(plan.plan), ...variablesOfHeartbeat(plan.plan)])],
  );
  const clean = (text: string): string => redact(text, values.values());
  const host = `lambda:${name}`;
  const run: RunContext = {
    processes: noProcesses,
    clock: options.clock ?? machineClock,
    log: {
      debug: (message) => log.debug(clean(message)),
      info: (message) => log.info(clean(message)),
      warn: (message) => log.warn(clean(message)),
    },
    progress: { stage: () => undefined, advance: () => undefined },
    scratch: '/tmp',
    signal,
    reveal: (text) => reveal(text, (variable) => values.get(variable)),
    host,
  };
  const opened = new Map<string, Vault>();
  const vault = (asked: string): Vault => {
    const known = opened.get(asked);
    if (known) return known;
    const settings = plan.plan.vaults[asked];
    if (!settings || !('s3' in settings))
      throw new UsageError(
        `no vault "${asked}" in AWS's part of the plan, want one of ${Object.keys(plan.plan.vaults)}`,
      );
    const made = openBucket(asked, settings, { reveal: run.reveal });
    opened.set(asked, made);
    return made;
  };
  return {
    plan,
    run,
    vault,
    source(asked) {
      const settings = plan.plan.sources[asked];
      if (!settings)
        throw new UsageError(
          `no source "${asked}" in AWS's part of the plan, want one of ${Object.keys(plan.plan.sources).join(', ')}`,
        );
      return { name: asked, settings };
    },
    engine: () => unfit('engines'),
    identity: async () => unfit('keys'),
    holder: { host: `${host}/${requestId}`, pid: 0, start: null, boot: null, namespace: null },
    isGone: () => false,
    intents: {
      directory: '/tmp',
      processes: noProcesses,
      write: async () => unfit('hooks'),
      remove: async () => unfit('hooks'),
      leave: () => unfit('hooks'),
      takeLeft: async () => ({ left: [], others: [] }),
    },
    messenger: options.messenger?.({ redact: clean, heartbeat: () => heartbeat(plan, run, clean) }) ?? silentMessenger,
    notes: vaultNotes(Object.keys(plan.plan.vaults), vault),
    redact: clean,
  };
}

/** For hosts whose results others tell of. */
export const silentMessenger: Messenger = { tell: async () => [], heartbeat: async () => null };

async function heartbeat(
  { plan: { alerts } }: LoadedPlan,
  run: RunContext,
  clean: (text: string) => string,
): Promise<Delivery | null> {
  const address = alerts?.heartbeat;
  if (address === undefined) return null;
  const channel = `heartbeat ${printableHost(address)}`;
  try {
    await beat(address, run, PACE);
    return { channel, ok: true, error: null };
  } catch (error) {
    return { channel, ok: false, error: clean(error instanceof Error ? error.message : String(error)) };
  }
}

function unfit(what: string): never {
  throw new Error(`a function has no ${what}: this is work for a task`);
}

const noProcesses: Processes = {
  run: async () => unfit('child processes'),
  pipe: () => unfit('child processes'),
  start: () => unfit('child processes'),
  find: async () => unfit('child processes'),
};
