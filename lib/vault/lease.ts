import { randomBytes } from 'node:crypto';
import * as z from 'zod';
import {
  Busy,
  KeyExists,
  KeyMissing,
  LeaseLost,
  messageOf,
  RecordInvalid,
  UsageError,
  VaultRefused,
} from '#core/errors';
import { canonicalJson, isoTime, keyPart } from '#core/manifest';
import type { Clock, Vault, VaultEntry } from '#core/ports';
import { getRecord } from '#vault/record';

/**
 * One run at a time for each source and kind of job in a vault (I12), by create-only puts alone: no deletes, no
 * If-Match. `leases/<source>/<job>/<n>.json` is made once; n is the fencing number. Its holder alone overwrites
 * `<n>.beat.json`; the last beat says `released`. All ages are by the vault's own clock.
 */

/** Who holds a lease: enough to tell on the same machine whether that process still lives. */
const holderSchema = z.strictObject({
  host: z.string(),
  pid: z.int().min(0),
  /** The process's start time as /proc tells it; null where there is no /proc. As are the next two. */
  start: z.string().nullable(),
  /** The boot's own random id. */
  boot: z.string().nullable(),
  /** Process ids are counted within it: `pid:[4026531836]`. */
  namespace: z.string().nullable(),
});
export type Holder = z.output<typeof holderSchema>;

const leaseSchema = z.strictObject({
  format: z.literal(1),
  job: z.string(),
  source: z.string(),
  holder: holderSchema,
  since: z.iso.datetime(),
  /** Tells two runs of one process apart. */
  nonce: z.string(),
});
type LeaseRecord = z.output<typeof leaseSchema>;

const beatSchema = z.strictObject({ beat: z.int().min(0), released: z.boolean() });

export interface LeaseRequest {
  readonly source: string;
  /** `backup`, `prove`, … */
  readonly job: string;
  readonly holder: Holder;
}

/** Milliseconds. */
export interface LeaseTimes {
  readonly beatEvery: number;
  /** A lease not renewed for so long may be taken over, … */
  readonly staleAfter: number;
  /** … after it was watched for so long without a beat: clocks jump, and laptops sleep. */
  readonly watchFor: number;
}

const TIMES: LeaseTimes = { beatEvery: 20_000, staleAfter: 90_000, watchFor: 30_000 };
/** Lost races in a row; each of them means that another run has begun. */
const ATTEMPTS = 20;

export interface Lease {
  /** Fencing number, from 1. No two leases of a source and job share one. */
  readonly number: number;
  /** The holder before never gave it back: it died, and may have left work half done. */
  readonly takenOver: boolean;
  /** Fires with `LeaseLost` when a beat finds that somebody has taken over, or no beat got through for `staleAfter`. */
  readonly lost: AbortSignal;
  /**
   * Called right before a commit.
   * @throws LeaseLost a higher number exists
   */
  confirm(): Promise<void>;
  /** Ends the beats and says so in the vault. Harmless when called again. */
  release(): Promise<void>;
  /** Ends the beats and says nothing in the vault: whoever takes it over then knows that work was left (`takenOver`). */
  abandon(): void;
}

/**
 * @param isGone whether a holder is a process of this very machine, boot and pid namespace that has ended
 * @throws Busy somebody holds it; says who
 */
export async function acquireLease(
  vault: Vault,
  request: LeaseRequest,
  clock: Clock,
  isGone: (holder: Holder) => boolean,
  times: LeaseTimes = TIMES,
): Promise<Lease> {
  const folder = leaseFolder(request);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const last = await vault.lastNumber(folder);
    const released = last === null || (await refuseIfHeld(vault, folder, last, request, clock, isGone, times));
    const number = (last ?? 0) + 1;
    if (await claim(vault, leaseKey(folder, number), request, clock))
      return new HeldLease(vault, folder, number, !released, request, times);
  }
  throw new VaultRefused(
    `the lease of ${request.source} (${request.job}) in ${vault.name} could not be taken: ${ATTEMPTS} times another run was first`,
    { source: request.source, hint: `look at ${folder} in ${vault.url}` },
  );
}

function leaseFolder({ source, job }: Omit<LeaseRequest, 'holder'>): string {
  for (const part of [source, job])
    if (!keyPart.safeParse(part).success) throw new UsageError(`"${part}" cannot be part of a lease's key`);
  return `leases/${source}/${job}/`;
}

function leaseKey(folder: string, number: number): string {
  return `${folder}${String(number).padStart(10, '0')}.json`;
}

function beatKey(folder: string, number: number): string {
  return `${folder}${String(number).padStart(10, '0')}.beat.json`;
}

/** Creates the lease's object; false when another run was first. */
async function claim(vault: Vault, key: string, request: LeaseRequest, clock: Clock): Promise<boolean> {
  const record: LeaseRecord = {
    format: 1,
    source: request.source,
    job: request.job,
    holder: request.holder,
    since: isoTime(clock.now()),
    nonce: randomBytes(12).toString('hex'),
  };
  const body = Buffer.from(`${canonicalJson(record)}\n`);
  try {
    await vault.putOnce(key, body);
    if (vault.features.createOnly) return true;
  } catch (error) {
    if (!(error instanceof KeyExists)) throw error;
  }
  // Ours after all when a put was repeated after its answer got lost; not ours where the store cannot create only once.
  return body.equals(await vault.get(key));
}

interface State {
  readonly record: LeaseRecord | null;
  readonly released: boolean;
  /** Changes with every beat. */
  readonly mark: string;
  readonly modified: Date;
}

/** A lease that somebody has taken and not given back. */
export interface OpenLease {
  readonly number: number;
  /** When it was taken, by its holder's clock; null when its record cannot be read. */
  readonly since: Date | null;
  readonly holder: Holder | null;
  /** Its holder lives, as far as can be seen: it beats, and is no process of this machine that has ended. */
  readonly alive: boolean;
}

/** Looks, and takes nothing. Null when nobody ever had it, or the last one gave it back. */
export async function openLease(
  vault: Vault,
  request: Omit<LeaseRequest, 'holder'>,
  isGone: (holder: Holder) => boolean,
  times: LeaseTimes = TIMES,
): Promise<OpenLease | null> {
  const folder = leaseFolder(request);
  const number = await vault.lastNumber(folder);
  if (number === null) return null;
  const { record, released, modified } = await stateOf(vault, folder, number);
  if (released) return null;
  const age = (await vault.now()).getTime() - modified.getTime();
  const alive = Math.abs(age) <= times.staleAfter && !(record && isGone(record.holder));
  return { number, since: record && new Date(record.since), holder: record?.holder ?? null, alive };
}

/** True when its holder had given it back; else it is free because that holder died. */
async function refuseIfHeld(
  vault: Vault,
  folder: string,
  number: number,
  request: LeaseRequest,
  clock: Clock,
  isGone: (holder: Holder) => boolean,
  times: LeaseTimes,
): Promise<boolean> {
  const state = await stateOf(vault, folder, number);
  if (state.released) return true;
  if (state.record && isGone(state.record.holder)) return false;
  const age = (await vault.now()).getTime() - state.modified.getTime();
  // A beat from the future: the clock was set back. It says nothing about how old the beat is.
  const fresh = age <= times.staleAfter && age >= -times.staleAfter;
  if (fresh) throw busy(vault, folder, number, request, state, age);
  await clock.sleep(times.watchFor);
  const later = await stateOf(vault, folder, number);
  if (!later.released && later.mark !== state.mark) throw busy(vault, folder, number, request, later, 0);
  return later.released;
}

async function stateOf(vault: Vault, folder: string, number: number): Promise<State> {
  const entries: VaultEntry[] = [];
  for await (const entry of vault.list(`${folder}${String(number).padStart(10, '0')}.`)) entries.push(entry);
  const beatEntry = entries.find((entry) => entry.key === beatKey(folder, number));
  const newest = entries.reduce<Date | null>(
    (latest, entry) => (latest === null || entry.modified > latest ? entry.modified : latest),
    null,
  );
  if (newest === null)
    throw new RecordInvalid(`lease ${leaseKey(folder, number)} is counted in ${vault.name} and not listed`, {
      hint: 'the store shows old listings; try again in a minute',
    });
  const record = leaseSchema.safeParse(await readJson(vault, leaseKey(folder, number)));
  const beat = beatEntry ? beatSchema.safeParse(await readJson(vault, beatEntry.key)) : null;
  return {
    record: record.success ? record.data : null,
    released: beat?.success === true && beat.data.released,
    mark: `${beat?.success ? beat.data.beat : ''} ${newest.toISOString()}`,
    modified: newest,
  };
}

/** Undefined when it is missing or not JSON: an unreadable lease holds like any other, by its age. */
async function readJson(vault: Vault, key: string): Promise<unknown> {
  let text: string;
  try {
    text = Buffer.from(await getRecord(vault, key)).toString('utf8');
  } catch (error) {
    if (error instanceof KeyMissing || error instanceof RecordInvalid) return undefined;
    throw error;
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function busy(
  vault: Vault,
  folder: string,
  number: number,
  request: LeaseRequest,
  { record }: State,
  age: number,
): Busy {
  const who = record
    ? `process ${record.holder.pid} on ${record.holder.host}, since ${record.since}`
    : `somebody whose lease cannot be read (${leaseKey(folder, number)})`;
  const beat = age >= 0 ? `, last heard of ${Math.round(age / 1000)} s ago` : '';
  return new Busy(`${request.job} of ${request.source} in ${vault.name} is under way: ${who}${beat}`, {
    source: request.source,
    hint: 'wait for it to end; a lease whose holder died is free 90 s after its last beat',
  });
}

class HeldLease implements Lease {
  readonly number: number;
  readonly takenOver: boolean;
  readonly #vault: Vault;
  readonly #folder: string;
  readonly #request: LeaseRequest;
  readonly #times: LeaseTimes;
  readonly #lost = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #released = false;
  #beats = 0;
  #renewed = performance.now();
  /** Beats go one after the other: a slow one that arrived after the release would take it back. */
  #last: Promise<void> = Promise.resolve();

  constructor(
    vault: Vault,
    folder: string,
    number: number,
    takenOver: boolean,
    request: LeaseRequest,
    times: LeaseTimes,
  ) {
    this.#vault = vault;
    this.#folder = folder;
    this.number = number;
    this.takenOver = takenOver;
    this.#request = request;
    this.#times = times;
    this.#schedule();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async confirm(): Promise<void> {
    const last = await this.#vault.lastNumber(this.#folder);
    if (last === this.number) return;
    throw this.#taken(last);
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    if (this.#timer) clearTimeout(this.#timer);
    await this.#last;
    await this.#beat(true);
  }

  abandon(): void {
    this.#released = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#released) return;
    this.#timer = setTimeout(() => {
      this.#last = this.#tick().finally(() => this.#schedule());
    }, this.#times.beatEvery);
    // A lease keeps no process alive; it ends by itself.
    this.#timer.unref();
  }

  /** One beat that fails is made up for by the next. Ages are counted by a clock that does not jump. */
  async #tick(): Promise<void> {
    try {
      await this.#beat(false);
      this.#renewed = performance.now();
      await this.confirm();
    } catch (error) {
      const age = performance.now() - this.#renewed;
      if (error instanceof LeaseLost) this.#lost.abort(error);
      else if (age > this.#times.staleAfter) this.#lost.abort(this.#unrenewed(age, error));
    }
  }

  async #beat(released: boolean): Promise<void> {
    this.#beats += 1;
    const body = Buffer.from(`${canonicalJson({ beat: this.#beats, released })}\n`);
    await this.#vault.putAgain(beatKey(this.#folder, this.number), body);
  }

  #unrenewed(age: number, cause: unknown): LeaseLost {
    const { job, source } = this.#request;
    return new LeaseLost(
      `lease ${this.number} of ${source} (${job}) in ${this.#vault.name} was not renewed for ${Math.round(age / 1000)} s: ${messageOf(cause)}`,
      { source, cause, hint: 'another run may have begun meanwhile; look whether the vault answers: holdfast check' },
    );
  }

  #taken(last: number | null): LeaseLost {
    const { job, source } = this.#request;
    return new LeaseLost(
      last === null || last < this.number
        ? `lease ${this.number} of ${source} (${job}) is gone from ${this.#vault.name}: somebody removed it`
        : `lease ${this.number} of ${source} (${job}) in ${this.#vault.name} was taken over: lease ${last} exists`,
      {
        source,
        hint: 'nothing was committed; let the other run end, then try again',
      },
    );
  }
}
