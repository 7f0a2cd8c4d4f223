import { backupFolder, newBackupId, timeOfId } from '#core/manifest';
import type { Schedule } from '#core/plan';
import type { Vault } from '#core/ports';
import { tiersOf } from '#core/tiers';
import type { Trigger } from '#jobs/backup-run';
import { placesOf } from '#jobs/catalog';
import { type HeldVault, isOfVault } from '#jobs/held-vault';

export interface IdRequest {
  readonly source: string;
  readonly schedule: Schedule;
  readonly trigger: Trigger;
  /** When it was scheduled for, or began. */
  readonly moment: Date;
  /** From 0: which of the vaults is tried as the first. */
  readonly attempt: number;
}

/**
 * The id of a new backup: of its own time, or of the first second after it that no other backup has.
 * @param held the vaults that take it, the first one first
 */
export async function freeBackupId(
  { source, schedule, trigger, moment, attempt }: IdRequest,
  held: readonly HeldVault[],
): Promise<string> {
  const [{ vault: home, lease }, ...further] = held as [HeldVault, ...HeldVault[]];
  const idAfter = (seconds: number): string =>
    newBackupId({
      source,
      schedule: trigger.schedule ?? '',
      scheduledAt: new Date(moment.getTime() + seconds * 1000),
      lease: lease.number,
    });
  // A second later for each attempt: two vaults may count their leases alike, and ids must differ. So may one vault, before
  // and after it was put back to an earlier state: what the others hold of that time stays theirs.
  let later = attempt;
  if (trigger.scheduledAt === null) later = Math.max(later, await secondsToNext(home, source, moment));
  while (await isTaken(idAfter(later), source, schedule, further)) later += 1;
  return idAfter(later);
}

/** What lies further ahead was stamped by a clock that was wrong. */
const MOST_SECONDS_LENT = 60;

/** Ids tell which backup is the newer one, and by hand two may be made in one second: the later one is of the next. */
async function secondsToNext(vault: Vault, source: string, moment: Date): Promise<number> {
  const second = Math.floor(moment.getTime() / 1000);
  try {
    const ahead = (await placesOf(vault, source, moment)).map(({ id }) => timeOfId(id).getTime() / 1000 - second);
    return 1 + Math.max(-1, ...ahead.filter((seconds) => seconds < MOST_SECONDS_LENT));
  } catch (error) {
    // The run's next steps meet it too, and tell of it.
    if (!isOfVault(error)) throw error;
    return 0;
  }
}

async function isTaken(id: string, source: string, schedule: Schedule, vaults: readonly HeldVault[]): Promise<boolean> {
  for (const { vault } of vaults)
    for (const tier of tiersOf(schedule))
      try {
        for await (const _entry of vault.list(`${backupFolder({ source, tier, id })}/`, { limit: 1 })) return true;
      } catch (error) {
        // One that has gone away since its lease was taken misses the copy, and not the others their backup.
        if (!isOfVault(error)) throw error;
      }
  return false;
}
