import { extname } from 'node:path';
import { quoteShell } from '#core/shell';

export const FILE_EXTENSIONS = ['.db', '.sqlite', '.sqlite3'] as const;

/**
 * The way back with stock tools: beside first, compared, then linked into place, which fails where something is.
 * @param name of the source's file, which it gets in a target that is a directory
 */
export function restoreScriptFor(name: string, sha256: string): string {
  const own = [extname(name)].filter((one) => one !== '' && !FILE_EXTENSIONS.some((extension) => extension === one));
  const patterns = [
    ...FILE_EXTENSIONS.map((extension) => `*${extension}`),
    ...own.map((extension) => `*${quoteShell(extension)}`),
  ];
  return `# TARGET is the file to make when it ends in ${[...FILE_EXTENSIONS, ...own].join(', ')}; else a directory for it.
file=$TARGET
case "$TARGET" in
  ${patterns.join(' | ')}) [ ! -d "$TARGET" ] || file=$TARGET/${quoteShell(name)} ;;
  *) file=$TARGET/${quoteShell(name)} ;;
esac
case "$file" in /*) ;; *) file=./$file ;; esac
for there in "$file" "$file-wal" "$file-journal"; do
  [ ! -s "$there" ] || { echo "$there is there already: move it away, or give another TARGET" >&2; exit 1; }
done
mkdir -p "$(dirname "$file")"
rm -f "$file.part"
(umask 077 && : > "$file.part")
plain snapshot.db > "$file.part"
all_stages_done
if command -v sha256sum > /dev/null; then
  sum=$(sha256sum < "$file.part")
  [ "\${sum%% *}" = ${sha256} ] || { echo "$file.part is not the snapshot that was backed up" >&2; exit 1; }
fi
if command -v sqlite3 > /dev/null; then
  # Says "no such function" where only the application has it; the sum above decides.
  echo "integrity_check: $(sqlite3 -readonly "$file.part" 'pragma integrity_check' 2>&1 || true)"
  rm -f "$file.part-wal" "$file.part-shm"
fi
rm -f "$file-wal" "$file-shm" "$file-journal"
[ -s "$file" ] || rm -f "$file"
ln "$file.part" "$file" 2> /dev/null || mv -n "$file.part" "$file"
rm -f "$file.part"
echo "restored $file"
`;
}
