import type { Decision } from '#core/retention';
import type { How } from '#jobs/retain-apply';

export interface RetainRequest {
  /** Empty = all that lie in the vaults, also those that left the plan. */
  readonly sources: readonly string[];
  /** Null = every vault of the plan. */
  readonly vault: string | null;
  /** Says what would be done, and takes no lease. */
  readonly dryRun: boolean;
  /** A look into the future; only with `dryRun`. */
  readonly at: Date | null;
}

export interface RetainDecision extends Decision {
  readonly source: string;
  readonly vault: string;
  readonly tier: string;
  readonly kind: string;
  readonly snapshotAt: string;
  readonly bytes: number;
  /** What was done about it; null: nothing, or not yet. */
  readonly done: How | null;
}

/** What is no backup and was cleared away: leftovers of failed runs, and of runs of retention that were killed. */
export interface Cleared {
  readonly source: string;
  readonly vault: string;
  readonly id: string;
  readonly tier: string;
  readonly bytes: number;
  readonly how: How;
  readonly reason: string;
}

/** Where nothing was removed, or not all, that should have been. */
export interface Stopped {
  readonly vault: string;
  /** Null: the vault as a whole. */
  readonly source: string | null;
  /** An error's code, or `clock`, `stale`, `unproven`. */
  readonly code: string;
  readonly reason: string;
  readonly hint: string | null;
}

/** A lock that was made longer, or with `dryRun` would be. */
export interface Renewed {
  readonly source: string;
  readonly vault: string;
  readonly id: string;
  readonly why: string;
  readonly until: string;
  readonly done: boolean;
}

/** Where locks that run out could not be renewed, or not all; told with the first reason. */
export interface NotRenewed {
  readonly vault: string;
  readonly source: string;
  readonly code: string;
  readonly reason: string;
  readonly hint: string | null;
}

export interface Retained {
  readonly decisions: readonly RetainDecision[];
  readonly cleared: readonly Cleared[];
  readonly stopped: readonly Stopped[];
  readonly renewed: readonly Renewed[];
  readonly notRenewed: readonly NotRenewed[];
  readonly warnings: readonly string[];
}
