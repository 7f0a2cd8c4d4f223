import { Stack, type StackProps, Tags } from 'aws-cdk-lib';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Bucket, type IBucket } from 'aws-cdk-lib/aws-s3';
import { CfnSecret } from 'aws-cdk-lib/aws-secretsmanager';
import type { Construct } from 'constructs';
import { AlertTopics } from '#cloud/alert-topics';
import { accessLogs, KEPT_ONCE_MADE } from '#cloud/kept-bucket';
import { replicate, replicatedVaults } from '#cloud/replica-stack';
import { type S3VaultSettings, VaultBucket } from '#cloud/vault-bucket';
import type { Plan } from '#core/plan';
import { variablesOf } from '#core/plan-variables';
import { secretName } from '#core/settings';

export interface VaultStackProps extends StackProps {
  readonly plan: Plan;
}

/** What outlives every deployment: buckets, their key, topics, secrets. Retained and protected from deletion. */
export class VaultStack extends Stack {
  readonly key: Key;
  readonly topics: AlertTopics;
  /** By the `${NAME}` it stands for. */
  readonly secrets: ReadonlyMap<string, CfnSecret>;

  constructor(scope: Construct, id: string, { plan, ...props }: VaultStackProps) {
    super(scope, id, { ...props, terminationProtection: true });
    this.key = new Key(this, 'Key', {
      alias: `holdfast/${plan.name}`,
      description: `Holdfast ${plan.name}: vaults, topics, secrets`,
      enableKeyRotation: true,
      removalPolicy: KEPT_ONCE_MADE,
    });
    const logs = accessLogs(this);
    const buckets = new Map(
      awsVaults(plan).map(([name, settings]) => [name, this.#bucket(name, settings, plan, logs)] as const),
    );
    for (const replicated of replicatedVaults(awsVaults(plan))) {
      const bucket = buckets.get(replicated.vault);
      const key = replicated.settings.existing ? null : this.key;
      if (bucket) replicate(this, { plan, replicated, bucket, key, account: plan.cloud?.account ?? null });
    }
    this.topics = new AlertTopics(this, 'Topics', { plan, account: this.account, key: this.key });
    this.secrets = new Map(variablesOf(plan).map((variable) => [variable, this.#secret(plan, variable)] as const));
    Tags.of(this).add('holdfast:plan', plan.name);
  }

  #bucket(name: string, settings: S3VaultSettings, plan: Plan, logs: Bucket): IBucket {
    if (settings.existing) return Bucket.fromBucketName(this, `Vault-${name}`, settings.s3);
    return new VaultBucket(this, `Vault-${name}`, { plan, vault: name, settings, key: this.key, logs }).bucket;
  }

  /** Made empty: `put-secret-value` gives it a value, and start-job refuses to launch before. */
  #secret(plan: Plan, variable: string): CfnSecret {
    const secret = new CfnSecret(this, `Secret-${variable}`, {
      name: secretName(plan.name, variable),
      description: `\${${variable}} of the Holdfast plan ${plan.name}`,
      kmsKeyId: this.key.keyArn,
    });
    secret.applyRemovalPolicy(KEPT_ONCE_MADE);
    return secret;
  }
}

/** Vaults that are buckets of AWS itself: an endpoint names somebody else's. */
export function awsVaults(plan: Plan): readonly (readonly [string, S3VaultSettings])[] {
  return Object.entries(plan.vaults).flatMap(([name, settings]) =>
    's3' in settings && settings.endpoint === undefined ? [[name, settings] as const] : [],
  );
}
