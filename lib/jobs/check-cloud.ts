import { type ImageChoice, imageChoices } from '#core/cloud-image';
import { deploymentProblems } from '#core/cloud-problems';
import type { LoadedPlan } from '#core/plan-load';
import { pathText } from '#core/plan-problem';
import type { CheckLine } from '#core/ports';
import { placesOfSources } from '#core/where';

/**
 * What `check` says of a plan with `cloud:`: where each source runs and why, what `cdk synth` would refuse, and whether
 * the image of each PostgreSQL source is of its server's major, which a synthesis cannot ask.
 * @param versions of the servers that answered, by source: `16.4`
 */
export function* checkCloud(loaded: LoadedPlan, versions: ReadonlyMap<string, string>): Generator<CheckLine> {
  const { plan, at } = loaded;
  if (!plan.cloud) return;
  for (const { source, where, why } of placesOfSources(plan))
    yield { name: `${source}: runs`, ok: true, message: `${where}: ${why}`, hint: null };
  for (const { path, message, hint } of deploymentProblems(plan, plan.cloud.region))
    yield { name: 'cloud', ok: false, message: `${at(path)} ${message}`, hint };
  for (const choice of imageChoices(loaded)) {
    const version = versions.get(choice.source);
    if (version !== undefined) yield imageLine(choice, version);
  }
}

function imageLine({ source, at, major, written }: ImageChoice, version: string): CheckLine {
  const name = `${source}: image`;
  const server = version.split('.')[0] as string;
  const key = pathText(['sources', source, 'postgres', 'version']);
  if (major !== server)
    return {
      name,
      ok: false,
      message: `${at} ${key}: got ${written ?? `nothing, which is ${major}`}, and the server is PostgreSQL ${version}: its runs in AWS would fail`,
      hint: `write version: ${server}`,
    };
  if (written !== null)
    return { name, ok: true, message: `PostgreSQL ${major}, the server's own major (${version})`, hint: null };
  return {
    name,
    ok: true,
    message: `${at} ${key}: nothing, which is ${major}, as the server happens to be (${version})`,
    hint: `write version: ${server}`,
  };
}
