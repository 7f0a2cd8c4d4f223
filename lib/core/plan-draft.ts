import type { DraftSource } from '#core/plan-sources';

/** Everything `holdfast init` decided, before it is text. */
export interface PlanDraft {
  /** Where editors find the JSON Schema: a path or an address. */
  readonly schema: string;
  readonly name: string;
  readonly timezone: string;
  /** Public keys. */
  readonly recipients: readonly string[];
  /** As the plan shall say it, relative to itself. */
  readonly identityFile: string;
  readonly vault: { readonly name: string; readonly disk: string };
  readonly sources: readonly DraftSource[];
}

const TIERS: readonly (readonly [string, string])[] = [
  ['hourly', '{ keep: 7d }'],
  ['daily', '{ keep: 30d }'],
  ['weekly', '{ keep: 90d }'],
  ['monthly', '{ keep: 12mo }'],
  ['yearly', '{ keep: forever }'],
  ['config', '{ keep: { versions: 10 }, every: 1h }'],
];

/** A plan as text, with comments for who reads it first. It loads as it is; sources that lack something are comments. */
export function draftPlan(draft: PlanDraft): string {
  const ready = draft.sources.filter((source) => source.lacks === null);
  const later = draft.sources.filter((source) => source.lacks !== null);
  const sources = [
    ...ready.flatMap((source) => sourceLines(source, draft.vault.name)),
    ...later.flatMap((source) => [
      `  # ${line(source.why)}: ${line(source.lacks ?? '')}`,
      ...sourceLines(source, draft.vault.name)
        .slice(1)
        .map((text) => text.replace(/^ {2}/, '  # ')),
    ]),
  ];
  const used = TIERS.filter(([tier]) => draft.sources.some((source) => tiersOf(source).includes(tier)));
  return `${[
    `# yaml-language-server: $schema=${line(draft.schema)}`,
    '# Written by holdfast init from what it found here. Change it, then run: holdfast check',
    '# ${NAME} is taken from the environment or from .env beside this file; its value is stored nowhere.',
    'version: 1',
    `name: ${scalar(draft.name)}`,
    `timezone: ${scalar(draft.timezone)}`,
    '',
    'encryption:',
    '  # Backups are sealed to these public keys. Add a second one, whose key file is kept elsewhere:',
    '  # holdfast keygen --out second.key',
    '  recipients:',
    ...draft.recipients.map((recipient) => `    - ${scalar(recipient)}`),
    '  # Opens them again: read by prove, restore and drill only. Without it every backup is lost.',
    `  identity: { file: ${scalar(draft.identityFile)} }`,
    '',
    'vaults:',
    `  ${draft.vault.name}: { disk: ${scalar(draft.vault.disk)} }`,
    '  # A disk dies with its machine. A bucket elsewhere, to be named in the schedules below, too:',
    '  # cloud: { s3: BUCKET, prefix: PREFIX, region: eu-north-1 }',
    '  # space: { s3: BUCKET, endpoint: "https://HOST", region: REGION, accessKeyId: "${S3_KEY}", secretAccessKey: "${S3_SECRET}" }',
    '',
    '# How long the backups of each class are kept.',
    'tiers:',
    ...used.map(([tier, settings]) => `  ${tier}: ${settings}`),
    '',
    '# Each backup is restored into a scratch place and compared before it is called good (prove: always).',
    'sources:',
    ...sources,
  ].join('\n')}\n`;
}

function tiersOf(source: DraftSource): string[] {
  if (source.engine === 'redis') return ['hourly', 'daily'];
  if (source.engine === 'files' && source.configuration) return ['config'];
  return ['daily', 'weekly', 'monthly', 'yearly'];
}

function sourceLines(source: DraftSource, vault: string): string[] {
  const key = `  ${source.name}:`;
  const head = [`  # ${line(source.why)}`, key];
  const tiers = `tiers: ${flow(tiersOf(source))}, to: ${flow([vault])}`;
  switch (source.engine) {
    case 'postgres': {
      const exec = source.exec === null ? '' : `, exec: ${flow(source.exec)}`;
      return [
        ...head,
        `    postgres: { url: ${scalar(source.url)}${exec} }`,
        '    # Asked in the snapshot that is backed up, and again of the restored copy; the answers must be equal:',
        '    # probes: { newest: select max(id) from TABLE }',
        `    schedule: [{ cron: "0 2 * * *", ${tiers} }]`,
      ];
    }
    case 'redis':
      return [...head, `    redis: { url: ${scalar(source.url)} }`, `    schedule: [{ every: 1h, ${tiers} }]`];
    case 'sqlite':
      return [
        ...head,
        `    sqlite: { file: ${scalar(source.file)} }`,
        '    # probes: { rows: select count(*) from TABLE }',
        `    schedule: [{ cron: "0 2 * * *", ${tiers} }]`,
      ];
    case 'files':
      return source.configuration ? configurationLines(source, head, vault) : treeLines(source, head, tiers);
  }
}

type Files = Extract<DraftSource, { engine: 'files' }>;

function configurationLines(source: Files, head: string[], vault: string): string[] {
  return [
    ...head,
    '    # sanitise leaves out *.env, *secret* and key files; onChange stores nothing while nothing changed.',
    `    files: { paths: ${flow(source.paths)}, sanitise: true, onChange: true }`,
    `    schedule: [{ every: 1h, tier: config, to: ${flow([vault])} }]`,
  ];
}

function treeLines(source: Files, head: string[], tiers: string): string[] {
  const exclude = source.exclude.length === 0 ? '' : `, exclude: ${flow(source.exclude)}`;
  const stop = `docker compose stop ${source.service}`;
  const start = `docker compose start ${source.service}`;
  return [
    ...head,
    `    files: { paths: ${flow(source.paths)}${exclude} }`,
    ...(source.service === null
      ? []
      : [
          '    # For a moment in which nobody writes:',
          `    # before: ${flow([line(stop)])}`,
          `    # after: ${flow([line(start)])}`,
        ]),
    `    schedule: [{ cron: "30 2 * * *", ${tiers} }]`,
  ];
}

function flow(items: readonly string[]): string {
  return `[${items.map(scalar).join(', ')}]`;
}

/** Words that YAML 1.1 readers take for something else than text. */
const SPECIAL = /^(?:true|false|yes|no|on|off|y|n|null|\.inf|\.nan)$/i;

/** Plain where every YAML reader agrees that it is text, in double quotes otherwise. */
function scalar(text: string): string {
  const plain = /^[A-Za-z./_][A-Za-z0-9./_-]*$/.test(text) && /[A-Za-z]/.test(text) && Number.isNaN(Number(text));
  return plain && !SPECIAL.test(text)
    ? text
    : JSON.stringify(text).replaceAll(/[\x7f-\x9f\u2028\u2029\ufeff]/g, escaped);
}

function escaped(letter: string): string {
  return `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** A comment must not end before its line does. */
function line(text: string): string {
  return text.replaceAll(/[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+/g, ' ');
}
