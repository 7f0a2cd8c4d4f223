import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command, Ended, Pipeline, RunContext, Service } from '#core/ports';
import { type Address, conninfo } from '#engines/postgres/address';

/** How client programs reach one database: its address, the password's file, a command prefix such as `docker exec -i db`. */
export interface Access {
  readonly address: Address;
  readonly exec: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Given to a program started by `exec` on the first line of its stdin: no file and no environment of ours reaches it there. */
  readonly secretLine: string | null;
}

/** Writes the password, if there is one, to a file of mode 0600 in the run's scratch directory. */
export async function accessTo(address: Address, exec: readonly string[], run: RunContext): Promise<Access> {
  const { password } = address;
  if (password === null) return { address, exec, env: {}, secretLine: null };
  if (exec.length > 0) return { address, exec, env: {}, secretLine: `${password}\n` };
  const file = join(run.scratch, `pgpass-${randomBytes(6).toString('hex')}`);
  await writeFile(file, `*:*:*:*:${password.replace(/[\\:]/g, '\\$&')}\n`, { mode: 0o600, flag: 'wx' });
  return { address, exec, env: { PGPASSFILE: file }, secretLine: null };
}

/** Removes the password's file; nothing can connect by this access any more. */
export async function forget({ env }: Access): Promise<void> {
  const file = env['PGPASSFILE'];
  if (file !== undefined) await rm(file, { force: true });
}

/** The same server and login, another database. */
export function atDatabase(access: Access, dbname: string): Access {
  return { ...access, address: { ...access.address, keywords: { ...access.address.keywords, dbname } } };
}

const READ_SECRET = 'IFS= read -r PGPASSWORD; export PGPASSWORD; exec "$@"';

/** A client program connected by `-d`. */
export function clientCommand(access: Access, program: string, args: readonly string[]): Command {
  return plainCommand(access, program, ['-w', '-d', conninfo(access.address), ...args]);
}

function plainCommand(access: Access, program: string, args: readonly string[]): Command {
  const [first, ...prefix] = access.exec;
  if (first === undefined) return { program, args, env: access.env };
  const wrapped = access.secretLine === null ? [] : ['sh', '-c', READ_SECRET, 'sh'];
  return { program: first, args: [...prefix, ...wrapped, program, ...args] };
}

/** Starts a client whose stdin stays open for what comes after the secret. */
export function startClient(access: Access, command: Command, run: RunContext): Service {
  const service = run.processes.start(command);
  if (access.secretLine !== null) service.stdin.write(access.secretLine);
  return service;
}

/** A client that reads nothing, its output a pipe. */
export function pipeClient(access: Access, command: Command, run: RunContext): Pipeline {
  const pipeline = run.processes.pipe([command], { stdin: access.secretLine === null ? 'ignore' : 'pipe' });
  pipeline.stdin?.on('error', () => pipeline.stdin?.destroy());
  pipeline.stdin?.end(access.secretLine);
  return pipeline;
}

/** What goes before a client that is fed by a pipe: behind `exec` its stdin is the secret's line, then the bytes. */
export async function secretFirst(
  access: Access,
  run: RunContext,
): Promise<{ readonly commands: readonly Command[]; forget(): Promise<void> }> {
  const { secretLine } = access;
  if (secretLine === null) return { commands: [], forget: async () => undefined };
  const file = join(run.scratch, `secret-${randomBytes(6).toString('hex')}`);
  await writeFile(file, secretLine, { mode: 0o600, flag: 'wx' });
  return { commands: [{ program: 'cat', args: [file, '-'] }], forget: () => rm(file, { force: true }) };
}

/** A client that reads nothing and says little. */
export function runClient(access: Access, command: Command, run: RunContext): Promise<Ended & { stdout: string }> {
  return run.processes.run(command, access.secretLine === null ? {} : { input: access.secretLine });
}
