/**
 * Stock-tool restore, for the manifest. tar does not notice an archive that ends between two members, so what is there
 * afterwards is counted.
 * @param entries members of the archive that lie below the target
 */
export function restoreScript(entries: number): string {
  return `# Restores the tree into $TARGET, which must be empty or not there. Needs GNU tar.
mkdir -p "$TARGET"
if [ -n "$(ls -A "$TARGET")" ]; then
  echo "$TARGET is not empty" >&2
  exit 1
fi
# tar says so of capabilities and the like, which only root may set, and goes on.
plain tree.tar | tar --extract --preserve-permissions --numeric-owner --xattrs --xattrs-include='*' --acls --directory="$TARGET" --file=-
found=$(find "$TARGET" -mindepth 1 -printf x | wc -c)
if [ "$found" -ne ${entries} ]; then
  echo "$TARGET holds $found files and directories after the restore, the backup ${entries}" >&2
  exit 1
fi
# plain index.jsonl prints one line for each of them: path, mode, time, owner, size, sha256.`;
}
