import * as z from 'zod';
import { formatSeconds } from '#core/duration';
import { HoldfastError, ThawNeeded, UsageError, VaultRefused } from '#core/errors';
import { backupFolder, isoTime, type Manifest } from '#core/manifest';
import type { Archived, Clock, Notes, Vault } from '#core/ports';
import { restorerName } from '#core/settings';
import { formatBytes } from '#core/size';
import {
  type ArchiveClass,
  AWS_CLASS,
  slowestClass,
  THAW_DAYS,
  THAW_SPEEDS,
  type ThawSpeed,
  thawSeconds,
} from '#core/thaw';

const NOTE = 'thaws';
const DAY_MILLISECONDS = 86_400_000;
/** A copy can be read for so long after it was asked for, and longer: what is under way later, somebody else has asked for. */
const REMEMBERED_MILLISECONDS = THAW_DAYS * DAY_MILLISECONDS;

const noteSchema = z.record(
  z.string(),
  z.strictObject({ askedAt: z.iso.datetime(), readyAt: z.iso.datetime(), speed: z.enum(THAW_SPEEDS) }),
);
type Asked = z.output<typeof noteSchema>[string];

/** A copy of a backup that cannot be read yet. */
export interface Frozen {
  readonly vault: Vault;
  readonly manifest: Manifest;
  readonly class: ArchiveClass;
  /** Files nobody has asked for, and such that somebody has. */
  readonly frozen: readonly Archived[];
  readonly thawing: readonly Archived[];
}

export interface Archival {
  /** Null: all of it can be read now. */
  readonly frozen: Frozen | null;
  /** Thawed copies end then; null = there are none. */
  readonly readableUntil: Date | null;
}

/** How a thaw stands, for people and for scripts. */
export interface Thaw {
  readonly vault: string;
  readonly class: ArchiveClass;
  /** `needed`: nobody has asked; `asked`: this call has; `under-way`: somebody had. */
  readonly state: 'needed' | 'asked' | 'under-way';
  /** Those that cannot be read yet. */
  readonly files: number;
  readonly bytes: number;
  /** Null: another machine asked. */
  readonly speed: ThawSpeed | null;
  readonly askedAt: string | null;
  /** At the latest, by what AWS says; null = not asked, or nobody here knows when. */
  readonly readyAt: string | null;
  /** So long it can be read then. */
  readonly days: number;
}

/**
 * Whether a backup's artifacts can be read from this vault now. Nothing is asked for and nothing costs anything: one
 * listing, and a look at each object in an archive class.
 */
export async function archivalOf(vault: Vault, manifest: Manifest): Promise<Archival> {
  const folder = backupFolder(manifest);
  const keys = new Set(manifest.artifacts.flatMap(({ volumes }) => volumes.map(({ name }) => `${folder}/${name}`)));
  const all = (await vault.archive?.archived(`${folder}/`)) ?? [];
  const archived = all.filter(({ key }) => keys.has(key));
  const frozen = archived.filter(({ state }) => state === 'frozen');
  const thawing = archived.filter(({ state }) => state === 'thawing');
  const ends = archived.flatMap(({ until }) => until?.getTime() ?? []);
  const archiveClass = slowestClass([...frozen, ...thawing].map((one) => one.class));
  return {
    frozen: archiveClass && { vault, manifest, class: archiveClass, frozen, thawing },
    readableUntil: ends.length === 0 ? null : new Date(Math.min(...ends)),
  };
}

/** How the thaw stands, without asking for one. */
export async function thawOf(frozen: Frozen, notes: Notes, now: Date): Promise<Thaw> {
  const asked = frozen.frozen.length > 0 ? null : (await remembered(notes, now))[nameOf(frozen)];
  return told(frozen, asked ?? null, 'under-way');
}

/**
 * Asks for readable copies of all files that nobody has asked for yet; of what is under way nothing is asked twice.
 * @throws UsageError there is no thaw so quick of that class; VaultRefused the role may not
 */
export async function askForThaw(
  frozen: Frozen,
  speed: ThawSpeed,
  { clock, notes, warn }: { readonly clock: Clock; readonly notes: Notes; warn(message: string): void },
): Promise<Thaw> {
  if (frozen.frozen.length === 0) return thawOf(frozen, notes, clock.now());
  const { vault, manifest } = frozen;
  const seconds = thawSeconds(frozen.class, speed);
  if (seconds === null)
    throw new UsageError(`--thaw: got "${speed}", and ${frozen.class} has no such thaw; want standard or bulk`, {
      source: manifest.source,
    });
  try {
    await vault.archive?.thaw(
      frozen.frozen.map(({ key }) => key),
      { speed, days: THAW_DAYS },
    );
  } catch (error) {
    if (error instanceof VaultRefused && error.hint?.includes('s3:RestoreObject'))
      error.hint += `; in a deployment the role ${restorerName(manifest.plan.name)} may (docs/aws.md, section 8)`;
    throw error;
  }
  const now = clock.now();
  const asked = { askedAt: isoTime(now), readyAt: isoTime(new Date(now.getTime() + seconds * 1000)), speed };
  try {
    await notes.write(NOTE, { ...(await remembered(notes, now)), [nameOf(frozen)]: asked });
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    warn(`when this thaw was asked for will not be known here: ${error.message}`);
  }
  return told(frozen, asked, 'asked');
}

/**
 * What to say instead of reading: not yet possible (exit 3).
 * @param command what to type once it is ready
 */
export function notYet(frozen: Frozen, thaw: Thaw, command: string): ThawNeeded {
  const { source, id } = frozen.manifest;
  const where = `${id} lies in ${AWS_CLASS[thaw.class]} (${thaw.class}) in ${thaw.vault}`;
  const files = `${thaw.files} ${thaw.files === 1 ? 'file' : 'files'}, ${formatBytes(thaw.bytes)}`;
  return new ThawNeeded(`${where} and cannot be read yet (${files}): ${stateWords(thaw)}`, {
    source,
    hint: `${thaw.readyAt === null ? 'once it is ready' : `from ${thaw.readyAt} on`}, within ${thaw.days} days: ${command}`,
  });
}

export function stateWords({ state, class: archiveClass, speed, askedAt, readyAt, days }: Thaw): string {
  if (state === 'needed') {
    const longest = formatSeconds(thawSeconds(archiveClass, 'standard') as number);
    return `its thaw takes up to ${longest}, and nobody has asked for it`;
  }
  const until = `${readyAt}, readable for ${days} days then`;
  if (state === 'asked') return `its thaw (${speed}) was asked for now, and is ready by ${until}`;
  if (askedAt !== null) return `its thaw (${speed}) is under way since ${askedAt}, and is ready by ${until}`;
  const [quick, slow] = (['standard', 'bulk'] as const).map((one) =>
    formatSeconds(thawSeconds(archiveClass, one) as number),
  );
  return `its thaw is under way, asked for elsewhere: ready ${quick} after that at the latest, ${slow} where it was the cheap one (bulk)`;
}

function told(frozen: Frozen, asked: Asked | null, state: 'asked' | 'under-way'): Thaw {
  const all = [...frozen.frozen, ...frozen.thawing];
  return {
    vault: frozen.vault.name,
    class: frozen.class,
    state: asked === null && frozen.frozen.length > 0 ? 'needed' : state,
    files: all.length,
    bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
    speed: asked?.speed ?? null,
    askedAt: asked?.askedAt ?? null,
    readyAt: asked?.readyAt ?? null,
    days: THAW_DAYS,
  };
}

async function remembered(notes: Notes, now: Date): Promise<Record<string, Asked>> {
  const parsed = noteSchema.safeParse(await notes.read(NOTE));
  const oldest = now.getTime() - REMEMBERED_MILLISECONDS;
  return Object.fromEntries(
    Object.entries(parsed.success ? parsed.data : {}).filter(([, { askedAt }]) => Date.parse(askedAt) > oldest),
  );
}

/** By its address, so that it is found again without a plan too. */
function nameOf({ vault, manifest }: Frozen): string {
  return `${vault.url} ${manifest.source} ${manifest.id}`;
}
