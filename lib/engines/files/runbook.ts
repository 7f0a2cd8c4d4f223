import type { EngineGuide } from '#core/engine-guide';
import type { Manifest } from '#core/manifest';
import { inlineCode } from '#core/markdown';
import { unsealCommand } from '#core/restore-script';
import { type FilesFingerprint, INDEX, readFingerprint } from '#engines/files/fingerprint';

export function filesGuide(manifest: Manifest): EngineGuide {
  const { content, measures } = manifest.fingerprint;
  const print: FilesFingerprint | null = content === null ? null : readFingerprint(content);
  const { source } = manifest;
  return {
    packages: ['tar'],
    beforeInstall: [],
    afterInstall: [],
    target: ['An empty directory, or one that is not there yet. As root, owners come back too.'],
    exampleTarget: `"$PWD/${source}"`,
    makeTarget: null,
    look: look(manifest),
    expect: [
      `files: ${print?.files ?? measures['files'] ?? 'unknown'}, bytes in them: ${print?.bytes ?? measures['bytes'] ?? 'unknown'}`,
      ...(print ? [`entries with directories and links: ${print.entries}; the script counts them`] : []),
    ],
    after: [
      `It was ${inlineCode(manifest.identity['paths'] ?? 'unknown')}${print ? ` below ${inlineCode(print.base)}` : ''}. Move it there when you have looked at it; never unpack over what is there.`,
    ],
    putInPlace: null,
    notCompared: [
      'by this page: names with quotes, backslashes or control characters (the script counts them), and second names of one file',
      'extended attributes and ACLs: in the archive, compared by nobody',
      'owners, when the restore does not run as root',
    ],
  };
}

/** Every file's sha256 against the index; names that JSON escapes are left to the archive's own seal. */
function look(manifest: Manifest): EngineGuide['look'] {
  const index = manifest.artifacts.find(({ name }) => name === INDEX);
  if (!index) return null;
  const { source } = manifest;
  return {
    script: `${unsealCommand(manifest, index)} |
  sed -n 's/^{"path":"\\([^"\\\\]*\\)","kind":"file".*"sha256":"\\([0-9a-f]*\\)".*/\\2  \\1/p' > sums-${source}.txt
wc -l sums-${source}.txt
(cd "$TARGET" && sha256sum -c --quiet) < sums-${source}.txt && echo "${source}: every one of these files has its sha256"`,
    answer: null,
  };
}
