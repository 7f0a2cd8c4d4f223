import type { Artifact, UnsignedManifest } from '#core/manifest';
import { backupFolder } from '#core/manifest';

/**
 * The way back without Holdfast (I6): POSIX sh for `sh -eu`, stock tools only, with `KEY`, `VAULT` and `TARGET` from
 * the environment. POSIX has no pipefail, so each stage notes its failure in a file that is looked at in the end.
 */
export function restoreScript(
  manifest: Pick<UnsignedManifest, 'source' | 'tier' | 'id' | 'engine'> & {
    readonly encryption: Pick<UnsignedManifest['encryption'], 'method'>;
  },
  artifacts: readonly Artifact[],
  body: string,
): string {
  const folder = backupFolder(manifest);
  const sums = artifacts.flatMap((artifact) =>
    artifact.volumes.map((volume) => `${volume.sha256}  ${folder}/${volume.name}`),
  );
  const cases = artifacts.map(
    (artifact) =>
      `    ${artifact.name}) volumes='${artifact.volumes.map((volume) => `${folder}/${volume.name}`).join(' ')}' ;;`,
  );
  const decrypt = {
    age: ` | { age -d -i "$KEY" || stage_failed age; }`,
    gpg: ` | { gpg --batch --quiet --decrypt || stage_failed gpg; }`,
    none: '',
  }[manifest.encryption.method];
  return `# Restores ${manifest.source} ${manifest.id} (${manifest.engine}) with stock tools.
# KEY=identity file  VAULT=root of the vault or of a copy of it  TARGET=where to  sh -eu this-script
${manifest.encryption.method === 'age' ? ': "${KEY:?the file with the age identity}"\n' : ''}: "\${VAULT:?the directory that holds vault.json}" "\${TARGET:?where to restore to}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage_failed() { echo "$1" >> "$work/failed"; }
(cd "$VAULT" && sha256sum -c --quiet) >&2 <<'SUMS'
${sums.join('\n')}
SUMS
plain() {
  case "$1" in
${cases.join('\n')}
    *) echo "no artifact $1" >&2; return 1 ;;
  esac
  (cd "$VAULT" && cat $volumes) | ${decrypt.replace(/^ \| /, '')}${decrypt ? ' | ' : ''}{ zstd -dc || stage_failed zstd; }
}
all_stages_done() {
  [ ! -e "$work/failed" ] || { echo "failed: $(cat "$work/failed")" >&2; exit 1; }
}
${body.trim()}
all_stages_done
`;
}

/** sh that writes one artifact's plain bytes to stdout, with `KEY` and `VAULT` from the environment. */
export function unsealCommand(
  manifest: Pick<UnsignedManifest, 'source' | 'tier' | 'id'> & {
    readonly encryption: Pick<UnsignedManifest['encryption'], 'method'>;
  },
  artifact: Artifact,
): string {
  const folder = backupFolder(manifest);
  const files = artifact.volumes.map((volume) => `"$VAULT/${folder}/${volume.name}"`);
  const decrypt = { age: ' | age -d -i "$KEY"', gpg: ' | gpg --batch --quiet --decrypt', none: '' };
  return `cat ${files.join(' ')}${decrypt[manifest.encryption.method]} | zstd -dc`;
}
