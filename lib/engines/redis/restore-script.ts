import type { Fingerprint } from '#engines/redis/fingerprint';
import {
  AOF_BASE,
  AOF_DIRECTORY,
  AOF_INCREMENT,
  AOF_MANIFEST,
  AOF_MANIFEST_TEXT,
  ARTIFACT,
  SERVER_FILES,
} from '#engines/redis/layout';

/**
 * Makes $TARGET a directory in which a server starts with the data, whatever its `appendonly`: a lone dump.rdb would be
 * passed over, and the server start empty, where `appendonly yes` is set (Redis 7).
 */
export function restoreScript(fingerprint: Fingerprint): string {
  const { sha256 } = fingerprint.rdb;
  const { flavour, version } = fingerprint.server;
  const databases = fingerprint.keys?.databases?.at(-1)?.index ?? 0;
  return `# TARGET: the directory of the server, or a new one. Nothing there is overwritten. The server must not run.
mkdir -p "$TARGET"
for it in ${SERVER_FILES.join(' ')}; do
  if [ -e "$TARGET/$it" ]; then echo "$TARGET/$it is there already: move it away first" >&2; exit 1; fi
done
new="$TARGET/.holdfast-restore"
rm -rf "$new"
mkdir "$new" "$new/${AOF_DIRECTORY}"
plain ${ARTIFACT} > "$new/${ARTIFACT}"
if command -v sha256sum > /dev/null; then sum=$(sha256sum < "$new/${ARTIFACT}"); else sum=$(shasum -a 256 < "$new/${ARTIFACT}"); fi
if [ "\${sum%% *}" != ${sha256} ]; then
  echo "$new/${ARTIFACT} is not what was backed up (sha256 \${sum%% *})" >&2; exit 1
fi
check=$(command -v redis-check-rdb || command -v valkey-check-rdb || true)
if [ -n "$check" ]; then
  "$check" "$new/${ARTIFACT}" || echo "the bytes are those of the backup, but $check cannot read them: a server of this version cannot either" >&2
fi
ln "$new/${ARTIFACT}" "$new/${AOF_DIRECTORY}/${AOF_BASE}" || cp "$new/${ARTIFACT}" "$new/${AOF_DIRECTORY}/${AOF_BASE}"
: > "$new/${AOF_DIRECTORY}/${AOF_INCREMENT}"
printf '${AOF_MANIFEST_TEXT.replaceAll('\n', '\\n')}' > "$new/${AOF_DIRECTORY}/${AOF_MANIFEST}"
mv "$new/${AOF_DIRECTORY}" "$TARGET/${AOF_DIRECTORY}"
mv "$new/${ARTIFACT}" "$TARGET/${ARTIFACT}"
rmdir "$new"
echo "restored into $TARGET. Now:"
echo "1. chown -R ${flavour}:${flavour} $TARGET   (the server's user)"
echo "2. in ${flavour}.conf: dir $TARGET, dbfilename ${ARTIFACT}, appenddirname ${AOF_DIRECTORY}, databases ${Math.max(16, databases + 1)} or more"
echo "3. start ${flavour}-server (${version} or newer), then: ${flavour}-cli INFO keyspace${expected(fingerprint)}"
echo "ACL users and the configuration are not in this backup. Redis 6 with appendonly yes: start it with appendonly no first."
`;
}

function expected(fingerprint: Fingerprint): string {
  if (!fingerprint.keys) return '';
  const each = fingerprint.keys.databases?.map(({ index, keys }) => `db${index} ${keys}`).join(', ');
  const counts = each ? ` (${each})` : '';
  return `   (${fingerprint.keys.read} keys${counts}, fewer by those whose time is over)`;
}
