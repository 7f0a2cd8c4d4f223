import type { OpenBackup, RunContext } from '#core/ports';
import type { Fingerprint } from '#engines/postgres/fingerprint';
import type { Target } from '#engines/postgres/target';

/** What a restore works with. */
export interface Restoring {
  readonly backup: OpenBackup;
  readonly fingerprint: Fingerprint;
  readonly target: Target;
  readonly overwrite: boolean;
  readonly warnings: string[];
  readonly run: RunContext;
}

/** The first few, and how many more. */
export function listed(texts: readonly string[]): string {
  const more = texts.length - 10;
  return `${texts.slice(0, 10).join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
}
