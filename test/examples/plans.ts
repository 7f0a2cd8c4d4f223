import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The five example plans and README's tables about them, as text and rows. */

export const EXAMPLES = resolve(import.meta.dirname, '../../examples');
export const NAMES = ['archon72', 'chatcard', 'elspeth', 'genesis', 'sin-solver'] as const;

export function textOf(name: string): string {
  return readFileSync(join(EXAMPLES, `${name}.yaml`), 'utf8');
}

/** The plan with what waits behind `#~` in force. */
export function withLater(text: string): string {
  return text.replaceAll(/^( *)#~ /gm, '$1');
}

export interface Row {
  readonly text: string;
  /** Paths into the plan, of the second column. */
  readonly keys: readonly string[];
  readonly state: 'yes' | 'not yet' | 'yours';
}

const PART = /^(?:timezone|encryption|vaults|tiers|sources|alerts|retain|kpi|serve|cloud)(?:[.[].*)?$/;

/** README's tables by plan file; throws when a row has another form. */
export function sectionsOf(): ReadonlyMap<string, readonly Row[]> {
  const sections = readFileSync(join(EXAMPLES, 'README.md'), 'utf8').split(/^## /m).slice(1);
  return new Map(
    sections.map((section) => {
      const [file = '', ...lines] = section.split('\n');
      const rows = lines.filter((line) => line.startsWith('|') && !/^\|(?: the handbook|---| \*\*)/.test(line));
      return [file, rows.map((line) => rowOf(line, file))];
    }),
  );
}

function rowOf(line: string, file: string): Row {
  const [text, plan, state, ...more] = line.split(' |').map((cell) => cell.replace(/^\| ?/, '').trim());
  const word = /^(yes|not yet|yours)(?:: .+)?$/.exec(state ?? '')?.[1];
  if (!text || plan === undefined || word === undefined || more.join('') !== '')
    throw new Error(`a row of ${file} in README is not | sentence | plan | yes, not yet: WHAT, or yours |: ${line}`);
  const named = [...plan.matchAll(/`([^`]+)`/g)].map(([, code]) => code as string);
  return { text, keys: named.filter((code) => PART.test(code)), state: word as Row['state'] };
}

/** What stands at `sources.events.schedule[0].to`; undefined when nothing does. */
export function at(plan: unknown, key: string): unknown {
  return key
    .split(/\.|\[(\d+)\]/)
    .filter((part) => part)
    .reduce<unknown>((value, part) => (value as Record<string, unknown> | null | undefined)?.[part], plan);
}

/** The parts of a plan somebody must have asked for: vaults, tiers, and what a source promises. */
export function partsOf(plan: unknown): readonly string[] {
  const { vaults, tiers, sources, alerts, ...rest } = plan as Record<string, Record<string, unknown>>;
  const below = (path: string, value: unknown): string[] => Object.keys(value ?? {}).map((key) => `${path}.${key}`);
  return [
    ...below('vaults', vaults),
    ...below('tiers', tiers),
    ...below('alerts', alerts).filter((key) => key !== 'alerts.routes'),
    ...below('alerts.routes', alerts?.['routes']),
    ...['retain', 'serve', 'cloud'].filter((key) => rest[key] !== undefined),
    ...below('kpi', rest['kpi']),
    ...Object.entries(sources ?? {}).flatMap(([name, source]) => partsOfSource(`sources.${name}`, source, below)),
  ];
}

function partsOfSource(path: string, source: unknown, below: (path: string, value: unknown) => string[]): string[] {
  const { schedule, probes, objectives, ...rest } = source as Record<string, unknown>;
  const plain = ['drill', 'hold', 'before', 'after', 'afterRestore', 'prove'].filter((key) => rest[key] !== undefined);
  return [
    ...(schedule as unknown[]).map((_one, index) => `${path}.schedule[${index}]`),
    ...below(`${path}.probes`, probes),
    ...below(`${path}.objectives`, objectives),
    ...plain.map((key) => `${path}.${key}`),
  ];
}

/** The handbooks' retention tables, row by row. */
export const RETENTION: Readonly<
  Record<
    (typeof NAMES)[number],
    readonly {
      readonly handbook: string;
      readonly source: string;
      readonly tier: string;
      readonly keep: string | { readonly versions: number };
      readonly vaults: readonly string[];
    }[]
  >
> = {
  archon72: ['events', 'cache', 'config'].flatMap((source) => [
    { handbook: 'Daily: 7 days, Local + Cloud', source, tier: 'daily', keep: '7d', vaults: ['local', 'cloud'] },
    { handbook: 'Weekly: 4 weeks, Cloud', source, tier: 'weekly', keep: '4w', vaults: ['cloud'] },
    { handbook: 'Monthly: 12 months, Cloud (archive)', source, tier: 'monthly', keep: '12mo', vaults: ['cloud'] },
    { handbook: 'Yearly: indefinite, cold storage', source, tier: 'yearly', keep: 'forever', vaults: ['cloud'] },
  ]),
  'sin-solver': [
    { handbook: 'PostgreSQL full: 7 days, SSD', source: 'postgres', tier: 'hourly', keep: '7d', vaults: ['ssd'] },
    { handbook: 'PostgreSQL daily: 30 days, HDD', source: 'postgres', tier: 'daily', keep: '30d', vaults: ['hdd'] },
    {
      handbook: 'PostgreSQL weekly: 90 days, cloud',
      source: 'postgres',
      tier: 'weekly',
      keep: '90d',
      vaults: ['cloud'],
    },
    { handbook: 'Redis RDB: 24 hours, SSD', source: 'redis', tier: 'quarter-hourly', keep: '24h', vaults: ['ssd'] },
    { handbook: 'Redis AOF hourly: 7 days, SSD', source: 'redis', tier: 'hourly', keep: '7d', vaults: ['ssd'] },
    { handbook: 'Redis full: 30 days, HDD', source: 'redis', tier: 'daily', keep: '30d', vaults: ['hdd'] },
    {
      handbook: '.env: 10 versions',
      source: 'config',
      tier: 'versions',
      keep: { versions: 10 },
      vaults: ['ssd', 'cloud'],
    },
    {
      handbook: 'checkpoints: 5 latest, SSD',
      source: 'checkpoints',
      tier: 'checkpoints',
      keep: { versions: 5 },
      vaults: ['ssd'],
    },
    { handbook: 'training data: 30 days, HDD', source: 'training-data', tier: 'daily', keep: '30d', vaults: ['hdd'] },
    { handbook: 'final models: forever, cloud', source: 'models', tier: 'final', keep: 'forever', vaults: ['cloud'] },
  ],
  chatcard: [
    { handbook: 'Full backups: 30 days', source: 'database', tier: 'daily', keep: '30d', vaults: ['elsewhere'] },
    { handbook: 'Transaction logs: 7 days', source: 'database', tier: 'recent', keep: '7d', vaults: ['elsewhere'] },
    { handbook: 'Redis snapshots: 7 days', source: 'cache', tier: 'snapshots', keep: '7d', vaults: ['elsewhere'] },
  ],
  elspeth: [
    { handbook: 'Payload store: 90 days', source: 'payloads', tier: 'payloads', keep: '90d', vaults: ['backups'] },
    ...['audit', 'config', 'volumes'].flatMap((source) => [
      { handbook: 'Daily backups: 30 days', source, tier: 'daily', keep: '30d', vaults: ['backups'] },
      { handbook: 'Weekly backups: 90 days', source, tier: 'weekly', keep: '90d', vaults: ['backups'] },
      { handbook: 'Monthly backups: 7 years', source, tier: 'monthly', keep: '7y', vaults: ['backups'] },
    ]),
  ],
  genesis: [
    { handbook: 'Hourly: 7 days', source: 'database', tier: 'hourly', keep: '7d', vaults: ['singapore'] },
    { handbook: 'Daily: 30 days', source: 'database', tier: 'daily', keep: '30d', vaults: ['singapore'] },
    { handbook: 'Monthly: 365 days', source: 'database', tier: 'monthly', keep: '365d', vaults: ['singapore'] },
    { handbook: 'Yearly: indefinite', source: 'database', tier: 'yearly', keep: 'forever', vaults: ['singapore'] },
  ],
};
