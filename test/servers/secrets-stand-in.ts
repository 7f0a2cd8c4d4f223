import { type Authorise, AwsError, type StandIn, startJsonStandIn, type UseKey } from '#test/servers/aws-stand-in';

/** Secrets Manager: secrets that were made, most of them with a value that somebody put. */
export interface SecretsStandIn extends StandIn {
  /** As `aws secretsmanager put-secret-value` does; null takes the value away again. */
  put(name: string, value: string | null): void;
  /** By name or ARN, for a caller of ECS's own. Throws as the service does. */
  secretOf(nameOrArn: string, caller: string): Promise<string>;
}

/** @param secrets ARN by name, of those that the deployment made */
export async function startSecrets(
  secrets: ReadonlyMap<string, string>,
  authorise: Authorise,
  useKey: UseKey,
): Promise<SecretsStandIn> {
  const values = new Map<string, string>();
  const found = (nameOrArn: string): { readonly name: string; readonly arn: string } => {
    for (const [name, arn] of secrets)
      if (nameOrArn === name || nameOrArn === arn || isArnOf(nameOrArn, arn)) return { name, arn };
    throw new AwsError('ResourceNotFoundException', "Secrets Manager can't find the specified secret.");
  };
  const secretOf = async (nameOrArn: string, caller: string): Promise<string> => {
    const { name, arn } = found(nameOrArn);
    await authorise(caller, 'secretsmanager:GetSecretValue', arn);
    await useKey(caller, arn, ['kms:Decrypt']);
    const value = values.get(name);
    if (value !== undefined) return value;
    throw new AwsError(
      'ResourceNotFoundException',
      "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
    );
  };
  const server = await startJsonStandIn('secretsmanager', {
    async DescribeSecret(input, caller) {
      const { name, arn } = found(String(input['SecretId']));
      await authorise(caller, 'secretsmanager:DescribeSecret', arn);
      const versions = values.has(name)
        ? { VersionIdsToStages: { 'a1b2c3d4-0000-4000-8000-000000000001': ['AWSCURRENT'] } }
        : {};
      return { ARN: arn, Name: name, ...versions };
    },
    async GetSecretValue(input, caller) {
      const { name, arn } = found(String(input['SecretId']));
      return { ARN: arn, Name: name, SecretString: await secretOf(name, caller) };
    },
  });
  return {
    ...server,
    secretOf,
    put(name, value) {
      const { name: known } = found(name);
      if (value === null) values.delete(known);
      else values.set(known, value);
    },
  };
}

/** A task definition may name a secret without the six letters that AWS adds. */
function isArnOf(given: string, arn: string): boolean {
  return given.startsWith('arn:') && arn.startsWith(`${given}-`) && arn.length === given.length + 7;
}
