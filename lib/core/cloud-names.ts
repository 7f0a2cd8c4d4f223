import { replicaBucketName, replicationRoleName } from '#core/bucket-replication';
import type { Plan } from '#core/plan';
import { type PlanPath, pathText } from '#core/plan-problem';
import { functionName, type HostName, restorerName, SETTINGS, scheduleGroupName } from '#core/settings';
import type { CloudProblem } from '#core/where';

/**
 * Names that a deployment makes of the plan's own. AWS refuses those that are too long or of other characters, half-way
 * through a deployment and in words of its own.
 */

/** Of a function, a role, a group of schedules. */
const LONGEST_NAME = 64;
const LONGEST_BUCKET = 63;
const BUCKET = /^(?!\d+(?:\.\d+){3}$)(?!.*\.\.)[a-z0-9][a-z0-9.-]*[a-z0-9]$/;

export function nameProblems(plan: Plan): readonly CloudProblem[] {
  return [...planNameProblems(plan), ...vaultNameProblems(plan)];
}

function* planNameProblems({ name }: Plan): Iterable<CloudProblem> {
  const hosts = Object.keys(SETTINGS).filter((host): host is Exclude<HostName, 'worker'> => host !== 'worker');
  const made = [...hosts.map((host) => functionName(name, host)), restorerName(name), scheduleGroupName(name)];
  const longest = made.reduce((one, other) => (other.length > one.length ? other : one));
  if (longest.length > LONGEST_NAME)
    yield problem(
      ['name'],
      `got ${name.length} characters, want at most ${name.length - (longest.length - LONGEST_NAME)}`,
      `AWS takes ${LONGEST_NAME} for ${longest}`,
    );
  if (!/^[a-z]/.test(name))
    yield problem(['name'], `got ${name}, want a name that begins with a letter`, 'stacks of AWS are called after it');
}

function* vaultNameProblems(plan: Plan): Iterable<CloudProblem> {
  for (const [vault, settings] of Object.entries(plan.vaults)) {
    if (!('s3' in settings) || settings.endpoint !== undefined) continue;
    const { s3, existing, replica } = settings;
    const replicated = replica !== undefined && replica.vault === undefined;
    const path = ['vaults', vault, 's3'];
    if (!existing && !BUCKET.test(s3))
      yield problem(path, `got ${s3}, want lower-case letters, digits, dashes and dots`, 'S3 takes no others');
    const longest = replicated ? replicaBucketName(settings) : s3;
    if (longest.length > LONGEST_BUCKET && (replicated || !existing))
      yield problem(
        path,
        `got ${s3.length} characters, want at most ${LONGEST_BUCKET - (longest.length - s3.length)}`,
        `S3 takes ${LONGEST_BUCKET} for ${longest}`,
      );
    const role = replicationRoleName(plan, vault);
    if (replicated && role.length > LONGEST_NAME)
      yield problem(
        ['vaults', vault],
        `got a vault whose replication has a role of ${role.length} characters, want at most ${LONGEST_NAME}`,
        `shorten the name of the plan or of the vault: it is called ${role}`,
      );
  }
}

function problem(path: PlanPath, message: string, hint: string): CloudProblem {
  return { path, message: `${pathText(path)}: ${message}`, hint };
}
