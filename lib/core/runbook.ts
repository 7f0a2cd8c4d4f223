import { formatSeconds, formatTook } from '#core/duration';
import type { EngineGuide } from '#core/engine-guide';
import type { Manifest } from '#core/manifest';
import { fenced, inlineCode, markdownTable, plainText } from '#core/markdown';
import type { ProofState } from '#core/proof';
import { keySection } from '#core/runbook-key';
import { sourceSection } from '#core/runbook-source';
import { bucketVariable, fetchLine, setVaultLine, toolsSection, vaultSection } from '#core/runbook-steps';
import { thawWords } from '#core/runbook-thaw';
import { shellWord } from '#core/shell';
import { formatBytes } from '#core/size';
import type { ArchivedByPlan } from '#core/thaw';

/**
 * `RUNBOOK.md`: the page of the worst day. Facts in, Markdown out; the same facts give the same page. Blocks marked `sh`
 * run as they stand, in their order, in one shell; those marked `sh new-server` too, where this machine is to become the
 * server; text of others is in fences or inline code that it cannot leave.
 */

/** Key in every vault; written again after each proven backup. */
export const RUNBOOK_KEY = 'RUNBOOK.md';

export interface RunbookFacts {
  readonly plan: string;
  readonly writtenAt: Date;
  /** Name of the vault the page lies in; null for a page that somebody asked for. */
  readonly inVault: string | null;
  readonly key: RunbookKey;
  /** Those whose backups are on the page, and those that could not be read. */
  readonly vaults: readonly RunbookVault[];
  /** In the order to restore them. */
  readonly sources: readonly RunbookSource[];
  /** What could not be found out, in words. */
  readonly notes: readonly string[];
}

export interface RunbookKey {
  /** Where the plan says the identity is, in words; null when it says nothing. */
  readonly saidToBe: string | null;
  /** Public keys of the plan, as it has them. */
  readonly recipients: readonly string[];
  /** Secret of Secrets Manager that a deployment in AWS keeps it in; null = there is none. */
  readonly secret: { readonly name: string; readonly region: string } | null;
}

export interface RunbookVault {
  readonly name: string;
  /** Printable, without secrets. */
  readonly url: string;
  /** Null for a disk. */
  readonly bucket: {
    readonly name: string;
    /** Without slashes at its ends; may be empty. */
    readonly prefix: string;
    readonly region: string | null;
    readonly endpoint: string | null;
    /** Null: no deployment in AWS has made anything around it. */
    readonly deployed: RunbookDeployment | null;
  } | null;
  /** Why it could not be read when the page was written; null when it was. */
  readonly problem: string | null;
}

export type RunbookBucket = NonNullable<RunbookVault['bucket']>;

/** What `cloud:` of the plan has made for people who restore from a bucket. */
export interface RunbookDeployment {
  /** Name of the read-only role. */
  readonly restorer: string;
  /** Null: the plan does not say which. */
  readonly account: string | null;
  /** ARNs of who may take the role on; none = whoever may assume roles in the account. */
  readonly restorers: readonly string[];
  /** The bucket that S3 copies this one to; account null = the same. */
  readonly replica: {
    readonly bucket: string;
    readonly region: string;
    readonly account: string | null;
    /** What is copied there the first bucket's owner has to say: the deployment leaves that one alone. */
    readonly ofOwner: boolean;
  } | null;
}

export interface RunbookSource {
  readonly source: string;
  /** What the plan says of its address, `${NAME}`s as they stand, without passwords; null when it left the plan. */
  readonly address: string | null;
  readonly backup: RunbookBackup | null;
  /** Newer than it and not proven, in the same vault. */
  readonly newer: readonly { readonly id: string; readonly proof: ProofState }[];
  /** Proven ones in other vaults: the same, or newer where its copy is missing here. */
  readonly copies: readonly { readonly vault: string; readonly id: string }[];
  readonly afterRestore: readonly string[];
  /** Records that were passed over. */
  readonly problems: readonly string[];
}

export interface RunbookBackup {
  readonly manifest: Manifest;
  readonly vault: string;
  /** False: the plan says `prove: never`, and no proof speaks for it. */
  readonly proven: boolean;
  /** What its newest proof took. */
  readonly seconds: number | null;
  readonly guide: EngineGuide;
  /** When the plan has it moved to an archive class; null = never. */
  readonly archived: ArchivedByPlan | null;
}

/** A source that can be restored from the page. */
export type RestorableSource = RunbookSource & { readonly backup: RunbookBackup };

export function storedBytes(manifest: Manifest): number {
  return manifest.artifacts.flatMap(({ volumes }) => volumes).reduce((sum, { bytes }) => sum + bytes, 0);
}

export function plainBytes(manifest: Manifest): number {
  return manifest.artifacts.reduce((sum, { plain }) => sum + plain.bytes, 0);
}

export function runbook(facts: RunbookFacts): string {
  const restorable = facts.sources.filter((one): one is RestorableSource => one.backup !== null);
  const used = facts.vaults.filter(({ name }) => restorable.some(({ backup }) => backup.vault === name));
  const parts = [
    head(facts),
    whatThereIs(facts, restorable),
    ...(restorable.length === 0
      ? ['There is nothing to restore from: no source has a proven backup. See the last section.']
      : [
          toolsSection(restorable),
          vaultSection(used, restorable),
          keySection(facts.key, restorable, used),
          restoring(facts, restorable, used),
          withHoldfast(restorable, used),
        ]),
    notCovered(facts),
  ];
  return `${parts.join('\n\n')}\n`;
}

function head({ plan, writtenAt, inVault }: RunbookFacts): string {
  return `# Restore ${plainText(plan)} by hand

Written by Holdfast at ${writtenAt.toISOString()}${inVault === null ? '' : `, in vault ${inlineCode(inVault)}`}. It is written anew after each proven backup.

You need: a clean Debian (or Ubuntu) machine, this page, the vault, the key. Nothing else, not Holdfast either. Go through it from top to bottom, as root, in **one** terminal: later blocks use what earlier ones set. Lines that begin with \`export\` are yours to correct before you run them. If a command fails, stop and read what it says; nothing here writes into the vault, and nothing overwrites what is there.

Restore beside, not over: a new database, a new directory. You can switch later; you cannot undo.`;
}

function whatThereIs(facts: RunbookFacts, restorable: readonly RestorableSource[]): string {
  const rows = facts.sources.map(({ source, backup }) => {
    if (!backup) return [source, '', '**none**', '', '', '', '', ''];
    const { manifest, vault, seconds, proven } = backup;
    return [
      source,
      manifest.engine,
      `${manifest.id}${proven ? '' : ' (**unproven by choice**)'}`,
      manifest.snapshotAt,
      `${seconds === null ? 'never measured' : formatTook(seconds)}${thawCell(facts.writtenAt, backup)}`,
      formatBytes(storedBytes(manifest)),
      formatBytes(plainBytes(manifest)),
      inlineCode(vault),
    ];
  });
  const sum = (of: (one: RestorableSource) => number): number => restorable.reduce((all, one) => all + of(one), 0);
  const measured = formatTook(sum(({ backup }) => backup.seconds ?? 0));
  return `## What there is

${markdownTable(['source', 'kind', 'newest proven backup', 'its data is of', 'restored and compared in', 'stored', 'unpacked', 'vault'], rows)}

What came after "its data is of" is not in these backups. All together: ${formatBytes(sum(({ backup }) => storedBytes(backup.manifest)))} to read, ${formatBytes(sum(({ backup }) => plainBytes(backup.manifest)))} unpacked (have twice that free), ${measured} measured by the last proofs on ${hostsOf(restorable)}.`;
}

function thawCell(now: Date, { archived }: RunbookBackup): string {
  if (!archived) return '';
  const when = archived.from <= now ? '' : `from ${archived.from.toISOString().slice(0, 10)} on `;
  return `, ${when}after a thaw of up to ${formatSeconds(archived.seconds)}`;
}

function hostsOf(restorable: readonly RestorableSource[]): string {
  const hosts = [...new Set(restorable.map(({ backup }) => backup.manifest.host))].sort();
  return hosts.length === 0 ? 'no machine' : hosts.map(inlineCode).join(', ');
}

function restoring(
  facts: RunbookFacts,
  restorable: readonly RestorableSource[],
  used: readonly RunbookVault[],
): string {
  const engines = new Set<string>();
  const sections = restorable.map((one, index) => {
    const { engine } = one.backup.manifest;
    const first = !engines.has(engine);
    engines.add(engine);
    return sourceSection(one, {
      number: index + 1,
      firstOfEngine: first,
      setVault: setVaultLine(one, used),
      fetching: fetchLine(one, used, null),
      thawing: thawWords(one, used),
    });
  });
  const page = facts.inVault === null ? 'this page' : `\`${RUNBOOK_KEY}\``;
  return `## 4. The sources, in this order

${fenced('sh', 'mkdir -p "$HOME/restored" && cd "$HOME/restored"')}

Each source's script stands in a block that writes it into a file. Where pasting is not possible, cut them all out of ${page} at once: \`sed -n "/^cat > restore-.* <<'END_OF_SCRIPT/,/^END_OF_SCRIPT/p" ${RUNBOOK_KEY} | sh\`

${sections.join('\n\n')}`;
}

function withHoldfast(restorable: readonly RestorableSource[], used: readonly RunbookVault[]): string {
  const [first] = restorable as readonly [RestorableSource, ...RestorableSource[]];
  const vault = used.find(({ name }) => name === first.backup.vault) ?? used[0];
  const below = vault?.bucket?.prefix ? `/${vault.bucket.prefix}` : '';
  const address = vault?.bucket ? `"s3://$${bucketVariable(vault.name, used)}${below}"` : '"$VAULT"';
  const endpoint = vault?.bucket?.endpoint ? `export AWS_ENDPOINT_URL=${shellWord(vault.bucket.endpoint)}\n` : '';
  return `## 5. With Holdfast instead, if it can be had

In a checkout of it, for each source; it compares every value before it says \`compared and equal\`:

${fenced('sh holdfast', `${endpoint}bin/setup\nbin/holdfast restore ${first.source} --vault ${address} --identity "$KEY" --to "$TARGET"`)}

It creates missing PostgreSQL roles without login, also where the backup holds the roles themselves (\`globals: true\`): those come back by the script above alone.`;
}

function notCovered({ sources, vaults, notes }: RunbookFacts): string {
  const items: string[] = [];
  for (const one of sources) {
    const where = one.backup ? ` (vault ${inlineCode(one.backup.vault)})` : '';
    if (!one.backup) items.push(`**${one.source} has no proven backup.**`);
    else if (!one.backup.proven)
      items.push(`${one.source}: unproven by choice (\`prove: never\`): nobody has restored ${one.backup.manifest.id}`);
    for (const { id, proof } of one.newer)
      items.push(`${one.source}: ${id} is ${one.backup ? 'newer, but' : 'there, but'} ${proof}${where}`);
    for (const { vault, id } of one.copies)
      if (one.backup && id > one.backup.manifest.id)
        items.push(`${one.source}: vault ${inlineCode(vault)} has a newer proven backup, ${id}`);
    items.push(...one.problems.map((problem) => `${one.source}: ${plainText(problem)}`));
  }
  for (const { name, url, problem } of vaults)
    if (problem !== null)
      items.push(
        `vault ${inlineCode(name)} (${inlineCode(url)}) could not be read when this was written: ${plainText(problem)}`,
      );
  items.push(...notes.map(plainText));
  const compared = sources.flatMap(({ source, backup }) =>
    backup
      ? [
          ...backup.guide.notCompared,
          ...backup.manifest.warnings.map((one) => `said at its capture: ${plainText(one)}`),
        ].map((what) => `${source}: ${what}`)
      : [],
  );
  return `## 6. What this page does not cover

${list(items.length > 0 ? items : ['Nothing newer, unproven or unread was found.'])}

Not in these backups, or not compared:

${list([...compared, "this machine's own configuration, cron lines, certificates, values of the plan's `${NAME}`s"])}

Another backup than these: every \`backups/<source>/<tier>/<id>/manifest.json\` holds its own script. It is proven if \`proofs/<source>/<id>/\` has a name that ends in \`-proven.json\` and none in \`-disproven.json\`. \`apt-get install -y jq; jq -r .restore.script manifest.json > restore.sh\`. An older Holdfast page is no loss: the vault alone tells everything.`;
}

function list(items: readonly string[]): string {
  return items.map((item) => `- ${item}`).join('\n');
}
