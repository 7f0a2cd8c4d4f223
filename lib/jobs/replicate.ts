import { Busy, Cancelled, EXIT, type ExitCode, type HoldfastError, ThawNeeded } from '#core/errors';
import { type CopyState, type CopySurvey, surveyCopies } from '#jobs/copies';
import { CopiesInto, type CopyRun, type CopyTime, type Target } from '#jobs/copies-into';
import type { JobEnvironment } from '#jobs/environment';

/** Makes the copies that should be there and are not (`jobs/copies` finds out which). */

export interface ReplicateRequest {
  /** Empty = all. */
  readonly sources: readonly string[];
  readonly from: string | null;
  readonly to: string | null;
  readonly dryRun: boolean;
}

export interface Lag {
  readonly source: string;
  readonly from: string;
  readonly to: string;
  /** Age of the oldest backup that is missing; null when one of the vaults cannot be looked at. */
  readonly seconds: number | null;
  /** What the plan allows (`replica.lag`). */
  readonly limitSeconds: number | null;
  readonly missing: number | null;
}

export interface Replication {
  readonly copies: readonly CopyRun[];
  /** As it is after the run. */
  readonly lag: readonly Lag[];
  /** Backups that are not the same in two vaults, in words. */
  readonly differences: readonly string[];
  readonly proofs: number;
  readonly warnings: readonly string[];
  readonly exit: ExitCode;
  /** The first of what went wrong. */
  readonly error: HoldfastError | null;
}

export async function replicate(request: ReplicateRequest, environment: JobEnvironment): Promise<Replication> {
  const survey = await surveyCopies({ ...request, compareHashes: true }, environment);
  const made = await copyMissing(survey, environment, { dryRun: request.dryRun });
  const errors = [...made.errors];
  if (environment.run.signal.aborted)
    errors.unshift(new Cancelled('stopped while copying', { cause: environment.run.signal.reason }));
  return {
    copies: made.copies,
    lag: await lagAfter(request, survey, made.copies, environment),
    differences: made.differences,
    proofs: made.proofs,
    warnings: made.warnings,
    exit: exitOf({ ...made, errors }),
    error: errors[0] ?? null,
  };
}

/** What came of one survey's copies. */
export interface Copied {
  readonly copies: readonly CopyRun[];
  readonly differences: readonly string[];
  readonly proofs: number;
  readonly warnings: readonly string[];
  readonly errors: readonly HoldfastError[];
  /** Vaults for which everything was done. */
  readonly well: number;
}

export async function copyMissing(
  survey: CopySurvey,
  environment: JobEnvironment,
  { dryRun = false, time = null }: { readonly dryRun?: boolean; readonly time?: CopyTime | null } = {},
): Promise<Copied> {
  const copies: CopyRun[] = [];
  const errors: HoldfastError[] = [...survey.away.values()];
  const warnings = new Set(survey.warnings);
  let proofs = 0;
  let well = 0;
  for (const [target, states] of byTarget(survey.states)) {
    if (environment.run.signal.aborted) break;
    const run = new CopiesInto(target, states, survey, environment, time);
    if (dryRun) copies.push(...run.planned());
    else await run.run();
    copies.push(...run.copies);
    errors.push(...run.errors);
    proofs += run.proofs;
    if (run.errors.length === 0) well++;
    for (const warning of run.warnings) warnings.add(warning);
  }
  const differences = survey.states.flatMap((state) => state.differences);
  return { copies, differences, proofs, warnings: [...warnings], errors, well };
}

/** One lease for each source and vault that is written. */
function byTarget(states: readonly CopyState[]): Map<Target, CopyState[]> {
  const grouped = new Map<string, [Target, CopyState[]]>();
  for (const state of states) {
    if (state.problem !== null) continue;
    const key = `${state.source} ${state.route.to}`;
    const [, group] = grouped.get(key) ?? [null, []];
    grouped.set(key, [{ source: state.source, to: state.route.to }, [...group, state]]);
  }
  return new Map(grouped.values());
}

/** Looked at anew: what this run copied, another may have made meanwhile, and what is told is what is. */
async function lagAfter(
  request: ReplicateRequest,
  before: CopySurvey,
  copies: readonly CopyRun[],
  environment: JobEnvironment,
): Promise<Lag[]> {
  const copied = copies.some(({ status }) => status === 'copied');
  const { states } =
    copied && !environment.run.signal.aborted
      ? await surveyCopies({ ...request, compareHashes: false }, environment)
      : before;
  return states.map(lagOf);
}

function lagOf({ source, route, lagSeconds, missing, problem }: CopyState): Lag {
  return {
    source,
    from: route.from,
    to: route.to,
    seconds: lagSeconds,
    limitSeconds: route.limitSeconds,
    missing: problem === null ? missing.length : null,
  };
}

export function exitOf({ copies, errors, differences, well }: Copied): ExitCode {
  if (errors.length === 0) return differences.length > 0 ? EXIT.partly : EXIT.done;
  if (well > 0 || copies.some(({ status }) => status === 'copied')) return EXIT.partly;
  if (errors.every((error) => error instanceof ThawNeeded)) return EXIT.partly;
  return errors.every((error) => error instanceof Busy) ? EXIT.busy : EXIT.failed;
}
