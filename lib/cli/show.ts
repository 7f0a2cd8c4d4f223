import { dirname } from 'node:path';
import type { Command } from 'commander';
import type { Outcome } from '#cli/envelope';
import type { GlobalOptions, Invocation } from '#cli/invocation';
import { DURATION_ALLOWED, parseDuration } from '#core/duration';
import { BackupMissing, UsageError } from '#core/errors';
import type { Manifest } from '#core/manifest';
import { hereDocument, shellWord } from '#core/shell';
import type { World } from '#host/world';
import { findBackup, newestBackup } from '#jobs/catalog';
import { homeVault } from '#jobs/home';
import { type SignedLink, signedLinks } from '#jobs/signed-links';

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
  const manifest = id === undefined ? await newestBackup(vault, source) : await findBackup(vault, source, id);
  if (!manifest)
    throw new BackupMissing(`no backup of ${source} in vault ${vault.name} (${vault.url})`, {
      source,
      hint: `holdfast backup ${source}`,
    });
  if (seconds === null) return { result: manifest, lines: JSON.stringify(manifest, null, 2).split('\n') };
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
