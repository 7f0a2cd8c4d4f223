import { type Authorise, AwsError, type StandIn, startJsonStandIn } from '#test/servers/aws-stand-in';

export interface WrittenMetric {
  readonly caller: string;
  readonly name: string;
  readonly value: number;
  readonly dimensions: Readonly<Record<string, string>>;
}

/** CloudWatch's PutMetricData. */
export interface CloudWatchStandIn extends StandIn {
  readonly written: WrittenMetric[];
}

interface Datum {
  readonly MetricName: string;
  readonly Value: number;
  readonly Dimensions?: readonly { readonly Name: string; readonly Value: string }[];
}

/** It takes no more dimensions of one metric. */
const MOST_DIMENSIONS = 30;

export async function startCloudWatch(authorise: Authorise): Promise<CloudWatchStandIn> {
  const written: WrittenMetric[] = [];
  const server = await startJsonStandIn('monitoring', {
    async PutMetricData(input, caller) {
      const namespace = String(input['Namespace']);
      await authorise(caller, 'cloudwatch:PutMetricData', '*', { 'cloudwatch:namespace': namespace });
      for (const { MetricName: name, Value: value, Dimensions = [] } of input['MetricData'] as Datum[]) {
        if (!Number.isFinite(value) || Dimensions.length > MOST_DIMENSIONS)
          throw new AwsError('InvalidParameterValueException', `${name}: ${value}`);
        const dimensions = Object.fromEntries(Dimensions.map((one) => [one.Name, one.Value]));
        written.push({ caller, name, value, dimensions });
      }
      return {};
    },
  });
  return { ...server, written };
}
