import { DEFAULT_ROUTES, PLAN_CHAIN, SEVERITIES, type Severity, type Telling } from '#core/alert';
import { audienceOf } from '#core/audience';
import { HoldfastError, UsageError } from '#core/errors';
import type { Delivery } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';
import { readVaultIdentity } from '#vault/identity';
import { ledgerHead } from '#vault/ledger-store';

export interface TestDelivery extends Delivery {
  /** Null: the heartbeat. */
  readonly severity: Severity | null;
}

export interface AlertTest {
  readonly deliveries: readonly TestDelivery[];
  /** Severities without a list of their own, and whose channels they go to. */
  readonly borrowed: readonly { readonly severity: Severity; readonly list: Severity }[];
}

/**
 * Sends one message of each severity to each of its channels, and one heartbeat.
 * @param severity only this one; null = all
 * @throws UsageError the plan names no channel and no heartbeat
 */
export async function testAlerts(severity: Severity | null, environment: JobEnvironment): Promise<AlertTest> {
  const { alerts } = environment.plan.plan;
  const asked = severity === null ? SEVERITIES.toReversed() : [severity];
  const audiences = asked.map((one) => ({ severity: one, list: audienceOf(alerts, one).list }));
  const head = await anyLedgerHead(environment);
  const deliveries: TestDelivery[] = [];
  for (const { severity: one, list } of audiences) {
    // Whoever is only lent for it hears of his own severity, unless asked.
    if (severity === null && list !== one) continue;
    for (const delivery of await environment.messenger.tell(testTelling(one, head, environment)))
      deliveries.push({ severity: one, ...delivery });
  }
  const heartbeat = await environment.messenger.heartbeat();
  if (heartbeat) deliveries.push({ severity: null, ...heartbeat });
  if (deliveries.length === 0)
    throw new UsageError('nobody is told: the plan names no channel and no heartbeat', {
      hint: 'alerts: { critical: [{ email: ops@example.com }] }; docs/alerts.md has them all',
    });
  const borrowed = audiences.flatMap(({ severity: one, list }) =>
    list === null || list === one ? [] : [{ severity: one, list }],
  );
  return { deliveries, borrowed };
}

function testTelling(severity: Severity, head: Telling['ledgerHead'], { plan, run }: JobEnvironment): Telling {
  const kinds = Object.entries(plan.plan.alerts?.routes ?? {});
  const routed = Object.entries({ ...DEFAULT_ROUTES, ...Object.fromEntries(kinds) })
    .filter(([, to]) => to === severity)
    .map(([kind]) => kind);
  const hears = routed.length === 0 ? 'only what is escalated or says so itself' : routed.join(', ');
  const now = run.clock.now();
  return {
    what: 'test',
    plan: plan.plan.name,
    key: `test/${severity}`,
    kind: 'failed',
    severity,
    source: null,
    title: `this is what a ${severity} alert looks like`,
    happened: `Nothing: somebody ran holdfast alerts test. By the plan this channel hears of: ${hears}.`,
    since: now,
    at: now,
    safe: [],
    next: ['Nothing, if you read this. holdfast status tells how things stand.'],
    told: 1,
    ledgerHead: head,
    host: run.host,
  };
}

/** Of the plan's own chain, else of the first source that has one; a test goes out also when no vault answers. */
async function anyLedgerHead(environment: JobEnvironment): Promise<Telling['ledgerHead']> {
  const { plan } = environment.plan;
  for (const name of Object.keys(plan.vaults)) {
    try {
      const vault = environment.vault(name);
      await readVaultIdentity(vault, plan.name);
      for (const source of [PLAN_CHAIN, ...Object.keys(plan.sources)]) {
        const head = await ledgerHead(vault, source);
        if (head) return { vault: name, source, ...head };
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      environment.run.log.debug(`no ledger head of vault ${name}: ${error.message}`);
    }
  }
  return null;
}
