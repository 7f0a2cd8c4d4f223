import { Fn, RemovalPolicy, Stack } from 'aws-cdk-lib';
import {
  FlowLogDestination,
  FlowLogTrafficType,
  GatewayVpcEndpointAwsService,
  IpAddresses,
  type ISecurityGroup,
  type IVpc,
  SecurityGroup,
  SubnetType,
  Vpc,
} from 'aws-cdk-lib/aws-ec2';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Plan } from '#core/plan';

/**
 * Where tasks run: subnets of the user's own, or a small VPC with two public subnets, nothing inbound and a free way to
 * S3, which reaches databases with public TLS addresses.
 */
export class Network extends Construct {
  readonly subnetIds: readonly string[];
  readonly securityGroupIds: readonly string[];
  /** Tasks need a public address where there is no NAT. */
  readonly publicIp: 'ENABLED' | 'DISABLED';

  constructor(scope: Construct, id: string, plan: Plan) {
    super(scope, id);
    const given = plan.cloud?.network;
    if (given?.subnetIds && given.subnetIds.length > 0) {
      this.subnetIds = given.subnetIds;
      this.securityGroupIds = given.securityGroupIds ?? [];
      this.publicIp = given.publicIp ? 'ENABLED' : 'DISABLED';
      return;
    }
    const vpc = new Vpc(this, 'Vpc', {
      ipAddresses: IpAddresses.cidr('10.73.0.0/24'),
      // Not looked up: synthesis needs no credentials (the stack overrides its availability zones too).
      availabilityZones: [Fn.select(0, Fn.getAzs()), Fn.select(1, Fn.getAzs())],
      natGateways: 0,
      subnetConfiguration: [
        { name: 'public', subnetType: SubnetType.PUBLIC, cidrMask: 26, mapPublicIpOnLaunch: false },
      ],
      gatewayEndpoints: { s3: { service: GatewayVpcEndpointAwsService.S3 } },
      restrictDefaultSecurityGroup: false,
      flowLogs: {
        // Of all traffic, each gigabyte of a backup would be logged too.
        rejected: {
          destination: FlowLogDestination.toCloudWatchLogs(rejectedLog(this)),
          trafficType: FlowLogTrafficType.REJECT,
        },
      },
    });
    this.subnetIds = vpc.publicSubnets.map(({ subnetId }) => subnetId);
    this.securityGroupIds = [outboundOnly(this, vpc).securityGroupId];
    this.publicIp = 'ENABLED';
  }
}

function rejectedLog(scope: Construct): LogGroup {
  return new LogGroup(scope, 'Rejected', {
    retention: RetentionDays.THREE_MONTHS,
    removalPolicy: RemovalPolicy.DESTROY,
  });
}

function outboundOnly(scope: Construct, vpc: IVpc): ISecurityGroup {
  return new SecurityGroup(scope, 'Tasks', {
    vpc,
    description: `Holdfast tasks of ${Stack.of(scope).stackName}: outbound only`,
    allowAllOutbound: true,
  });
}
