import { SourceUnsupported } from '#core/errors';
import type { RunContext } from '#core/ports';

/**
 * `1.34`
 * @throws ToolMissing
 * @throws SourceUnsupported the tar of this machine is not GNU tar
 */
export async function tarVersion(run: RunContext): Promise<string> {
  const { stdout } = await run.processes.run({ program: 'tar', args: ['--version'] });
  const version = /^tar \(GNU tar\) (\S+)/.exec(stdout)?.[1];
  if (version === undefined)
    throw new SourceUnsupported(
      `the tar of this machine is ${stdout.split('\n')[0]?.slice(0, 80)}; GNU tar is needed`,
      {
        hint: 'install GNU tar and put it first on the PATH as `tar`',
      },
    );
  return version;
}
