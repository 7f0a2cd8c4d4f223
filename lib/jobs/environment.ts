import type { LoadedPlan } from '#core/plan-load';
import type { Messenger, Notes, RunContext, SourceRef, StreamingEngine, Vault } from '#core/ports';
import type { Intents } from '#jobs/hooks';
import type { Holder } from '#vault/lease';

/** What a host gives a job: everything it may touch of the world outside. */
export interface JobEnvironment {
  readonly plan: LoadedPlan;
  readonly run: RunContext;
  /** By its name in the plan; opened once. */
  vault(name: string): Vault;
  /** The source with its relative paths made absolute. */
  source(name: string): SourceRef;
  engine(source: SourceRef): StreamingEngine;
  /** The age identity in a file, or null where the plan names none. Throws `KeysMissing` when it names one that is absent. */
  identity(): Promise<{ readonly file: string } | null>;
  /** Who holds the leases this process takes. */
  readonly holder: Holder;
  /** Whether a holder is a process of this very machine that has ended. */
  isGone(holder: Holder): boolean;
  readonly intents: Intents;
  /** Who is told, as the plan's `alerts` says. */
  readonly messenger: Messenger;
  /** What this machine remembers of the plan between runs. Nothing that cannot be found out again. */
  readonly notes: Notes;
  /** Takes out every secret that was revealed: for words that are written into a vault (I7). */
  redact(text: string): string;
}
