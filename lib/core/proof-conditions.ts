import type { Condition, Severity } from '#core/alert';
import { isoTime, timeOfId } from '#core/manifest';
import type { Plan } from '#core/plan';
import type { ProofState } from '#core/proof';
import { routeOf } from '#core/severity';

/** What is known of the proofs of one source. */
export interface ProofFacts {
  readonly source: string;
  /** Backups younger than the newest proven one whose proof was tried, oldest first. */
  readonly unproven: readonly TriedProof[];
  /** Found bad since the newest proven backup: older ones, and copies of what is whole in another vault. */
  readonly disproven: readonly { readonly id: string; readonly vaults: readonly string[] }[];
  /** Manifests and proofs that were edited or damaged: they do not count. */
  readonly invalid: readonly { readonly id: string; readonly message: string }[];
}

export interface TriedProof {
  readonly id: string;
  readonly snapshotAt: Date;
  readonly proof: ProofState;
  /** In the proof's words; null when its record was not read. */
  readonly reason: string | null;
  /** Where only probes differ: the worst of theirs. */
  readonly severity: Severity | null;
}

/** What is wrong with what was proven, or was not. */
export function* proofConditions(
  { source, unproven, disproven, invalid }: ProofFacts,
  plan: Plan,
): Iterable<Condition> {
  const tried = unproven.filter(({ proof }) => proof === 'disproven' || proof === 'inconclusive');
  const [first, last] = [tried[0], tried.at(-1)];
  if (first && last) {
    const bad = tried.filter(({ proof }) => proof === 'disproven');
    const worst = bad.at(-1) ?? last;
    const because = worst.reason === null ? '' : `: ${worst.reason}`;
    const what = worst.proof === 'disproven' ? 'is disproven' : 'cannot be proven here';
    const severity = severityOfProofs(bad, plan);
    yield {
      key: 'proof',
      kind: 'proof',
      source,
      title: `${source}: newest backup ${worst.id} ${what}${because}`,
      happened: [
        worst.proof === 'disproven'
          ? `It was restored and is not equal to what its source held${because}`
          : `Something a proof needs is missing on this machine${because}. The backup may be good; nobody knows.`,
        ...(tried.length > 1
          ? [`None of the ${tried.length} backups since ${isoTime(first.snapshotAt)} that were tried is proven.`]
          : []),
      ].join('\n'),
      since: first.snapshotAt,
      count: tried.length,
      ...(severity === null ? {} : { severity }),
      next: [`holdfast prove ${source} --id ${worst.id}`, 'holdfast check'],
    };
  }
  for (const { id, vaults } of disproven)
    yield {
      key: `proof/${id}`,
      kind: 'proof',
      source,
      title: `${source}: backup ${id} is disproven in ${vaults.join(', ')}`,
      happened: `The copy in ${vaults.join(' and ')} is not what was backed up: its bytes changed, or it does not restore any more. Others of its age in the same place may have gone the same way.`,
      since: timeOfId(id),
      next: [
        `holdfast prove ${source} --id ${id} --stored`,
        `when you know of it: holdfast ack ${source} --id ${id} --reason "…"`,
      ],
    };
  for (const { id, message } of invalid)
    yield {
      key: `record/${id}`,
      kind: 'proof',
      source,
      title: `${source}: a record of backup ${id} does not count: ${message}`,
      happened: `${message}\nNobody but Holdfast writes these records, and none is ever written twice.`,
      since: timeOfId(id),
      next: [`holdfast ledger verify ${source}`],
    };
}

/**
 * Null: the plan's route decides. Disproven by probes alone, theirs does. What is only inconclusive is no evidence of
 * loss, and wakes nobody at night; `age` will, when it lasts.
 */
function severityOfProofs(disproven: readonly TriedProof[], plan: Plan): Severity | null {
  const newest = disproven.at(-1);
  if (newest) return newest.severity;
  return routeOf('proof', plan) === 'critical' ? 'high' : null;
}
