import { fileURLToPath } from 'node:url';
import { Stack } from 'aws-cdk-lib';
import { DockerImageAsset, Platform } from 'aws-cdk-lib/aws-ecr-assets';
import type { Construct } from 'constructs';
import { writeWorkerContext } from '#cloud/worker-bundle';
import { imageMajor } from '#core/cloud-image';
import { PlanInvalid } from '#core/errors';
import type { PostgresSettings } from '#core/plan';

const CONTEXT = fileURLToPath(new URL('../../cdk.out/worker-image', import.meta.url));
const DOCKERFILE = fileURLToPath(new URL('../../containers/worker', import.meta.url));

/** What `apt-get install` takes; they become part of a shell command in the Dockerfile. */
const PACKAGE = /^[a-z0-9][a-z0-9+.-]+$/;

/**
 * One image for each major and set of packages that the plan's sources need. Docker is asked for at deployment only.
 * @throws PlanInvalid `postgres.version` or `postgres.packages` is none
 */
export function workerImage(scope: Construct, settings: PostgresSettings | undefined): DockerImageAsset {
  const major = imageMajor(settings);
  if (major === null)
    throw new PlanInvalid(`postgres.version: got ${settings?.version}, want a major version such as 16`);
  const packages = [...(settings?.packages ?? [])].sort();
  const wrong = packages.find((name) => !PACKAGE.test(name));
  if (wrong !== undefined)
    throw new PlanInvalid(
      `postgres.packages: got ${JSON.stringify(wrong)}, want names of Debian packages such as postgresql-${major}-pgvector`,
    );
  const id = ['Image', major, ...packages].join('-');
  const stack = Stack.of(scope);
  const known = stack.node.tryFindChild(id) as DockerImageAsset | undefined;
  if (known) return known;
  if (stack.bundlingRequired) bundleOnce();
  return new DockerImageAsset(stack, id, {
    // `cdk list` and `cdk destroy` look into no asset; there has to be one.
    directory: stack.bundlingRequired ? CONTEXT : DOCKERFILE,
    // Also on a laptop with another processor: the tasks are x86.
    platform: Platform.LINUX_AMD64,
    buildArgs: { POSTGRES_MAJOR: major, PACKAGES: packages.join(' ') },
  });
}

let bundled = false;
function bundleOnce(): void {
  if (bundled) return;
  writeWorkerContext(CONTEXT);
  bundled = true;
}
