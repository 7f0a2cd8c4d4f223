import { NotProvableHere } from '#core/errors';
import { AWS_CLASS } from '#core/thaw';
import type { JobEnvironment } from '#jobs/environment';
import type { ProofRun } from '#jobs/prove';
import { type Frozen, stateWords, thawOf } from '#jobs/thaw';
import { appendLedger } from '#vault/ledger-store';

/**
 * The attempt at a backup that cannot be read without a thaw. None is asked for: it costs money, and is a person's to
 * decide. The ledger has the attempt, so that `prove: { cron }` waits for its next time; no proof record is written,
 * because nothing is known of the backup that was not known before, and nobody is to be alarmed by it.
 * @param stored `--stored`, which the ledger hears of only when something is found
 */
export async function proveArchived(frozen: Frozen, stored: boolean, environment: JobEnvironment): Promise<ProofRun> {
  const { vault, manifest } = frozen;
  const { source, id } = manifest;
  const thaw = await thawOf(frozen, environment.notes, environment.run.clock.now());
  const reason = `${id} lies in ${AWS_CLASS[frozen.class]} (${frozen.class}) in ${vault.name} and cannot be read now: ${stateWords(thaw)}`;
  if (!stored)
    await appendLedger(
      vault,
      source,
      {
        event: 'proof',
        id,
        manifest: manifest.sha256,
        host: environment.run.host,
        details: { outcome: 'inconclusive', archived: true, reason, testedIn: vault.name, seconds: 0 },
      },
      environment.run.clock,
    );
  const hint =
    thaw.state === 'needed'
      ? `\`holdfast restore ${source} --id ${id} --from ${vault.name} --to …\` asks for its thaw; for ${thaw.days} days then it can be proven too`
      : `when it is ready: holdfast prove ${source} --id ${id} --from ${vault.name}`;
  return {
    source,
    id,
    result: stored ? 'unproven' : 'inconclusive',
    reason,
    differences: [],
    seconds: 0,
    error: new NotProvableHere(reason, { source, hint }),
    warnings: [],
    archived: true,
  };
}
