import type { Probe } from '#core/manifest';
import type { ProbeSettings } from '#core/plan';
import type { Difference, SourceRef } from '#core/ports';
import type { Answered } from '#engines/sqlite/protocol';

export type Asked = Omit<Probe, 'answer'>;

/** The plan's probes with their defaults put in. */
export function probesOf(source: SourceRef): readonly Asked[] {
  return Object.entries(source.settings.probes ?? {}).map(([name, settings]) => ({ name, ...asked(settings) }));
}

function asked(settings: ProbeSettings): Omit<Asked, 'name'> {
  if (typeof settings === 'string') return { query: settings, expect: 'equal', severity: 'critical' };
  return { query: settings.query, expect: settings.expect ?? 'equal', severity: settings.severity ?? 'critical' };
}

export interface ProbeAnswers {
  readonly probes: readonly Probe[];
  /** Probes without an answer, those that answer differently each time, those whose expectation the source misses. */
  readonly warnings: readonly string[];
}

export function withAnswers(asked: readonly Asked[], answers: readonly Answered[]): ProbeAnswers {
  const probes: Probe[] = [];
  const warnings: string[] = [];
  for (const probe of asked) {
    const found = answers.find(({ name }) => name === probe.name);
    if (!found) throw new Error(`probe ${probe.name} was not asked`);
    if (found.answer === null)
      warnings.push(`probe ${probe.name} gave no answer and will not be compared: ${found.failed}`);
    else if (probe.expect === 'equal' && !found.stable)
      warnings.push(
        `probe ${probe.name} answers differently each time and will not be compared: give it an expect, such as { atLeast: 1 }`,
      );
    else {
      const missed = unmet(probe.expect, found.answer);
      if (missed !== null) warnings.push(`probe ${probe.name}: ${missed} in the source itself`);
      probes.push({ ...probe, answer: found.answer });
    }
  }
  return { probes, warnings };
}

/** Why an answer does not do; null = it does. `equal` is judged against the recorded answer. */
function unmet(expect: Probe['expect'], answer: Probe['answer']): string | null {
  if (expect === 'equal') return null;
  if (expect === 'present')
    return answer.some((row) => row.some((cell) => cell !== null)) ? null : 'wanted something, got nothing';
  const cell = answer[0]?.[0] ?? null;
  return cell !== null && cell.trim() !== '' && Number(cell) >= expect.atLeast
    ? null
    : `wanted at least ${expect.atLeast}, got ${cell}`;
}

/**
 * The recorded probes asked again of a restored copy.
 * @param identical the copy's bytes are the snapshot's: what a probe then misses, it misses because time went on
 */
export function probeDifferences(
  recorded: readonly Probe[],
  answers: readonly Answered[],
  identical: boolean,
): readonly Difference[] {
  return recorded.flatMap((probe): Difference[] => {
    const answer = answers.find(({ name }) => name === probe.name)?.answer ?? null;
    if (answer === null) return [`probe ${probe.name}: gives no answer in the restored copy`];
    if (probe.expect === 'equal') {
      if (JSON.stringify(answer) === JSON.stringify(probe.answer)) return [];
      const why = identical ? ' (from equal bytes: it depends on the time; give it an expect)' : '';
      return [`probe ${probe.name}: ${shown(probe.answer)}, restored ${shown(answer)}${why}`];
    }
    // What the source did not fulfil itself says nothing about the backup.
    if (identical || unmet(probe.expect, probe.answer) !== null) return [];
    const missed = unmet(probe.expect, answer);
    return missed === null ? [] : [`probe ${probe.name}: ${missed} in the restored copy`];
  });
}

function shown(answer: Probe['answer']): string {
  return JSON.stringify(answer).slice(0, 120);
}
