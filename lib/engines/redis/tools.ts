import { NotThereYet, ToolMissing } from '#core/errors';
import type { RunContext, SourceRef } from '#core/ports';

/** One of the programs both projects ship, under either project's name. */
export interface Tool {
  readonly path: string;
  readonly flavour: 'redis' | 'valkey';
  /** `7.0.15`, or `unknown` for a build that does not say. */
  readonly version: string;
}

export type ToolName = 'cli' | 'server' | 'check-rdb';
type Flavour = Tool['flavour'];

const DEBIAN: Readonly<Record<ToolName, string>> = {
  cli: 'redis-tools',
  'check-rdb': 'redis-tools',
  server: 'redis-server',
};

/** Finds `redis-NAME` or `valkey-NAME`, the flavour of the data first; in `bin` alone when the plan names a directory. */
export async function findTool(
  name: ToolName,
  run: RunContext,
  want: { readonly flavour?: Flavour; readonly bin?: string | null } = {},
): Promise<Tool> {
  const flavours: readonly Flavour[] = want.flavour === 'valkey' ? ['valkey', 'redis'] : ['redis', 'valkey'];
  for (const flavour of flavours) {
    const program = `${flavour}-${name}`;
    const path = await run.processes.find(want.bin ? `${want.bin}/${program}` : program);
    if (path !== null) return { path, flavour, version: await versionOf(path, run) };
  }
  throw new ToolMissing(
    `neither redis-${name} nor valkey-${name} is ${want.bin ? `in ${want.bin}` : 'installed on this machine'}`,
    { hint: `apt-get install ${DEBIAN[name]} (or valkey-${name === 'server' ? 'server' : 'tools'})` },
  );
}

/** The directory of `prove.with.bin`, where the user keeps a server of the right version or with the right modules. */
export function proverDirectory(source: SourceRef | null): string | null {
  const prove = source?.settings.prove;
  if (typeof prove !== 'object' || !prove.with) return null;
  if ('url' in prove.with)
    throw new NotThereYet('prove.with.url does not work for redis in this version', {
      hint: 'use prove: { with: { bin: DIRECTORY } } with the directory of a redis-server',
    });
  return prove.with.bin;
}

async function versionOf(path: string, run: RunContext): Promise<string> {
  const { stdout } = await run.processes.run({ program: path, args: ['--version'] }, { timeout: 10_000 });
  return /\d+\.\d+(?:\.\d+)?/.exec(stdout)?.[0] ?? 'unknown';
}
