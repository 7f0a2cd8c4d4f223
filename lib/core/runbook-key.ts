import { fenced, inlineCode } from '#core/markdown';
import type { RestorableSource, RunbookKey, RunbookVault } from '#core/runbook';
import { secretWords } from '#core/runbook-aws';
import { fetchLine, setVaultLine } from '#core/runbook-steps';

export function keySection(
  key: RunbookKey,
  restorable: readonly RestorableSource[],
  used: readonly RunbookVault[],
): string {
  const sealed = restorable.filter(({ backup }) => backup.manifest.encryption.method !== 'none');
  if (sealed.length === 0)
    return '## 3. The key\n\nNone is needed: these backups are not encrypted (`encryption: none`).';
  const parts = ['## 3. The key'];
  if (key.saidToBe !== null) parts.push(`The plan says: ${key.saidToBe}.`);
  if (key.secret !== null) parts.push(secretWords(key.secret));
  for (const method of ['age', 'gpg'] as const) {
    const of = sealed.filter(({ backup }) => backup.manifest.encryption.method === method);
    if (of.length === 0) continue;
    const fingerprints = [...new Set(of.flatMap(({ backup }) => backup.manifest.encryption.recipients))].sort();
    const tried = smallest(of);
    const file = `backups/${tried.source}/${tried.backup.manifest.tier}/${tried.backup.manifest.id}`;
    const setVault = setVaultLine(tried, used);
    const fetching = fetchLine(tried, used, [tried.volume]);
    parts.push(method === 'age' ? ageWords(fingerprints) : gpgWords(fingerprints));
    parts.push('Does it open these backups? It must say so:');
    const open =
      method === 'age'
        ? `age -d -i "$KEY" "$VAULT/${file}/${tried.volume}" > /dev/null && echo "this key opens the backups"`
        : `gpg --batch --quiet --decrypt "$VAULT/${file}/${tried.volume}" > /dev/null && echo "this key opens the backups"`;
    parts.push(fenced('sh', [...setVault, ...fetching, open].join('\n')));
  }
  if (key.recipients.length > 0)
    parts.push(
      `Public keys in the plan (each of them opens a backup by itself): ${key.recipients.map(inlineCode).join(', ')}.`,
    );
  return parts.join('\n\n');
}

function ageWords(fingerprints: readonly string[]): string {
  return `A key file holds one line that begins with \`AGE-SECRET-KEY-1\`. It is not in the vault. The recovery sheet that came with it asked to keep copies in a password manager, on a USB stick in another house, and on paper; a second key, made on another machine, opens the same backups. From paper: type the line in capitals, Enter, Ctrl-D: \`(umask 077; cat > holdfast.key)\`. An \`ssh-…\` recipient is opened by that SSH private key.

${fenced('sh', 'export KEY="$HOME/holdfast.key"')}

Is it the right one? \`echo "sha256:$(age-keygen -y "$KEY" | tr -d '\\n' | sha256sum | cut -c1-16)"\` prints one of: ${fingerprints.map(inlineCode).join(', ')}.`;
}

function gpgWords(fingerprints: readonly string[]): string {
  return `GnuPG must hold the secret key of one of: ${fingerprints.map(inlineCode).join(', ')}. From a file: \`gpg --import secret-key.asc\`; then \`gpg --list-secret-keys\` shows it.`;
}

/** Opening it costs least. */
function smallest(sources: readonly RestorableSource[]): RestorableSource & { readonly volume: string } {
  const all = sources.flatMap((one) =>
    one.backup.manifest.artifacts
      // The beginning of a longer one is not whole.
      .filter(({ volumes }) => volumes.length === 1)
      .flatMap(({ volumes }) => volumes.map(({ name, bytes }) => ({ one, name, bytes }))),
  );
  const [least] = all.sort((a, b) => a.bytes - b.bytes);
  const [first] = sources as readonly [RestorableSource];
  return least
    ? { ...least.one, volume: least.name }
    : { ...first, volume: first.backup.manifest.artifacts[0]?.volumes[0]?.name ?? 'manifest.json' };
}
