import { hostname } from 'node:os';
import type { Telling } from '#core/alert';
import { VariableMissing } from '#core/errors';
import type { Plan } from '#core/plan';
import { loadPlan } from '#core/plan-load';
import type { Clock, Messenger, Processes } from '#core/ports';
import { redact } from '#core/secrets';
import { createProcesses } from '#host/processes';
import { PACE, type Pace, type Surroundings } from '#notify/delivery';
import { openMessenger } from '#notify/messenger';

export const HASH = 'c0ffee'.padEnd(64, '0');

/** A backup that failed in the night, told five hours later. */
export function telling(changes: Partial<Telling> = {}): Telling {
  return {
    what: 'opened',
    plan: 'archon72',
    key: 'failed',
    kind: 'failed',
    severity: 'high',
    source: 'events',
    title: 'events: backup failed 3 times in a row',
    happened: 'pg_dump ended with exit code 1: connection to server failed: Connection refused.\nIt was due at 02:00.',
    since: new Date('2026-11-21T02:00:07.412Z'),
    at: new Date('2026-11-21T07:12:30Z'),
    safe: [
      'events: 20261120T020000Z-7f3a of 2026-11-20 02:00 UTC, proven, in ssd and cloud',
      'holdfast restore events --id 20261120T020000Z-7f3a --to ./events.restored',
    ],
    next: ['holdfast check events', 'holdfast backup events'],
    told: 1,
    ledgerHead: { vault: 'ssd', source: 'events', seq: 42, sha256: HASH },
    host: 'db1',
    ...changes,
  };
}

/** @param alerts flow YAML */
export function planWith(alerts: string, more = ''): Plan {
  return loadPlan(
    `version: 1
name: archon72
encryption: none
vaults: { here: { disk: ./vault } }
tiers: { daily: { keep: 30d } }
sources: { app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }] } }
alerts: ${alerts}
${more}`,
    'holdfast.yaml',
  ).plan;
}

export interface TestMessenger extends Messenger {
  /** How long it waited between attempts, in milliseconds of its own clock. */
  readonly slept: readonly number[];
  /** Stops the run it belongs to. */
  abort(): void;
}

export interface MessengerParts {
  readonly variables?: Readonly<Record<string, string>>;
  readonly pace?: Partial<Pace>;
  readonly processes?: Processes;
  /** Else sleeping takes no time. */
  readonly clock?: Clock;
}

export interface TestSurroundings extends Surroundings {
  readonly slept: readonly number[];
  abort(): void;
}

/** A run whose clock only moves when somebody sleeps. */
export function surroundings({ variables = {}, processes, clock }: MessengerParts = {}): TestSurroundings {
  const stop = new AbortController();
  const slept: number[] = [];
  let now = Date.parse('2026-11-21T07:12:30Z');
  return {
    slept,
    abort: () => stop.abort(new Error('the test said stop')),
    signal: stop.signal,
    processes: processes ?? createProcesses(process.env, stop.signal, null),
    host: hostname(),
    clock: clock ?? {
      now: () => new Date(now),
      async sleep(milliseconds) {
        slept.push(milliseconds);
        now += milliseconds;
      },
    },
    reveal: (text) =>
      text.replace(/\$\{([^}]+)\}/g, (_whole, name: string) => {
        const value = variables[name];
        if (value === undefined) throw new VariableMissing(`the plan needs \${${name}}, and that is not set here`);
        return value;
      }),
  };
}

export function messengerOf(alerts: string, parts: MessengerParts = {}, more = ''): TestMessenger {
  const run = surroundings(parts);
  const messenger = openMessenger(planWith(alerts, more), run, {
    redact: (text) => redact(text, Object.values(parts.variables ?? {})),
    pace: { ...PACE, attemptMs: 2000, random: () => 1, ...parts.pace },
  });
  return { ...messenger, slept: run.slept, abort: run.abort };
}
