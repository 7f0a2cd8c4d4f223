import { formatSeconds } from '#core/duration';
import { BackupMissing, RecordInvalid, UsageError } from '#core/errors';
import { isoTime, type Manifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { type ProofOutcome, type ProofState, stateOf } from '#core/proof';
import { isAhead, stampedAhead } from '#core/stamped-ahead';
import {
  findBackup,
  type ListedBackup,
  type Listing,
  listBackups,
  outcomesOf,
  proofAt,
  sourcesIn,
  stampOf,
} from '#jobs/catalog';
import { recordedNewer } from '#jobs/recorded-newer';

export interface RestoreAsk {
  readonly source: string;
  readonly id: string | null;
  readonly at: Date | null;
  readonly point: string | null;
  /** Also a backup that no proof speaks for. */
  readonly unproven: boolean;
  readonly only: readonly string[];
  readonly overwrite: boolean;
}

export interface Choice {
  readonly manifest: Manifest;
  /** What its newest proof took: unseal, load, compare. Null when none proves it. */
  readonly proofSeconds: number | null;
  /** The proven one before it, for when this one turns out to be damaged; null = none, or it was named by its id. */
  readonly before: Manifest | null;
  readonly warnings: readonly string[];
}

/**
 * The newest *proven* backup whose `snapshotAt` is not after `at`; names any newer one that is not proven. What a clock
 * that was ahead has stamped is not the newest, and is taken only where nothing else is proven.
 * @throws BackupMissing nothing answers to what was asked for
 */
export async function chooseBackup(ask: RestoreAsk, vault: Vault, now: Date): Promise<Choice> {
  const { source } = ask;
  if (ask.id !== null) {
    const manifest = await findBackup(vault, source, ask.id);
    const { state, seconds, warnings } = await proofStateOf(manifest, vault);
    if (state === 'disproven' && !ask.unproven)
      throw new BackupMissing(
        `backup ${ask.id} of ${source} is disproven: its last restore was not equal to its source`,
        {
          source,
          hint: 'restore another one, or take it as it is with --unproven',
        },
      );
    return {
      manifest,
      proofSeconds: seconds,
      before: null,
      warnings: [...warnings, ...(state === 'proven' ? [] : [`backup ${ask.id} is ${state}`])],
    };
  }
  const listing = await listBackups(vault, source);
  const ahead = stampedAhead(
    listing.backups.map(({ manifest }) => stampOf(manifest)),
    now,
  );
  const isStampedAhead = ({ manifest: { id } }: ListedBackup): number => Number(ahead.has(id));
  const candidates = listing.backups
    .filter(({ manifest }) => ask.at === null || Date.parse(manifest.snapshotAt) <= ask.at.getTime())
    .filter(({ manifest }) => ask.point === null || manifest.point === ask.point)
    .sort(
      (a, b) =>
        isStampedAhead(b) - isStampedAhead(a) || Date.parse(a.manifest.snapshotAt) - Date.parse(b.manifest.snapshotAt),
    );
  // A name says `proven`, its record says so of these very bytes: only the record is acted upon.
  const warnings = [...listing.warnings];
  const told = new Map<string, string>();
  let chosen: ListedBackup | null = null;
  let proofSeconds: number | null = null;
  for (const one of candidates.toReversed()) {
    if (one.proof === 'proven') {
      const read = await proofStateOf(one.manifest, vault);
      warnings.push(...read.warnings);
      if (read.state !== 'proven') told.set(one.manifest.id, `said to be proven, by a record that does not count`);
      if (read.state !== 'proven' && !ask.unproven) continue;
      chosen = { ...one, proof: read.state };
      proofSeconds = read.seconds;
    } else if (ask.unproven && one.proof !== 'disproven') chosen = one;
    if (chosen) break;
  }
  if (!chosen) throw nothingFor(ask, vault, candidates, listing, await sourcesIn(vault));
  const { id } = chosen.manifest;
  const passedOver = candidates.filter((one) => one.manifest.id !== id && ahead.has(one.manifest.id));
  const position = candidates.findIndex((one) => one.manifest.id === id);
  const newer = candidates.slice(position + 1);
  const listed = new Set(listing.backups.map(({ manifest }) => manifest.id));
  const gone = ask.point === null ? await recordedNewer(vault, source, id, listed, ask.at, now) : [];
  return {
    manifest: chosen.manifest,
    proofSeconds,
    before: candidates.slice(0, position).findLast(({ proof }) => proof === 'proven')?.manifest ?? null,
    warnings: [
      ...warnings,
      ...(chosen.proof === 'proven' ? [] : [`backup ${chosen.manifest.id} is ${chosen.proof}`]),
      ...aheadWords(chosen.manifest, now),
      ...passedOver.map(
        ({ manifest }) =>
          `passed over: ${manifest.id}, stamped ${manifest.snapshotAt} by a clock that was ahead: others were made after it (take it with --id ${manifest.id})`,
      ),
      ...newer.map(
        (one) =>
          `newer, but ${told.get(one.manifest.id) ?? one.proof}: ${one.manifest.id} of ${one.manifest.snapshotAt} (take it with --id ${one.manifest.id} --unproven)`,
      ),
      ...gone,
    ],
  };
}

function aheadWords({ id, snapshotAt }: Manifest, now: Date): string[] {
  const moment = new Date(snapshotAt);
  if (!isAhead(moment, now)) return [];
  const seconds = (moment.getTime() - now.getTime()) / 1000;
  return [
    `backup ${id} lies ${formatSeconds(seconds)} ahead of this machine's clock (${isoTime(now)}): one of the two is wrong`,
  ];
}

/** `--at` counts from the snapshot's time and needs an offset: 02:30 is an hour of which day where? */
export function parseMoment(text: string, option = '--at'): Date {
  if (!/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/.test(text) || Number.isNaN(Date.parse(text)))
    throw new UsageError(
      `${option}: got "${text}", want a time with its offset such as 2026-11-21T02:30:00Z or 2026-11-21T03:30:00+01:00`,
    );
  return new Date(text);
}

/** What a backup's proof records say of this very manifest; one that was edited or is of other bytes does not count. */
async function proofStateOf(
  manifest: Manifest,
  vault: Vault,
): Promise<{ readonly state: ProofState; readonly seconds: number | null; readonly warnings: readonly string[] }> {
  let seconds: number | null = null;
  const outcomes: ProofOutcome[] = [];
  const warnings: string[] = [];
  for (const { key, outcome } of (await outcomesOf(vault, manifest.source)).get(manifest.id) ?? []) {
    try {
      const proof = await proofAt(vault, key);
      if (proof.manifest === manifest.sha256) {
        outcomes.push(outcome);
        if (outcome === 'proven') seconds = proof.seconds;
      } else warnings.push(`${key} is a proof of another manifest of ${manifest.id} and does not count`);
    } catch (error) {
      if (!(error instanceof RecordInvalid)) throw error;
      warnings.push(error.message);
      // A disproof that cannot be read is still a warning sign, not a green light.
      if (outcome === 'disproven') outcomes.push(outcome);
    }
  }
  return { state: stateOf(outcomes), seconds, warnings };
}

function nothingFor(
  ask: RestoreAsk,
  vault: Vault,
  inTime: readonly ListedBackup[],
  listing: Listing,
  sources: readonly string[],
): BackupMissing {
  const { source } = ask;
  const where = vault.name === vault.url ? vault.url : `vault ${vault.name} (${vault.url})`;
  const all = listing.backups.length;
  if (all === 0)
    return new BackupMissing(
      `no backup of ${source} in ${where}${listing.warnings.length > 0 ? `; ${listing.warnings.join('; ')}` : ''}`,
      {
        source,
        hint: sources.length > 0 ? `it holds backups of ${sources.join(', ')}` : 'it holds no backups at all',
      },
    );
  const asked = [
    ask.at ? `was taken at ${isoTime(ask.at)} or before` : '',
    ask.point ? `has the point "${ask.point}"` : '',
  ].filter(Boolean);
  const [newest] = inTime.toReversed();
  if (!newest)
    return new BackupMissing(`none of the ${all} backups of ${source} in ${where} ${asked.join(' and ')}`, {
      source,
      hint: `holdfast list ${source}`,
    });
  const none = `none of the ${inTime.length} backups of ${source} in ${where}${asked.map((what) => ` that ${what}`).join(' and')} is proven`;
  if (inTime.every(({ proof }) => proof === 'disproven'))
    return new BackupMissing(`${none}: each was restored, and was not equal to its source`, {
      source,
      hint: `another vault may hold one that is whole (--from VAULT); the newest as it is: --id ${newest.manifest.id} --unproven`,
    });
  return new BackupMissing(none, {
    source,
    hint: `prove one (holdfast prove ${source}), or take it as it is with --unproven`,
  });
}
