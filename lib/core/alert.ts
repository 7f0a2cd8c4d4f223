import * as z from 'zod';
import type { LedgerHead } from '#core/ledger';

/** What can be wrong, by the plan's own words for it (`alerts.routes`). */
export const ALERT_KINDS = ['failed', 'proof', 'anomaly', 'storage', 'age', 'replication'] as const;
export type AlertKind = (typeof ALERT_KINDS)[number];

export const SEVERITIES = ['medium', 'high', 'critical'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** Where each kind goes when the plan's `alerts.routes` does not say (DESIGN section 9). */
export const DEFAULT_ROUTES: Readonly<Record<AlertKind, Severity>> = {
  failed: 'high',
  proof: 'critical',
  anomaly: 'medium',
  storage: 'medium',
  age: 'high',
  replication: 'medium',
};

/**
 * The chain of what concerns the plan or a vault as a whole (`ledger/_plan/`): a name no source can have, as those
 * begin with a letter or a digit.
 */
export const PLAN_CHAIN = '_plan';

/** Something that is wrong now. The same trouble has the same key at each look. */
export interface Condition {
  /** `age`, `failed`, `proof/20261121T020000Z-7f3a`, `storage/ssd`: unique within its source, or within the plan. */
  readonly key: string;
  readonly kind: AlertKind;
  /** Null: it concerns a vault or the plan as a whole. */
  readonly source: string | null;
  /** One line: `events: no proven backup for 31h, its RPO is 26h`. Never a secret. */
  readonly title: string;
  /** What happened, in sentences. */
  readonly happened: string;
  readonly since: Date;
  /** A severity of its own, from a probe; else the kind's route decides. */
  readonly severity?: Severity;
  /** What the reader should do: commands, one a line. */
  readonly next: readonly string[];
  /** How often it has happened since it began, where it happens again and again: failed runs. */
  readonly count?: number;
}

/** An alert that was opened and not closed, as the ledger remembers it. */
export const openAlert = z.strictObject({
  key: z.string(),
  kind: z.enum(ALERT_KINDS),
  severity: z.enum(SEVERITIES),
  title: z.string(),
  /** Since when the trouble is there. */
  since: z.iso.datetime(),
  /** When it was last told. */
  toldAt: z.iso.datetime(),
  /** How many times it has been told, the first included. */
  told: z.int().min(1),
  escalated: z.boolean(),
  /** It came back within a day of its end: it flaps, and is not called over before it was quiet for a while. */
  flaps: z.boolean().exactOptional(),
  /** Somebody has said that they know (`holdfast ack`): it is not repeated any more. */
  acknowledged: z.boolean(),
});
export type OpenAlert = z.output<typeof openAlert>;

/** One message to people. `core/message` puts it into words for a channel. */
export interface Telling {
  readonly what: 'opened' | 'repeated' | 'escalated' | 'closed' | 'test';
  readonly plan: string;
  readonly key: string;
  readonly kind: AlertKind;
  readonly severity: Severity;
  /** Severities whose channels hear of it too: those that were told before it was escalated. */
  readonly also?: readonly Severity[];
  readonly source: string | null;
  readonly title: string;
  readonly happened: string;
  readonly since: Date;
  readonly at: Date;
  /** What is still safe: the newest proven backups, and how each is restored. */
  readonly safe: readonly string[];
  readonly next: readonly string[];
  /** Times it was told, this one included. */
  readonly told: number;
  /** So that a reader can later prove that the ledger was cut (I15). Null when no ledger could be read. */
  readonly ledgerHead: ({ readonly vault: string; readonly source: string } & LedgerHead) | null;
  /** The machine that speaks. */
  readonly host: string;
}
