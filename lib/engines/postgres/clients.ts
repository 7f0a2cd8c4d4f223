import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandFailed, ToolMissing } from '#core/errors';
import { isTask } from '#core/job';
import type { RunContext } from '#core/ports';

/** Where distributions keep the programs of one major, beside the PATH. */
function foldersOf(major: number): readonly string[] {
  return [
    `/usr/lib/postgresql/${major}/bin`,
    `/usr/pgsql-${major}/bin`,
    `/usr/local/pgsql-${major}/bin`,
    `/opt/homebrew/opt/postgresql@${major}/bin`,
    `/usr/local/opt/postgresql@${major}/bin`,
  ];
}

/** A program that may be started, and its version: `15.18`. */
export interface Tool {
  readonly path: string;
  readonly version: string;
  readonly major: number;
}

export interface Where {
  /** The plan's `bin`, looked at first. */
  readonly bin: string | null;
  readonly exec: readonly string[];
}

/**
 * A client program of the server's own major: a newer pg_dump writes what the server's own pg_restore cannot read, and
 * a newer pg_restore sets parameters an older server does not know (both tried).
 * @throws ToolMissing naming the package; in a task, what to write into the plan
 */
export async function clientOf(major: number, program: string, where: Where, run: RunContext): Promise<Tool> {
  const seen: string[] = [];
  const candidates =
    where.exec.length > 0
      ? [where.bin === null ? program : `${where.bin}/${program}`]
      : [...(where.bin === null ? [] : [where.bin]), ...foldersOf(major)].map((folder) => join(folder, program));
  if (where.exec.length === 0) candidates.push(program);
  for (const candidate of candidates) {
    const tool = await look(candidate, where.exec, run);
    if (tool?.major === major) return tool;
    if (tool) seen.push(`${tool.path} is of ${tool.version}`);
  }
  const missing = `no ${program} of PostgreSQL ${major}, the server's own major,`;
  const others = seen.length > 0 ? ` (${seen.join(', ')})` : '';
  // The ledger keeps the message alone, and it is all that whoever is woken gets to read.
  if (isTask(run.host))
    throw new ToolMissing(`${missing} in the task's image${others}, want version: ${major} in the source's postgres`, {
      hint: 'write it into the plan, and deploy: npx cdk deploy --all',
    });
  throw new ToolMissing(
    `${missing} ${where.exec.length > 0 ? `behind ${where.exec.join(' ')}` : 'on this machine'}${others}`,
    {
      hint: `apt-get install postgresql-client-${major} (from apt.postgresql.org where Debian has another), or set bin:`,
    },
  );
}

/** A program of any major: enough to ask the server which major it is. Newest first. */
export async function anyClient(program: string, where: Where, run: RunContext): Promise<string> {
  if (where.exec.length > 0) return where.bin === null ? program : `${where.bin}/${program}`;
  const majors = await debianMajors();
  const candidates = [
    ...(where.bin === null ? [] : [join(where.bin, program)]),
    ...majors.map((major) => `/usr/lib/postgresql/${major}/bin/${program}`),
    program,
  ];
  for (const candidate of candidates) {
    const path = await run.processes.find(candidate);
    if (path) return path;
  }
  throw new ToolMissing(`${program} is not installed on this machine`, { hint: 'apt-get install postgresql-client' });
}

async function debianMajors(): Promise<number[]> {
  try {
    return (await readdir('/usr/lib/postgresql'))
      .map(Number)
      .filter((major) => Number.isInteger(major))
      .sort((a, b) => b - a);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

async function look(program: string, exec: readonly string[], run: RunContext): Promise<Tool | null> {
  const [first, ...prefix] = exec;
  const path = first === undefined ? await run.processes.find(program) : program;
  if (path === null) return null;
  try {
    const { stdout } = await run.processes.run(
      first === undefined
        ? { program: path, args: ['--version'] }
        : { program: first, args: [...prefix, program, '--version'] },
    );
    const version = /\b(\d+)(?:\.\d+|beta\d+|rc\d+|devel)*/.exec(stdout.replace(/^.*\(PostgreSQL\)/, ''));
    if (!version) return null;
    return { path, version: version[0], major: Number(version[1]) };
  } catch (error) {
    // Not there behind `exec`, or not a program: the next candidate may be.
    if (error instanceof CommandFailed) return null;
    throw error;
  }
}

/** The directory with `postgres` and `initdb` of this major, or null. */
export async function serverFolder(major: number, bins: readonly string[], run: RunContext): Promise<string | null> {
  for (const folder of [...bins, ...foldersOf(major)]) {
    const postgres = await look(join(folder, 'postgres'), [], run);
    if (postgres?.major === major && (await run.processes.find(join(folder, 'initdb')))) return folder;
  }
  return null;
}
