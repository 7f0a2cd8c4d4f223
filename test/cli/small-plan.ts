import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Manifest } from '#core/manifest';
import type { BriefError } from '#jobs/backup-run';
import { Place, type Ran } from '#test/cli/holdfast';

/** A place with a key, a SQLite database and a tree: what most mishaps need to happen to. */
export interface SmallPlan {
  readonly place: Place;
  /** Public half of `holdfast.key`. */
  readonly recipient: string;
  /** Writes `holdfast.yaml`; what is not given is the default below. */
  plan(parts?: PlanParts): void;
}

export interface PlanParts {
  readonly name?: string;
  /** UTC unless told. */
  readonly timezone?: string;
  readonly encryption?: string;
  /** Flow YAML of the `vaults` map. */
  readonly vaults?: string;
  /** YAML lines below `sources:`, without their indentation. */
  readonly sources?: readonly string[];
  readonly tiers?: string;
}

export const SCHEDULE = 'schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }]';

export async function smallPlan(environment: Record<string, string> = {}): Promise<SmallPlan> {
  const place = new Place(environment);
  makeDatabase(place.path('app.db'), ['one', 'two']);
  mkdirSync(place.path('tree', 'deep'), { recursive: true });
  place.write('tree/a.json', '{"a":1}');
  place.write('tree/deep/b c.txt', 'b');
  // What `holdfast keygen` calls, for a tenth of its cost.
  execFileSync('age-keygen', ['-o', place.path('holdfast.key')], { stdio: 'ignore' });
  const recipient = execFileSync('age-keygen', ['-y', place.path('holdfast.key')], { encoding: 'utf8' }).trim();
  const small = planIn(place, recipient);
  small.plan();
  return small;
}

/** A place of its own with the same key, data and vault. */
export function copyOf({ place, recipient }: SmallPlan): SmallPlan {
  const copy = new Place();
  for (const name of readdirSync(place.directory))
    if (!['scratch', 'state'].includes(name)) cpSync(place.path(name), copy.path(name), { recursive: true });
  return planIn(copy, recipient);
}

function planIn(place: Place, recipient: string): SmallPlan {
  const plan = (parts: PlanParts = {}): void => {
    place.write(
      'holdfast.yaml',
      `version: 1
name: ${parts.name ?? 'small'}${parts.timezone === undefined ? '' : `\ntimezone: ${parts.timezone}`}
encryption: ${parts.encryption ?? `{ recipients: [${recipient}], identity: { file: holdfast.key } }`}
vaults: ${parts.vaults ?? '{ here: { disk: ./vault } }'}
tiers: ${parts.tiers ?? '{ daily: { keep: 30d } }'}
sources:
${(parts.sources ?? [`app: { sqlite: { file: app.db }, ${SCHEDULE} }`, `tree: { files: { paths: [tree] }, ${SCHEDULE} }`]).map((line) => `  ${line}`).join('\n')}
`,
    );
  };
  return { place, recipient, plan };
}

export function makeDatabase(file: string, notes: readonly string[]): void {
  rmSync(file, { force: true });
  const db = new DatabaseSync(file);
  db.exec('create table notes (id integer primary key, text text)');
  const insert = db.prepare('insert into notes (text) values (?)');
  for (const note of notes) insert.run(note);
  db.close();
}

export function notesIn(file: string): unknown[] {
  const db = new DatabaseSync(file, { readOnly: true });
  try {
    return db
      .prepare('select text from notes order by id')
      .all()
      .map((row) => row['text']);
  } finally {
    db.close();
  }
}

export async function good(running: Promise<Ran>): Promise<Ran> {
  const ran = await running;
  assert.equal(ran.code, 0, `${ran.stdout}\n${ran.stderr}`);
  return ran;
}

/** Ends as it should, with a message and a hint on stderr for people, and the same in the `--json` document. */
export async function refused(place: Place, args: readonly string[], code: number, message: RegExp): Promise<Ran> {
  const ran = await place.run(...args, '--json');
  const { error, exit } = ran.json();
  if (process.env['SHOW']) console.error(`\n$ ${args.join(' ')} => ${ran.code}\n${ran.stderr}`);
  assert.equal(ran.code, code, `${args.join(' ')}: ${ran.stdout}${ran.stderr}`);
  assert.equal(exit, code);
  assert.ok(error, `${args.join(' ')}: no error in ${ran.stdout}`);
  assert.match(error.message, message, args.join(' '));
  assert.ok(error.hint, `${args.join(' ')}: no hint beside: ${error.message}`);
  assert.doesNotMatch(error.message, /\n\s+at |Error:/, 'a stack trace is no message');
  assert.match(ran.stderr, /^error: /m);
  assert.match(ran.stderr, /^hint: /m);
  return ran;
}

export async function newest(place: Place, source: string): Promise<Manifest> {
  return (await good(place.run('show', source, '--json'))).json().result as Manifest;
}

export interface RunJson {
  readonly source: string;
  readonly id: string | null;
  readonly status: string;
  readonly proof: string;
  readonly vaults: readonly string[];
  readonly error: BriefError | null;
}

export function runsOf(ran: Ran): readonly RunJson[] {
  return (ran.json().result as { runs: RunJson[] }).runs;
}

export interface EntryJson {
  readonly event: string;
  readonly id: string | null;
  readonly details: Record<string, unknown>;
}

export async function ledgerOf(place: Place, source: string): Promise<readonly EntryJson[]> {
  return ((await good(place.run('ledger', source, '--json'))).json().result as { entries: EntryJson[] }).entries;
}

/** Below a folder, as text; of everything that is not sealed. */
export function filesBelow(folder: string): { readonly file: string; readonly text: string }[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const file = join(entry.parentPath, entry.name);
      return { file, text: readFileSync(file, 'latin1') };
    });
}

/** Replaces a record, as somebody with write access to the vault would. */
export function edit(file: string, change: (text: string) => string): void {
  const text = readFileSync(file, 'utf8');
  const changed = change(text);
  assert.notEqual(changed, text, `nothing to change in ${file}`);
  rmSync(file);
  writeFileSync(file, changed);
}

export function flipByte(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes[at] = (bytes[at] as number) ^ 1;
  rmSync(file);
  writeFileSync(file, bytes);
}
