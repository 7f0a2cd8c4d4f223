import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { App } from 'aws-cdk-lib';
import { writeAssembly } from '#cloud/assembly';

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

export interface Assembly {
  /** By stack name. */
  readonly templates: ReadonlyMap<string, Template>;
  /** The assembly's manifest. */
  readonly manifest: { readonly missing?: unknown } | null;
  readonly directory: string;
  close(): void;
}

export interface Synthesised extends Assembly {
  /** What a person is told. */
  readonly lines: readonly string[];
  /** What CloudFormation's own rules say of the templates; null: they were not asked. */
  readonly violations: readonly unknown[] | null;
}

export interface SynthesisOptions {
  /** Of a plan without `cloud:`. */
  readonly region?: string;
  /** With the bundles of the functions and the worker; else only the templates are of use. */
  readonly bundled?: boolean;
  /** CloudFormation's own rules are asked as well. */
  readonly validated?: boolean;
}

const { context: SETTINGS } = JSON.parse(readFileSync(new URL('../../cdk.json', import.meta.url), 'utf8')) as {
  readonly context: Readonly<Record<string, unknown>>;
};
/** What the CDK's command line adds to them. */
const OF_COMMAND = {
  'aws:cdk:enable-path-metadata': true,
  'aws:cdk:enable-asset-metadata': true,
  'aws:cdk:version-reporting': true,
};

/**
 * A plan's synthesis in this process: what `cdk synth` writes, as `synth.test.ts` shows, in a third of its time.
 * @throws HoldfastError the plan is refused
 */
export function synthesise(
  planFile: string,
  { region, bundled = false, validated = false }: SynthesisOptions = {},
): Synthesised {
  const directory = mkdtempSync(join(tmpdir(), 'hf-synth-'));
  const close = (): void => rmSync(directory, { recursive: true, force: true });
  const lines: string[] = [];
  try {
    const app = new App({
      outdir: directory,
      context: {
        ...SETTINGS,
        ...OF_COMMAND,
        'aws:cdk:bundling-stacks': bundled ? ['**'] : [],
        plan: planFile,
        ...(region === undefined ? {} : { region }),
      },
      builtinCloudFormationValidation: validated,
    });
    writeAssembly(app, (line) => void lines.push(line));
    const report = validated ? (read(join(directory, 'validation-report.json')) as { pluginReports: unknown[] }) : null;
    return { ...assemblyIn(directory), lines, violations: report?.pluginReports ?? null, close };
  } catch (error) {
    close();
    throw error;
  }
}

export function assemblyIn(directory: string): Omit<Assembly, 'close'> {
  const names = readdirSync(directory);
  return {
    templates: new Map(
      names
        .filter((file) => file.endsWith('.template.json'))
        .map((file) => [file.replace('.template.json', ''), read(join(directory, file)) as Template] as const),
    ),
    manifest: names.includes('manifest.json')
      ? (read(join(directory, 'manifest.json')) as { missing?: unknown })
      : null,
    directory,
  };
}

function read(file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'));
}

export function resourcesOf(template: Template, type: string): readonly (readonly [string, Resource])[] {
  return Object.entries(template.Resources).filter(([, resource]) => resource.Type === type);
}
