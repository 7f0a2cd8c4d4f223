import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Assembly, assemblyIn } from '#test/cloud/synthesised';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface CommandSynthesis extends Assembly {
  readonly exit: number;
  /** stdout and stderr together, as a person sees them. */
  readonly said: string;
}

/**
 * `npx cdk synth` as a user runs it, without credentials and without a region of the machine's.
 * @param validated CloudFormation's own rules are asked as well, which takes as long as all the rest
 */
export function cdkSynth(
  planFile: string,
  context: Readonly<Record<string, string>>,
  validated: boolean,
): CommandSynthesis {
  const directory = mkdtempSync(join(tmpdir(), 'hf-synth-'));
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_')));
  const ended = spawnSync(
    join(ROOT, 'node_modules/.bin/node'),
    [
      join(ROOT, 'node_modules/aws-cdk/bin/cdk'),
      'synth',
      '--quiet',
      '--output',
      directory,
      '-c',
      `plan=${planFile}`,
      ...Object.entries(context).flatMap(([key, value]) => ['-c', `${key}=${value}`]),
    ],
    {
      cwd: ROOT,
      encoding: 'utf8',
      env: {
        ...environment,
        AWS_EC2_METADATA_DISABLED: 'true',
        CDK_DISABLE_VERSION_CHECK: '1',
        CI: 'true',
        ...(validated ? {} : { CDK_VALIDATION: 'false' }),
        // The CDK turns it on in any case, and would leave it in the temporary directory.
        NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/holdfast'),
      },
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  return {
    ...assemblyIn(directory),
    exit: ended.status ?? 1,
    said: `${ended.stdout}${ended.stderr}`,
    close: () => rmSync(directory, { recursive: true, force: true }),
  };
}
