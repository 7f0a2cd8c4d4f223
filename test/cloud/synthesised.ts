import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface Resource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
  readonly DependsOn?: string | readonly string[];
  readonly DeletionPolicy?: string;
}

export interface Template {
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs?: Readonly<
    Record<string, { readonly Value: unknown; readonly Export?: { readonly Name: unknown } }>
  >;
}

export interface Synthesised {
  readonly exit: number;
  /** stdout and stderr together, as a person sees them. */
  readonly said: string;
  /** By stack name. */
  readonly templates: ReadonlyMap<string, Template>;
  /** The assembly's manifest. */
  readonly manifest: { readonly missing?: unknown } | null;
  readonly directory: string;
  close(): void;
}

/** `npx cdk synth` as a user runs it, without credentials and without a region of the machine's. */
export function synthesise(planFile: string, context: Readonly<Record<string, string>> = {}): Synthesised {
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
        // The CDK turns it on in any case, and would leave it in the temporary directory.
        NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/holdfast'),
      },
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  const templates = new Map(
    readdirSync(directory)
      .filter((file) => file.endsWith('.template.json'))
      .map((file) => [file.replace('.template.json', ''), read(join(directory, file)) as Template] as const),
  );
  const names = readdirSync(directory);
  return {
    exit: ended.status ?? 1,
    said: `${ended.stdout}${ended.stderr}`,
    templates,
    manifest: names.includes('manifest.json')
      ? (read(join(directory, 'manifest.json')) as { missing?: unknown })
      : null,
    directory,
    close: () => rmSync(directory, { recursive: true, force: true }),
  };
}

function read(file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'));
}

export function resourcesOf(template: Template, type: string): readonly (readonly [string, Resource])[] {
  return Object.entries(template.Resources).filter(([, resource]) => resource.Type === type);
}
