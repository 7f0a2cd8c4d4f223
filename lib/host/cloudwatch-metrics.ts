import {
  CloudWatchClient,
  type MetricDatum,
  PutMetricDataCommand,
  type StandardUnit,
} from '@aws-sdk/client-cloudwatch';
import { METRIC_NAMESPACE, METRICS, type Metric } from '#core/metrics';
import type { MetricSink } from '#core/ports';
import { cloudFailed } from '#host/aws-errors';

/** PutMetricData takes 1000 at once, and 1 MB: this many with our dimensions are some 200 KB. */
const AT_ONCE = 500;

/**
 * By PutMetricData and not as log lines: a log that is throttled or lost is silence, and silence must be an error of
 * the function.
 */
export class CloudWatchMetrics implements MetricSink {
  readonly #plan: string;
  readonly #client: CloudWatchClient;

  constructor(plan: string, client: CloudWatchClient = new CloudWatchClient({})) {
    this.#plan = plan;
    this.#client = client;
  }

  async write(metrics: readonly Metric[]): Promise<void> {
    for (let start = 0; start < metrics.length; start += AT_ONCE) {
      try {
        await this.#client.send(
          new PutMetricDataCommand({
            Namespace: METRIC_NAMESPACE,
            MetricData: metrics.slice(start, start + AT_ONCE).map((metric) => this.#datum(metric)),
          }),
        );
      } catch (error) {
        throw cloudFailed('could not write metrics', error);
      }
    }
  }

  #datum({ metric, value, dimensions }: Metric): MetricDatum {
    const { name, unit } = METRICS[metric];
    return {
      MetricName: name,
      Unit: unit as StandardUnit,
      Value: value,
      Dimensions: Object.entries({ plan: this.#plan, ...dimensions }).map(([Name, Value]) => ({ Name, Value })),
    };
  }
}
