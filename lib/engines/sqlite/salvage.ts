import { quoteShell } from '#core/shell';

/**
 * What a damaged file's owner can do. `.dump` reads each table from both of its ends up to the damage, and ends with a
 * ROLLBACK that would throw all of it away; `.recover` finds more, but Debian's sqlite3 is built without what it needs.
 */
export function salvageHint(file: string): string {
  return `restore the newest proven backup, or salvage what can be read: sqlite3 ${quoteShell(file)} .dump | sed 's/^ROLLBACK;.*/COMMIT;/' | sqlite3 rescued.db`;
}
