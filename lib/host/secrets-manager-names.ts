import {
  DescribeSecretCommand,
  type DescribeSecretCommandOutput,
  GetSecretValueCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import type { SecretNames } from '#core/ports';
import { secretName } from '#core/settings';
import { cloudFailed, nameOfAwsError } from '#host/aws-errors';

/** The plan's variables as secrets, `holdfast/<plan>/<NAME>` each. */
export class PlanSecrets implements SecretNames {
  readonly #plan: string;
  readonly #client: SecretsManagerClient;

  constructor(plan: string, client: SecretsManagerClient = new SecretsManagerClient({})) {
    this.#plan = plan;
    this.#client = client;
  }

  async withoutValue(variables: readonly string[]): Promise<readonly string[]> {
    const found = await Promise.all(
      variables.map(async (variable) => {
        const described = await this.#described(variable);
        // A secret that was made and never given a value has no version at all.
        return Object.keys(described?.VersionIdsToStages ?? {}).length === 0 ? [variable] : [];
      }),
    );
    return found.flat();
  }

  /** Values by variable; one without a value is left out. */
  async values(variables: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const found = await Promise.all(
      variables.map(async (variable) => {
        const value = await this.#valueOf(variable);
        return value === null ? [] : [[variable, value] as const];
      }),
    );
    return new Map(found.flat());
  }

  async #described(variable: string): Promise<DescribeSecretCommandOutput | null> {
    try {
      return await this.#client.send(new DescribeSecretCommand({ SecretId: secretName(this.#plan, variable) }));
    } catch (error) {
      if (nameOfAwsError(error) === 'ResourceNotFoundException') return null;
      throw cloudFailed(`could not look at the secret of ${variable}`, error);
    }
  }

  async #valueOf(variable: string): Promise<string | null> {
    try {
      const { SecretString } = await this.#client.send(
        new GetSecretValueCommand({ SecretId: secretName(this.#plan, variable) }),
      );
      return SecretString ?? null;
    } catch (error) {
      // Also what a secret answers that was made and has no value yet.
      if (nameOfAwsError(error) === 'ResourceNotFoundException') return null;
      throw cloudFailed(`could not read the secret of ${variable}`, error);
    }
  }
}
