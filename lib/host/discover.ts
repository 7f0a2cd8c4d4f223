import { type Dirent, existsSync } from 'node:fs';
import { open, readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseEnv } from 'node:util';
import { messageOf } from '#core/errors';
import type { Traces, TreeTrace } from '#core/plan-sources';
import { type ComposeFacts, readCompose } from '#host/compose';
import { tracesOfVariables } from '#host/variables';

export interface Discovery extends Traces {
  /** What could not be read, or is not covered: for a person. */
  readonly notes: readonly string[];
}

const COMPOSE = ['compose.yaml', 'compose.yml', 'docker-compose.yaml', 'docker-compose.yml'];
const DEEPEST = 4;
/** A home directory or a disk's root is not an application: the walk gives up with a note. */
const MOST_ENTRIES = 50_000;

/** Made by tools and made again by them, or backups already. */
const IGNORED = new Set([
  ...['node_modules', '.git', '.hg', '.svn', 'vendor', 'bower_components', 'venv', '.venv', '__pycache__', '.tox'],
  ...['dist', 'build', 'target', 'out', 'coverage', '.next', '.nuxt', '.cache', 'cache', 'tmp', '.tmp', 'log', 'logs'],
  ...['backup', 'backups', 'test', 'tests', 'fixtures', 'lost+found'],
]);
const SQLITE_NAME = /\.(?:db|sqlite|sqlite3)$/i;
const SQLITE_HEADER = 'SQLite format 3\0';
const TREES = new Set([
  ...['payloads', 'payload', 'uploads', 'upload', 'media', 'attachments', 'files', 'storage', 'data', 'state'],
  ...['documents', 'models', 'checkpoints', 'training', 'training-data'],
]);
const CONFIGURATION_DIRECTORIES = new Set([
  'config',
  'configs',
  'conf',
  'conf.d',
  'k8s',
  'kubernetes',
  'deploy',
  'nginx',
]);
const CONFIGURATION_FILE = /\.(?:ya?ml|toml|ini|conf|cfg|properties)$/i;
const NOT_CONFIGURATION = /(?:^|[-.])lock\.|^holdfast\b|^\.|^biome|^tsconfig|^mkdocs|^pyproject/i;

/** Looks around in an application's directory. Reads names, a few headers, `.env` and compose files; changes nothing. */
export async function discover(
  directory: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Discovery> {
  const notes: string[] = [];
  const beside = existsSync(join(directory, '.env')) ? parseEnv(await readFile(join(directory, '.env'), 'utf8')) : {};
  const names = await namesIn(directory, notes);
  const compose = await composeFacts(directory, names, new Set(Object.keys(beside)), notes);
  const tree = await walk(directory, notes);
  for (const { name, service } of compose.volumes) {
    notes.push(
      `the docker volume ${name} of service ${service} is not in the plan: bind it to a directory, or name its path`,
    );
  }
  const trees: TreeTrace[] = [];
  for (const { path, service } of [...compose.mounts, ...tree.trees.map((path) => ({ path, service: null }))]) {
    const known = trees.some((one) => one.path === path) || CONFIGURATION_DIRECTORIES.has(basename(path));
    if (known || !tree.directories.has(path) || tree.clusters.has(path)) continue;
    trees.push({ path, service, hasDatabases: tree.databases.some((file) => file.startsWith(`${path}/`)) });
  }
  return {
    variables: tracesOfVariables(environment, beside),
    services: compose.services,
    databases: tree.databases,
    trees,
    configuration: tree.configuration,
    notes,
  };
}

async function composeFacts(
  directory: string,
  names: ReadonlyMap<string, Dirent>,
  known: ReadonlySet<string>,
  notes: string[],
): Promise<ComposeFacts> {
  // As docker does: the first of the four names that is there.
  const name = COMPOSE.find((candidate) => names.has(candidate));
  const none: ComposeFacts = { services: [], mounts: [], volumes: [] };
  if (name === undefined) return none;
  const file = join(directory, name);
  try {
    return readCompose(await readFile(file, 'utf8'), file, known);
  } catch (error) {
    notes.push(`${name} could not be read, so its services are not in the plan: ${messageOf(error).split('\n')[0]}`);
    return none;
  }
}

interface Tree {
  /** SQLite files. */
  readonly databases: string[];
  /** Directories with names of data trees and something else in them than SQLite files. */
  readonly trees: string[];
  readonly configuration: string[];
  /** Every directory with a file below it that belongs to a copy of the tree. */
  readonly directories: Set<string>;
  /** Data directories of PostgreSQL, which only PostgreSQL can copy. */
  readonly clusters: Set<string>;
}

async function walk(root: string, notes: string[]): Promise<Tree> {
  const tree: Tree = { databases: [], trees: [], configuration: [], directories: new Set(), clusters: new Set() };
  let entries = 0;
  let tooMany = false;

  async function enter(path: string, depth: number): Promise<void> {
    const names = await namesIn(join(root, path), notes);
    // A vault must never be backed up into itself.
    if (names.has('vault.json') && names.has('plans')) return;
    if (names.has('PG_VERSION') && names.has('global')) {
      for (const up of upwards(path)) tree.clusters.add(up);
      return;
    }
    const folders: string[] = [];
    for (const [name, entry] of [...names].sort(([a], [b]) => (a < b ? -1 : 1))) {
      entries++;
      if (entries > MOST_ENTRIES) {
        tooMany = true;
        return;
      }
      const below = path === '' ? name : `${path}/${name}`;
      if (name.includes('\ufffd')) continue;
      if (entry.isDirectory()) {
        if (!IGNORED.has(name)) folders.push(below);
        if (path === '' && CONFIGURATION_DIRECTORIES.has(name)) tree.configuration.push(below);
      } else if (entry.isFile()) {
        if (SQLITE_NAME.test(name) && (await isSqlite(join(root, below), notes))) tree.databases.push(below);
        else if (!/-(?:wal|shm|journal)$/.test(name)) for (const up of upwards(path)) tree.directories.add(up);
        if (path === '' && isConfigurationFile(name)) tree.configuration.push(below);
      }
    }
    for (const below of folders) if (depth < DEEPEST) await enter(below, depth + 1);
  }

  await enter('', 0);
  if (tooMany) {
    notes.push(
      `${root} holds more than ${MOST_ENTRIES} files, so not all of it was looked at: add what the plan lacks`,
    );
  }
  for (const path of tree.directories) if (isDataTree(path)) tree.trees.push(path);
  tree.trees.sort();
  tree.configuration.sort();
  return tree;
}

/** Deep inside, `models` or `data` are more often names of code. */
function isDataTree(path: string): boolean {
  const parts = path.split('/');
  const above = parts.at(-2);
  return (
    TREES.has(basename(path)) &&
    parts.length <= 3 &&
    (above === undefined || /^\.|^(?:data|public|static|storage|var)$/.test(above))
  );
}

/** Every directory that `path` lies in, itself first. */
function upwards(path: string): string[] {
  const parts = path.split('/').filter(Boolean);
  return parts.map((_part, index) => parts.slice(0, parts.length - index).join('/'));
}

function isConfigurationFile(name: string): boolean {
  if (COMPOSE.includes(name) || name === 'Dockerfile') return true;
  return CONFIGURATION_FILE.test(name) && !NOT_CONFIGURATION.test(name);
}

async function namesIn(path: string, notes: string[]): Promise<Map<string, Dirent>> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return new Map(entries.map((entry) => [entry.name, entry]));
  } catch (error) {
    notes.push(`${path} was not looked into: ${(error as NodeJS.ErrnoException).code}`);
    return new Map();
  }
}

async function isSqlite(path: string, notes: string[]): Promise<boolean> {
  try {
    const file = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(16), 0, 16, 0);
      return buffer.toString('latin1', 0, bytesRead) === SQLITE_HEADER;
    } finally {
      await file.close();
    }
  } catch (error) {
    notes.push(`${path} was not looked into: ${(error as NodeJS.ErrnoException).code}`);
    return false;
  }
}
