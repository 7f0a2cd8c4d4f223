/** What the shell sees. The one table of exit codes (DESIGN section 8); `docs/errors.md` and `--help` print it. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  partly: 3,
  busy: 4,
  disproven: 5,
  notProvable: 6,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface ErrorDetails {
  /** What the reader should do next; one imperative sentence. */
  readonly hint?: string | null;
  /** The source of the plan that was being worked on. */
  readonly source?: string | null;
  /** Where in a file: `holdfast.yaml:14:9`. */
  readonly at?: string | null;
  readonly cause?: unknown;
}

/**
 * Base of every failure that is told to a person: what failed, the value got, what is allowed, and a hint.
 * Anything else that reaches the command line is a defect of Holdfast and is reported as such.
 */
export abstract class HoldfastError extends Error {
  /** Stable, kebab-case name for scripts. */
  abstract readonly code: string;
  readonly exit: ExitCode = EXIT.failed;
  /** Whether the same call may succeed later without anything being changed. */
  readonly retryable: boolean = false;
  hint: string | null;
  source: string | null;
  readonly at: string | null;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.hint = details.hint ?? null;
    this.source = details.source ?? null;
    this.at = details.at ?? null;
  }
}

/** The command line is wrong. */
export class UsageError extends HoldfastError {
  readonly code = 'usage';
  override readonly exit = EXIT.usage;
}

/** The plan is wrong; `at` says where. */
export class PlanInvalid extends HoldfastError {
  readonly code = 'plan-invalid';
  override readonly exit = EXIT.usage;
}

/** A part of the plan or command line that is reserved but does not work in this version. */
export class NotThereYet extends HoldfastError {
  readonly code = 'not-there-yet';
  override readonly exit = EXIT.usage;
}

/** `${NAME}` is in the plan and not in the environment. */
export class VariableMissing extends HoldfastError {
  readonly code = 'variable-missing';
  override readonly exit = EXIT.usage;
}

/** A program Holdfast stands on is not installed here. */
export class ToolMissing extends HoldfastError {
  readonly code = 'tool-missing';
}

/** A child process ended with a code, a signal or a word that means failure. */
export class CommandFailed extends HoldfastError {
  readonly code = 'command-failed';
  readonly program: string;
  readonly exitCode: number | null;
  readonly stderr: string;

  constructor(
    message: string,
    ended: { program: string; exitCode: number | null; stderr: string },
    details: ErrorDetails = {},
  ) {
    super(message, details);
    this.program = ended.program;
    this.exitCode = ended.exitCode;
    this.stderr = ended.stderr;
  }
}

/** The run was told to stop (signal, deadline). */
export class Cancelled extends HoldfastError {
  readonly code = 'cancelled';
  override readonly retryable = true;
}

/** The source does not answer: wrong host or port, server down, file absent. */
export class SourceUnreachable extends HoldfastError {
  readonly code = 'source-unreachable';
  override readonly retryable = true;
}

/** The source answers, and refuses: password, role, grant, file mode. */
export class SourceRefused extends HoldfastError {
  readonly code = 'source-refused';
}

/** Somebody else holds a lock the capture needs; names who. */
export class SourceLocked extends HoldfastError {
  readonly code = 'source-locked';
  override readonly retryable = true;
}

/** The source is of a kind or in a state that cannot be captured as the plan says. */
export class SourceUnsupported extends HoldfastError {
  readonly code = 'source-unsupported';
}

/** The capture ended without the evidence that it is whole. */
export class CaptureIncomplete extends HoldfastError {
  readonly code = 'capture-incomplete';
}

/** There is no `vault.json` where the vault should be: not mounted, or never created. */
export class VaultMissing extends HoldfastError {
  readonly code = 'vault-missing';
}

/** The vault belongs to another plan, or to a newer format. */
export class VaultForeign extends HoldfastError {
  readonly code = 'vault-foreign';
  override readonly exit = EXIT.usage;
}

/** The vault does not answer, or answers with errors, after all retries. Not the same as empty. */
export class VaultUnreachable extends HoldfastError {
  readonly code = 'vault-unreachable';
  override readonly retryable = true;
}

/** The vault answers, and refuses: credentials, read-only, policy. */
export class VaultRefused extends HoldfastError {
  readonly code = 'vault-refused';
}

/** No room is left in the vault or in the scratch directory. */
export class SpaceLacking extends HoldfastError {
  readonly code = 'space-lacking';
}

/** A key that may be written once is there already. */
export class KeyExists extends HoldfastError {
  readonly code = 'key-exists';
}

/** The key asked for is not in the vault (the vault itself answers). */
export class KeyMissing extends HoldfastError {
  readonly code = 'key-missing';
}

/** What the vault now holds is not what was sent or promised. */
export class StoredBytesDiffer extends HoldfastError {
  readonly code = 'stored-bytes-differ';
}

/** A manifest, proof, lease or ledger entry that fails its schema, its own hash or its place. */
export class RecordInvalid extends HoldfastError {
  readonly code = 'record-invalid';
}

/** No backup answers to what was asked for. */
export class BackupMissing extends HoldfastError {
  readonly code = 'backup-missing';
}

/** Somebody holds the lease; says who and since when. */
export class Busy extends HoldfastError {
  readonly code = 'busy';
  override readonly exit = EXIT.busy;
  override readonly retryable = true;
}

/** The lease was taken over while this run was working: its result may not be committed. */
export class LeaseLost extends HoldfastError {
  readonly code = 'lease-lost';
  override readonly retryable = true;
}

/** The identity given opens none of the backup's recipients. */
export class IdentityWrong extends HoldfastError {
  readonly code = 'identity-wrong';
}

/** No identity is configured where one is needed, or no recipients where something must be sealed. */
export class KeysMissing extends HoldfastError {
  readonly code = 'keys-missing';
  override readonly exit = EXIT.usage;
}

/** Restored and not equal, or not restorable although nothing lacks here. */
export class Disproven extends HoldfastError {
  readonly code = 'disproven';
  override readonly exit = EXIT.disproven;
}

/** Neither proven nor disproven: something a proof needs is missing on this machine. */
export class NotProvableHere extends HoldfastError {
  readonly code = 'not-provable-here';
  override readonly exit = EXIT.notProvable;
}

/** Only part of what was asked was done, or it is not yet possible. */
export class PartlyDone extends HoldfastError {
  readonly code = 'partly-done';
  override readonly exit = EXIT.partly;
}

/** It lies in an archive class: nothing can be read of it before its thaw, which takes hours. */
export class ThawNeeded extends HoldfastError {
  readonly code = 'thaw-needed';
  override readonly exit = EXIT.partly;
}

/** A restore would overwrite or mix with what is there. */
export class TargetNotEmpty extends HoldfastError {
  readonly code = 'target-not-empty';
}

/** The restore's target cannot be used as it is: unreachable, refused, of another major. */
export class TargetUnusable extends HoldfastError {
  readonly code = 'target-unusable';
}

/** A path in an archive, a key or an id would leave the place it belongs to. */
export class UnsafePath extends HoldfastError {
  readonly code = 'unsafe-path';
}

/** A `before` or `after` command of the plan failed. */
export class HookFailed extends HoldfastError {
  readonly code = 'hook-failed';
}

/** This machine's own directory for what outlives a run (`$HOLDFAST_STATE`) cannot be written. */
export class StateUnwritable extends HoldfastError {
  readonly code = 'state-unwritable';
}

/** AWS refused, or could not do, what a deployment's own machinery asked of it: a task, a secret's state, a function. */
export class CloudFailed extends HoldfastError {
  readonly code = 'cloud-failed';
  override readonly retryable = true;
}

/** The message of anything thrown, for use inside another message. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
