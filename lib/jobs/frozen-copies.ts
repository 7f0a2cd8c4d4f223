import { HoldfastError, ThawNeeded } from '#core/errors';
import { AWS_CLASS } from '#core/thaw';
import type { MissingCopy } from '#jobs/copies';
import type { JobEnvironment } from '#jobs/environment';
import { archivalOf, type Frozen } from '#jobs/thaw';
import { inTurns } from '#vault/in-turns';

const AT_ONCE = 8;

/**
 * Those that nobody can make now, with why: each vault that holds the backup has it in an archive class. A thaw costs
 * money and is a person's to ask for, so they stay missing.
 */
export async function frozenCopies(
  missing: readonly MissingCopy[],
  environment: JobEnvironment,
): Promise<ReadonlyMap<MissingCopy, ThawNeeded>> {
  const found = new Map<MissingCopy, ThawNeeded>();
  await inTurns(missing, AT_ONCE, async (copy) => {
    const frozen = await frozenEverywhere(copy, environment);
    if (frozen) found.set(copy, notCopied(copy, frozen));
  });
  return found;
}

/** In the vault that is tried first; null: it can be read somewhere, or nobody knows, and then trying tells. */
async function frozenEverywhere(
  { from, manifest }: MissingCopy,
  { vault, run }: JobEnvironment,
): Promise<Frozen | null> {
  let first: Frozen | null = null;
  for (const name of from) {
    try {
      const { frozen } = await archivalOf(vault(name), manifest);
      if (!frozen) return null;
      first ??= frozen;
    } catch (error) {
      if (!(error instanceof HoldfastError) || run.signal.aborted) throw error;
      return null;
    }
  }
  return first;
}

function notCopied({ source, id, to }: MissingCopy, { vault, class: archiveClass }: Frozen): ThawNeeded {
  return new ThawNeeded(
    `${id} is not copied to ${to}: it lies in ${AWS_CLASS[archiveClass]} (${archiveClass}) in ${vault.name}, and is copied while it is thawed`,
    { source, hint: `\`holdfast restore ${source} --id ${id} --from ${vault.name} --to …\` asks for its thaw` },
  );
}
