import { withReplicas } from '#core/copy-rules';
import { NotThereYet } from '#core/errors';
import type { Plan, Source } from '#core/plan';
import type { LoadedPlan } from '#core/plan-load';
import { type PlanPath, pathText } from '#core/plan-problem';
import { tiersOf } from '#core/tiers';

/**
 * What the plan may say and this version does not do yet (later versions fill it). The rule: where a backup would hold
 * nothing of what is promised it is refused; where it holds less, it is taken and the rest is said.
 */
export interface Support {
  /** The command cannot do what the plan says. */
  readonly refusals: readonly Unsupported[];
  /** It can; these parts of the plan have no effect on it yet. */
  readonly warnings: readonly Unsupported[];
}

export interface Unsupported {
  /** Where in the plan, for `LoadedPlan.at`. */
  readonly path: PlanPath;
  readonly message: string;
  readonly hint: string | null;
}

/** The commands that read or write a source's data; all others only look at the plan or the vaults. */
const OF_DATA = ['backup', 'prove', 'restore', 'drill'];
const OF_IDENTITY = ['check', 'prove', 'restore', 'drill'];

/**
 * What a command would need of the plan that is not there yet. With a source, for a run of that source; with null, the
 * parts that belong to the plan as a whole. `check` asks for each source and once with null, and then hears each part
 * once; `backup` of a source hears of its vaults and tiers too.
 */
export function support(plan: Plan, sourceName: string | null, command: string): Support {
  const refusals: Unsupported[] = [];
  const warnings: Unsupported[] = [];
  const source = sourceName !== null && Object.hasOwn(plan.sources, sourceName) ? plan.sources[sourceName] : undefined;
  if (sourceName !== null && source && (command === 'check' || OF_DATA.includes(command))) {
    refusals.push(...refusalsOf(sourceName, source));
    warnings.push(...warningsOf(sourceName, source));
  }
  const asksForAll = command === 'check' && sourceName === null;
  if (OF_IDENTITY.includes(command) && (asksForAll || command !== 'check')) refusals.push(...identityRefusals(plan));
  if (asksForAll || (source && command === 'backup')) {
    const sources = source ? [source] : Object.values(plan.sources);
    const schedules = sources.flatMap(({ schedule }) => schedule);
    const vaults = withReplicas(
      plan,
      schedules.flatMap(({ to }) => to),
    );
    warnings.push(...vaultWarnings(plan, vaults), ...classWarnings(plan, vaults, new Set(schedules.flatMap(tiersOf))));
  }
  if (asksForAll) warnings.push(...planWarnings(plan));
  return { refusals, warnings };
}

/** @throws NotThereYet (exit 2) the first of what `support` refuses; `at` is its line of the plan */
export function assertSupported({ plan, at }: LoadedPlan, sourceName: string | null, command: string): void {
  const [first] = support(plan, sourceName, command).refusals;
  if (first) throw new NotThereYet(first.message, { hint: first.hint, source: sourceName, at: at(first.path) });
}

function* identityRefusals(plan: Plan): Iterable<Unsupported> {
  const identity = plan.encryption === 'none' ? undefined : plan.encryption.identity;
  if (!identity || !('secret' in identity)) return;
  const path = ['encryption', 'identity', 'secret'];
  yield notYet(path, 'identity: { secret: ARN }', 'write identity: { file: PATH } or { env: NAME }');
}

function notYet(path: PlanPath, what: string, hint: string | null, meanwhile = ''): Unsupported {
  const message = `${pathText(path)}: ${what} is accepted but not there yet in this version${meanwhile && `: ${meanwhile}`}`;
  return { path, message, hint };
}

function* refusalsOf(name: string, source: Source): Iterable<Unsupported> {
  const path = ['sources', name];
  if (source.postgres?.mode === 'physical') {
    yield notYet([...path, 'postgres', 'mode'], 'mode: physical', 'write mode: dump, or leave mode and wal out');
  }
  if (source.git) yield notYet([...path, 'git'], 'the engine git', 'protect the repository’s directory with files');
  if (source.rds) yield notYet([...path, 'rds'], 'the engine rds', 'protect the database with postgres, by its url');
}

function* warningsOf(name: string, source: Source): Iterable<Unsupported> {
  const path = ['sources', name];
  if (source.postgres?.wal) {
    yield notYet([...path, 'postgres', 'wal'], 'wal', null, 'there is no restore between two backups');
  }
  if (source.redis?.aof) {
    yield notYet([...path, 'redis', 'aof'], 'aof', null, 'the snapshot is taken, the log between snapshots is not');
  }
  for (const [index, { kind, every, cron }] of source.schedule.entries()) {
    if (kind !== 'differential') continue;
    const when = every ? `every ${every.text}` : `"${cron}"`;
    const meanwhile = `nothing runs ${when}; the source is as young as its last full`;
    yield notYet([...path, 'schedule', index, 'kind'], 'kind: differential', null, meanwhile);
  }
}

function* vaultWarnings(plan: Plan, used: ReadonlySet<string>): Iterable<Unsupported> {
  for (const [name, vault] of Object.entries(plan.vaults)) {
    if (!used.has(name)) continue;
    const { replica } = vault;
    if (replica && replica.vault === undefined && !isOfStack(plan, name)) {
      const what = `replica: { ${replica.account === undefined ? 'region' : 'account'} }`;
      const hint = 'make a bucket there a vault of its own, and write replica: { vault: NAME }';
      yield notYet(['vaults', name, 'replica'], what, hint, 'nothing is copied there');
    }
  }
}

/** A bucket that `cdk deploy` makes, with its replica and the rules that move what is old. */
function isOfStack(plan: Plan, name: string): boolean {
  const vault = plan.vaults[name];
  return plan.cloud !== undefined && vault !== undefined && 's3' in vault && !vault.endpoint && !vault.existing;
}

function* classWarnings(plan: Plan, vaults: ReadonlySet<string>, tiers: ReadonlySet<string>): Iterable<Unsupported> {
  const inS3 = [...vaults].some((name) => Object.hasOwn(plan.vaults, name) && 's3' in (plan.vaults[name] ?? {}));
  const byHand = [...vaults].some((name) => 's3' in (plan.vaults[name] ?? {}) && !isOfStack(plan, name));
  for (const [name, tier] of Object.entries(plan.tiers)) {
    if (!tiers.has(name) || tier.class === undefined || tier.class === 'standard') continue;
    const path = ['tiers', name, 'class'];
    if (inS3) {
      // The others are chosen at put; these are moved to, days later, by the bucket.
      if (!byHand || (tier.class !== 'archive' && tier.class !== 'deep-archive')) continue;
      const hint = 'give the bucket a lifecycle rule of your own, for objects over 128 KiB';
      yield notYet(path, `class: ${tier.class}`, hint, 'objects stay in the bucket’s default class');
    } else {
      const message = `${pathText(path)}: class: ${tier.class} has no effect, as no vault of this tier is s3`;
      yield { path, message, hint: null };
    }
  }
}

/** What nobody does yet, whatever the source. */
function* planWarnings(plan: Plan): Iterable<Unsupported> {
  for (const [name, source] of Object.entries(plan.sources)) {
    const path = ['sources', name];
    if (source.drill) yield notYet([...path, 'drill'], 'drill', null, 'prove restores and compares each backup');
  }
  yield* shortWarnings(plan);
}

/** AWS charges these classes for at least so many days (DESIGN section 4). */
const CHARGED_DAYS = { infrequent: 30, 'archive-instant': 90 } as const;

function* shortWarnings(plan: Plan): Iterable<Unsupported> {
  for (const [name, { keep, class: chosen }] of Object.entries(plan.tiers)) {
    if (chosen !== 'infrequent' && chosen !== 'archive-instant') continue;
    const days = CHARGED_DAYS[chosen];
    if (!('seconds' in keep) || keep.seconds >= days * 86_400) continue;
    const path = ['tiers', name, 'class'];
    const message = `${pathText(path)}: ${chosen} is charged for ${days} days at least, and ${name} keeps ${keep.text}`;
    yield { path, message, hint: `write class: standard for ${name}` };
  }
}
