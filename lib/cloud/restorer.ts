import { CfnOutput, Duration, Stack } from 'aws-cdk-lib';
import { AccountRootPrincipal, ArnPrincipal, CompositePrincipal, Role } from 'aws-cdk-lib/aws-iam';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { type ReplicatedVault, replicaKeyUse, replicatedVaults } from '#cloud/replica-stack';
import { restorerAccess, settingsAccess, type VaultPlace } from '#cloud/vault-access';
import { awsVaults } from '#cloud/vault-stack';
import { replicaBucketName } from '#core/bucket-replication';
import type { Plan } from '#core/plan';
import { restorerName } from '#core/settings';

export interface RestorerProps {
  readonly plan: Plan;
  readonly vaults: readonly VaultPlace[];
}

/** The door of the worst day: a named person with a second factor, read-only, for at most twelve hours. */
export class Restorer extends Construct {
  readonly role: Role;

  constructor(scope: Construct, id: string, { plan, vaults }: RestorerProps) {
    super(scope, id);
    const named = plan.cloud?.restorers ?? [];
    const people = named.length > 0 ? named.map((arn) => new ArnPrincipal(arn)) : [new AccountRootPrincipal()];
    this.role = new Role(this, 'Role', {
      roleName: restorerName(plan.name),
      description: 'reads the vaults of Holdfast, for a restore; cannot write or delete',
      maxSessionDuration: Duration.hours(12),
      assumedBy: new CompositePrincipal(...people).withConditions({ Bool: { 'aws:MultiFactorAuthPresent': 'true' } }),
    });
    for (const vault of vaults)
      for (const statement of [...restorerAccess(vault), ...settingsAccess(vault)]) this.role.addToPolicy(statement);
    for (const replicated of replicatedVaults(awsVaults(plan))) this.#readReplica(plan, replicated);
    new CfnOutput(this, 'RoleArn', { value: this.role.roleArn, description: 'assume it with MFA to restore' });
  }

  /** The replica, for the day on which the first region is gone. Another account's is that account's to open. */
  #readReplica(plan: Plan, replicated: ReplicatedVault): void {
    const { vault, settings, account } = replicated;
    if (account !== null) return;
    const bucket = Bucket.fromBucketName(this, `Replica-${vault}`, replicaBucketName(settings));
    const root = settings.prefix ? `${settings.prefix}/` : '';
    const place: VaultPlace = { bucket, key: null, root, lock: null };
    const opened = replicaKeyUse(['kms:Decrypt'], plan, replicated, Stack.of(this).account);
    for (const statement of [...restorerAccess(place), opened]) this.role.addToPolicy(statement);
  }
}
