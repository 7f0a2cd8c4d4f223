import { EXIT, type ExitCode, HoldfastError, messageOf } from '#core/errors';
import { isoTime } from '#core/manifest';

/** What a command gives back: `result` for scripts, `lines` for people. */
export interface Outcome {
  readonly result: unknown;
  readonly lines: readonly string[];
  readonly exit?: ExitCode;
  readonly warnings?: readonly string[];
  readonly error?: HoldfastError | null;
  /** Texts of `result` and `lines` that hold a name we otherwise keep back (a key's id in a signed link) and must be whole. */
  readonly verbatim?: ReadonlySet<string>;
}

/** Anything thrown that nobody expected. */
export class Defect extends HoldfastError {
  readonly code = 'defect';
  constructor(thrown: unknown) {
    super(`a defect of Holdfast: ${messageOf(thrown)}`, {
      cause: thrown,
      hint: 'run it again with --debug and report what it prints',
    });
  }
}

export interface ErrorJson {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
  readonly source: string | null;
  readonly at: string | null;
}

/** The one JSON document of `--json` (DESIGN section 8). */
export interface Envelope {
  readonly holdfast: 1;
  readonly command: string;
  readonly exit: ExitCode;
  readonly at: string;
  readonly result: unknown;
  readonly warnings: readonly string[];
  readonly error: ErrorJson | null;
}

export function envelope(command: string, at: Date, outcome: Outcome): Envelope {
  const error = outcome.error ?? null;
  return {
    holdfast: 1,
    command,
    exit: outcome.exit ?? error?.exit ?? EXIT.done,
    at: isoTime(at),
    result: outcome.result,
    warnings: outcome.warnings ?? [],
    error: error && { code: error.code, message: error.message, hint: error.hint, source: error.source, at: error.at },
  };
}

/** Of several sources: 5 if any is disproven, else 1 if any failed, else 2, 6, 3, and 4 only if all the rest were busy. */
export function worstExit(exits: readonly ExitCode[]): ExitCode {
  for (const exit of [EXIT.disproven, EXIT.failed, EXIT.usage, EXIT.notProvable, EXIT.partly] as const)
    if (exits.includes(exit)) return exit;
  if (exits.includes(EXIT.busy)) return exits.every((exit) => exit === EXIT.busy) ? EXIT.busy : EXIT.partly;
  return EXIT.done;
}
