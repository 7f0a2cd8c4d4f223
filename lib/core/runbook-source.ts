import { formatTook } from '#core/duration';
import { backupFolder } from '#core/manifest';
import { fenced, inlineCode } from '#core/markdown';
import type { RestorableSource } from '#core/runbook';
import { hereDocument } from '#core/shell';

export interface SectionPlace {
  readonly number: number;
  /** Only one source of an engine can become the machine's own service. */
  readonly firstOfEngine: boolean;
  readonly setVault: readonly string[];
  readonly fetching: readonly string[];
  /** What comes before that; null = nothing. */
  readonly thawing: string | null;
}

/** One source from the check of its bytes to what is still to do. */
export function sourceSection(one: RestorableSource, place: SectionPlace): string {
  const { source, backup, afterRestore, address } = one;
  const { manifest, guide, seconds } = backup;
  const folder = backupFolder(manifest);
  const sums = manifest.artifacts.flatMap(({ volumes }) =>
    volumes.map((volume) => `${volume.sha256}  ${folder}/${volume.name}`),
  );
  const script = `restore-${source}.sh`;
  const parts = [
    `### 4.${place.number} ${source} (${manifest.engine})`,
    `Backup ${manifest.id}, data of ${manifest.snapshotAt}, taken on ${inlineCode(manifest.host)}${address === null ? '' : ` from ${inlineCode(address)}`}. ${seconds === null ? 'Its restore was never measured.' : `Restoring and comparing it took ${formatTook(seconds)}.`}${manifest.point === null ? '' : ` Point: ${inlineCode(manifest.point)}.`}${manifest.reason === null ? '' : ` Reason: ${inlineCode(manifest.reason)}.`}`,
    ...(place.thawing === null ? [] : [place.thawing]),
    `Are the bytes as they were written? Each line must say \`OK\`:`,
    fenced(
      'sh',
      [...place.setVault, ...place.fetching, hereDocument('(cd "$VAULT" && sha256sum -c)', sums.join('\n'))].join('\n'),
    ),
    'The script (from the manifest, whole):',
    fenced('sh', hereDocument(`cat > ${script}`, manifest.restore.script, 'END_OF_SCRIPT')),
    ['`TARGET`: ', guide.target.join('\n\n')].join(''),
    fenced('sh', `export TARGET=${guide.exampleTarget}`),
  ];
  if (guide.makeTarget !== null) parts.push('On this machine, make it:', fenced('sh new-server', guide.makeTarget));
  parts.push(
    'Run it. It checks the bytes again, refuses a target that holds something, and stops at the first error:',
    fenced('sh', `sh -eu ${script} && echo "${source}: loaded"`),
    `What to expect:\n\n${guide.expect.map((line) => `- ${line}`).join('\n')}`,
  );
  if (guide.look) {
    parts.push('Look at it:', fenced('sh', guide.look.script));
    if (guide.look.answer !== null) parts.push('It was, in the backup:', fenced('text', guide.look.answer));
  }
  parts.push(...guide.after);
  if (guide.putInPlace !== null && place.firstOfEngine)
    parts.push("To make it this machine's own server:", fenced('sh new-server', guide.putInPlace));
  if (afterRestore.length > 0)
    parts.push(
      'After a restore the plan runs these, where the application is (`afterRestore`), in order, to the first that fails:',
      fenced('text', afterRestore.join('\n')),
    );
  return parts.join('\n\n');
}
