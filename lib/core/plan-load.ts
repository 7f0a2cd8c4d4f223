import { PlanInvalid } from '#core/errors';
import { sha256Hex } from '#core/manifest';
import { type Plan, planSchema } from '#core/plan';
import { type PlanDocument, type Position, readPlanDocument } from '#core/plan-document';
import { problemsOf, wantOf } from '#core/plan-issues';
import { type PlanPath, type PlanProblem, pathText } from '#core/plan-problem';
import { ruleProblems } from '#core/plan-rules';

/** A plan that can be worked by, and the text it came from. */
export interface LoadedPlan {
  readonly plan: Plan;
  /** What the file says, before any default was put in: pieces are cut out of it. */
  readonly value: unknown;
  /** As it stands in the file, secrets unresolved: what goes into `plans/<sha256>.yaml`. */
  readonly text: string;
  readonly sha256: string;
  readonly file: string;
  /** Where a part of the plan stands, for messages: `holdfast.yaml:14:9`. */
  at(path: PlanPath): string;
}

/**
 * Reads a plan. `file` is what messages call it.
 * @throws PlanInvalid with everything that is wrong, a line each, in the order of the file; no secret in any of them
 */
export function loadPlan(text: string, file: string): LoadedPlan {
  const document = readPlanDocument(text);
  if (!('value' in document)) {
    throw invalid(
      document.map(({ got, want, ...where }) => ({ where, text: `got ${got}, want ${want}` })),
      file,
    );
  }
  const parsed = planSchema.safeParse(document.value, { error: wantOf });
  if (!parsed.success) {
    throw refused(
      parsed.error.issues.flatMap((issue) => problemsOf(issue, document.value)),
      document,
      file,
    );
  }
  const problems = ruleProblems(parsed.data);
  if (problems.length > 0) throw refused(problems, document, file);
  return {
    plan: parsed.data,
    value: document.value,
    text,
    sha256: sha256Hex(text),
    file,
    at: (path) => pointed(file, document.at(path)),
  };
}

function refused(problems: readonly PlanProblem[], document: PlanDocument, file: string): PlanInvalid {
  return invalid(
    problems.map(({ path, got, want, atKey }) => ({
      where: atKey ? document.atKey(path) : document.at(path),
      text: `${pathText(path)}: got ${got}, want ${want}`,
    })),
    file,
  );
}

function invalid(found: readonly { where: Position; text: string }[], file: string): PlanInvalid {
  const sorted = [...found].sort((a, b) => a.where.line - b.where.line || a.where.column - b.where.column);
  const lines = [...new Set(sorted.map(({ where, text }) => `${pointed(file, where)} ${text}`))];
  return new PlanInvalid(lines.join('\n'), {
    at: sorted[0] ? pointed(file, sorted[0].where) : file,
    hint: `correct ${file}, then run: holdfast check`,
  });
}

function pointed(file: string, { line, column }: Position): string {
  return `${file}:${line}:${column}`;
}
