import type { CopyRoute } from '#core/copy-rules';
import { Busy, Cancelled, Disproven, HoldfastError, KeyMissing, RecordInvalid, ThawNeeded } from '#core/errors';
import type { Vault } from '#core/ports';
import { type BriefError, briefly } from '#jobs/backup-run';
import type { CopyState, CopySurvey, MissingCopy } from '#jobs/copies';
import { bytesOf, copyBackup, copyPlan } from '#jobs/copy-backup';
import { copyProofs, type MissingProof, makeUpEntries, missingProofs, proofsOf, tellCopied } from '#jobs/copy-records';
import type { JobEnvironment } from '#jobs/environment';
import { releaseLoudly } from '#jobs/held-vault';
import { inTurns } from '#vault/in-turns';
import { acquireLease, type Lease, openLease } from '#vault/lease';

const JOB = 'replicate';
/** Tries of one copy, on top of those that the vault makes of each request. */
const ATTEMPTS = 4;
const FIRST_WAIT_MILLISECONDS = 1000;
const LONGEST_WAIT_MILLISECONDS = 30_000;

export interface CopyRun {
  readonly source: string;
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly bytes: number;
  readonly seconds: number;
  /** `due`: a dry run found it missing. `waiting`: the run that made the backup is still at work, and copies it itself. */
  readonly status: 'copied' | 'failed' | 'busy' | 'due' | 'waiting';
  readonly error: BriefError | null;
}

export interface Target {
  readonly source: string;
  readonly to: string;
}

/** Of a host whose time is short: what may still begin. What did not is missing as before, and nothing is told of it. */
export interface CopyTime {
  /** True: it begins now. */
  begin(copy: MissingCopy): boolean;
  /** However it ended. */
  ended(copy: MissingCopy): void;
}

/**
 * Those that a run is making this minute: while it holds the source's lease in a vault it copies what it makes into it by
 * itself, and two at one key would collide.
 */
export async function underWay(
  { source, to }: Target,
  missing: readonly MissingCopy[],
  { vault, isGone }: JobEnvironment,
): Promise<ReadonlySet<MissingCopy>> {
  if (missing.length === 0) return new Set();
  const held = await openLease(vault(to), { source, job: 'backup' }, isGone);
  if (!held?.alive) return new Set();
  return new Set(missing.filter(({ manifest }) => held.since === null || new Date(manifest.startedAt) >= held.since));
}

/** All copies of one source into one vault. */
export class CopiesInto {
  readonly copies: CopyRun[] = [];
  readonly errors: HoldfastError[] = [];
  readonly warnings = new Set<string>();
  proofs = 0;
  readonly #target: Target;
  readonly #states: readonly CopyState[];
  readonly #survey: CopySurvey;
  readonly #environment: JobEnvironment;
  readonly #to: Vault;
  readonly #time: CopyTime | null;
  readonly #done = new Set<string>();
  /** Copied, and the ledger does not say so yet. */
  readonly #untold = new Set<string>();
  #line: Promise<void> = Promise.resolve();

  constructor(
    target: Target,
    states: readonly CopyState[],
    survey: CopySurvey,
    environment: JobEnvironment,
    time: CopyTime | null = null,
  ) {
    this.#target = target;
    this.#states = states;
    this.#survey = survey;
    this.#environment = environment;
    this.#to = environment.vault(target.to);
    this.#time = time;
  }

  planned(): CopyRun[] {
    return this.#missing().map((copy) => this.#ran(copy, copy.from[0] as string, 'due', 0, null));
  }

  /** What fails is in `errors` afterwards; nothing but a defect is thrown. */
  async run(): Promise<void> {
    try {
      await this.#run();
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      error.source ??= this.#target.source;
      this.errors.push(error);
    }
  }

  async #run(): Promise<void> {
    const { run, holder, isGone } = this.#environment;
    const { source } = this.#target;
    const missing = await this.#withoutThoseUnderWay(this.#missing());
    const records = await missingProofs(source, this.#routes(), this.#to, this.#survey, this.#environment);
    const died = await openLease(this.#to, { source, job: JOB }, isGone);
    // Nothing to do takes no lease: it would leave two objects at each look.
    if (missing.length === 0 && records.length === 0 && died === null) return;
    let lease: Lease;
    try {
      lease = await acquireLease(this.#to, { source, job: JOB, holder }, run.clock, isGone);
    } catch (error) {
      if (!(error instanceof Busy)) throw error;
      for (const copy of missing) this.copies.push(this.#ran(copy, copy.from[0] as string, 'busy', 0, error));
      throw error;
    }
    try {
      if (lease.takenOver) await makeUpEntries(source, this.#routes(), this.#to, this.#survey, this.#environment);
      await this.#copyAll(missing, lease);
      await this.#copyProofs(records);
    } finally {
      // A lease that is not given back makes the next run look for copies without an entry.
      if (this.#untold.size > 0) lease.abandon();
      else await releaseLoudly(lease, this.#environment);
    }
  }

  #missing(): MissingCopy[] {
    return (
      this.#states
        .flatMap(({ missing }) => missing)
        // What others need goes first, then the oldest.
        .sort((a, b) => Number(a.manifest.base !== null) - Number(b.manifest.base !== null) || (a.id < b.id ? -1 : 1))
    );
  }

  #routes(): readonly CopyRoute[] {
    return this.#states.map(({ route }) => route);
  }

  async #withoutThoseUnderWay(missing: readonly MissingCopy[]): Promise<MissingCopy[]> {
    const waiting = await underWay(this.#target, missing, this.#environment);
    for (const copy of waiting) this.copies.push(this.#ran(copy, copy.from[0] as string, 'waiting', 0, null));
    return missing.filter((copy) => !waiting.has(copy));
  }

  async #copyAll(missing: readonly MissingCopy[], lease: Lease): Promise<void> {
    if (missing.length === 0) return;
    const { run } = this.#environment;
    const { source, to } = this.#target;
    const total = missing.reduce((sum, { manifest }) => sum + bytesOf(manifest), 0);
    run.progress.stage(`copying ${missing.length} of ${source} to ${to}`, total);
    for (const [, copy] of new Map(missing.map((one) => [one.manifest.plan.sha256, one])))
      await copyPlan(copy.manifest, this.#environment.vault(copy.from[0] as string), this.#to);
    const concurrent = Math.max(...this.#routes().map((route) => route.concurrent));
    const fulls = missing.filter(({ manifest }) => manifest.base === null);
    const others = missing.filter(({ manifest }) => manifest.base !== null);
    for (const group of [fulls, others])
      await inTurns(group, concurrent, async (copy) => {
        if (run.signal.aborted || lease.lost.aborted) return;
        if (this.#time === null) await this.#copyOne(copy, lease);
        else await this.#copyInTime(copy, lease, this.#time);
      });
    if (lease.lost.aborted) throw lease.lost.reason;
  }

  async #copyOne(copy: MissingCopy, lease: Lease): Promise<void> {
    const { run } = this.#environment;
    const startedAt = run.clock.now();
    const seconds = (): number => Math.round((run.clock.now().getTime() - startedAt.getTime()) / 100) / 10;
    let from = copy.from[0] as string;
    try {
      this.#refuseWithoutBase(copy);
      from = await this.#fromFirstGood(copy, lease, (name) => {
        from = name;
      });
      this.#done.add(copy.id);
      this.copies.push(this.#ran(copy, from, 'copied', seconds(), null));
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      error.source ??= copy.source;
      this.errors.push(error);
      this.copies.push(this.#ran(copy, from, 'failed', seconds(), error));
    }
  }

  async #copyInTime(copy: MissingCopy, lease: Lease, time: CopyTime): Promise<void> {
    // Its full had no time, or failed: it is left with it.
    if (this.#lacksBase(copy) || !time.begin(copy)) return;
    try {
      await this.#copyOne(copy, lease);
    } finally {
      time.ended(copy);
    }
  }

  #lacksBase({ manifest: { base }, source }: MissingCopy): boolean {
    return base !== null && !this.#done.has(base) && !this.#survey.holds(source, this.#target.to, base);
  }

  #refuseWithoutBase(copy: MissingCopy): void {
    if (!this.#lacksBase(copy)) return;
    const { manifest, source, id } = copy;
    const { to } = this.#target;
    throw new KeyMissing(`${id} needs the full ${manifest.base}, which is not in ${to}`, {
      hint: `holdfast replicate ${source} --to ${to}`,
    });
  }

  /** The vault it came from at last. What one vault cannot give whole, another may. */
  async #fromFirstGood(copy: MissingCopy, lease: Lease, trying: (name: string) => void): Promise<string> {
    for (const [index, name] of copy.from.entries()) {
      trying(name);
      try {
        await this.#patiently(copy, this.#environment.vault(name), lease);
        return name;
      } catch (error) {
        const isOfSource = [Disproven, KeyMissing, RecordInvalid, ThawNeeded].some((kind) => error instanceof kind);
        if (!isOfSource || index + 1 === copy.from.length) throw error;
        this.warnings.add(`${copy.id} is not copied from ${name}: ${(error as HoldfastError).message}`);
      }
    }
    throw new KeyMissing(`no vault holds ${copy.id} any more`);
  }

  async #patiently(copy: MissingCopy, from: Vault, lease: Lease): Promise<void> {
    const { run } = this.#environment;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#commit(copy, from, lease);
        return;
      } catch (error) {
        const again = error instanceof HoldfastError && error.retryable && !(error instanceof Cancelled);
        if (!again || attempt === ATTEMPTS || lease.lost.aborted || run.signal.aborted) throw error;
        const longest = Math.min(LONGEST_WAIT_MILLISECONDS, FIRST_WAIT_MILLISECONDS * 2 ** (attempt - 1));
        run.log.info(`${copy.id} to ${this.#target.to}: ${error.message}; trying it again`);
        await run.clock.sleep(Math.round((0.5 + Math.random() / 2) * longest), run.signal);
      }
    }
  }

  async #commit(copy: MissingCopy, from: Vault, lease: Lease): Promise<void> {
    const { run } = this.#environment;
    const { manifest } = copy;
    const lacking = await copyBackup(manifest, from, this.#to, this.#environment, {
      signal: lease.lost,
      onBytes: (bytes) => run.progress.advance(bytes),
      confirm: () => lease.confirm(),
    });
    for (const what of lacking) this.warnings.add(what);
    this.#untold.add(copy.id);
    await this.#inLine(async () => {
      await tellCopied(manifest, from, this.#to, this.#environment);
      await this.#copyProofs(await proofsOf(copy, from));
    });
    this.#untold.delete(copy.id);
  }

  async #copyProofs(records: readonly MissingProof[]): Promise<void> {
    const copied = await copyProofs(records, this.#to, this.#environment);
    this.proofs += copied;
  }

  /** One after the other: copies that end at one time would only take the ledger's next place from each other. */
  async #inLine(work: () => Promise<void>): Promise<void> {
    const mine = this.#line.then(work);
    this.#line = mine.catch(() => undefined);
    return mine;
  }

  #ran(
    { source, id, manifest }: MissingCopy,
    from: string,
    status: CopyRun['status'],
    seconds: number,
    error: HoldfastError | null,
  ): CopyRun {
    return {
      source,
      id,
      from,
      to: this.#target.to,
      bytes: bytesOf(manifest),
      seconds,
      status,
      error: error && briefly(error),
    };
  }
}
