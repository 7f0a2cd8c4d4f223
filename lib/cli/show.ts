import { dirname } from 'node:path';
import type { Command } from 'commander';
import type { Outcome } from '#cli/envelope';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { DURATION_ALLOWED, parseDuration } from '#core/duration';
import { BackupMissing, UsageError, VaultRefused } from '#core/errors';
import type { Manifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { hereDocument, shellWord } from '#core/shell';
import { AWS_CLASS } from '#core/thaw';
import type { World } from '#host/world';
import { findBackup, newestBackup } from '#jobs/catalog';
import { homeVault } from '#jobs/home';
import { type SignedLink, signedLinks } from '#jobs/signed-links';
import { archivalOf, stateWords, thawOf } from '#jobs/thaw';

interface Options extends GlobalOptions {
  readonly id?: string;
  readonly from?: string;
  readonly url?: string;
}

export function addShow(program: Command, invocation: Invocation): void {
  program
    .command('show')
    .description('the manifest of a backup: the newest, or the one with --id')
    .argument('<source>')
    .argument('[id]')
    .option('--id <id>', 'which one')
    .option('--from <vault>', 'in which vault')
    .option('--url <time>', 'links that open its files for so long, as a script that fetches them; a bucket only')
    .action(async (source: string, id: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      await invocation.withWorld('show', options, (world) => show(source, options.id ?? id, options, world));
    });
}

async function show(source: string, id: string | undefined, options: Options, world: World): Promise<Outcome> {
  const seconds = options.url === undefined ? null : secondsOf(options.url);
  const vault = await homeVault(source, options.from ?? null, world);
  const manifest =
    id === undefined ? await newestBackup(vault, source, world.run.clock.now()) : await findBackup(vault, source, id);
  if (!manifest)
    throw new BackupMissing(`no backup of ${source} in vault ${vault.name} (${vault.url})`, {
      source,
      hint: `holdfast backup ${source}`,
    });
  if (seconds === null) {
    const warnings = await archivedWords(vault, manifest, world);
    return { result: manifest, lines: JSON.stringify(manifest, null, 2).split('\n'), warnings };
  }
  const { links, until } = await signedLinks(vault, manifest, seconds, world.run.clock);
  const fetching = links.map(fetchLine);
  return {
    result: { ...manifest, links, linksUntil: until },
    lines: [
      `# fetches ${source} ${manifest.id} into this directory; the links end at ${until}`,
      '# whoever has a link can read what it leads to: hand it on as you would a password',
      'set -eu',
      `mkdir -p ${shellWord(dirname(links[0]?.key ?? '.'))}`,
      ...fetching,
      ...hereDocument('cat > restore.sh', manifest.restore.script, 'RESTORE').split('\n'),
      `# then: ${restoreCall(manifest)}`,
    ],
    verbatim: new Set([...links.map(({ url }) => url), ...fetching]),
  };
}

/** Who may read manifests need not be allowed to look at artifacts: then nothing is said of them. */
async function archivedWords(vault: Vault, manifest: Manifest, world: World): Promise<string[]> {
  try {
    const { frozen } = await archivalOf(vault, manifest);
    if (!frozen) return [];
    const thaw = await thawOf(frozen, world.notes, world.run.clock.now());
    return [`its files lie in ${AWS_CLASS[thaw.class]} in ${vault.name} and cannot be read now: ${stateWords(thaw)}`];
  } catch (error) {
    if (!(error instanceof VaultRefused)) throw error;
    world.run.log.debug(`whether its files can be read at once is not known: ${error.message}`);
    return [];
  }
}

function secondsOf(text: string): number {
  const duration = parseDuration(text);
  if (!duration) throw new UsageError(`--url: got "${text}", want ${DURATION_ALLOWED}, at most 7d`);
  return duration.seconds;
}

function fetchLine({ key, url }: SignedLink): string {
  return `curl -fsS -o ${shellWord(key)} ${shellWord(url)}`;
}

function restoreCall({ encryption }: Manifest): string {
  const key = encryption.method === 'age' ? 'KEY=./holdfast.key ' : '';
  return `${key}VAULT=. TARGET=… sh -eu restore.sh`;
}
