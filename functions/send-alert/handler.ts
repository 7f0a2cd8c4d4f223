import * as z from 'zod';
import { SEVERITIES } from '#core/alert';
import { CloudFailed, UsageError } from '#core/errors';
import { variablesOfChannels } from '#core/plan-variables';
import { reveal } from '#core/secrets';
import { secretName } from '#core/settings';
import { tellingOf } from '#core/topic-message';
import { functionHost } from '#host/function-host';
import { passOn } from '#jobs/pass-on';

const event = z.object({
  Records: z.array(z.object({ Sns: z.object({ TopicArn: z.string(), Message: z.string() }) })).min(1),
});
/** As long as this process lives: Lambda repeats what failed, most often here. */
const delivered = new Set<string>();

/** From a topic to the Slack channels, webhooks and other topics of its severity; addresses may be secrets. */
export const handler = functionHost(
  'send-alert',
  import.meta.dirname,
  async ({ event: given, plan: { plan }, secrets, log, world }) => {
    const parsed = event.safeParse(given);
    if (!parsed.success) throw new UsageError(`not a message of a topic: ${z.prettifyError(parsed.error)}`);
    for (const { TopicArn: arn, Message: text } of parsed.data.Records.map(({ Sns }) => Sns)) {
      const severity = SEVERITIES.find((one) => arn.endsWith(`-${one}`));
      if (!severity)
        throw new UsageError(`${arn} is no topic of this plan, want one that ends in -critical, -high or -medium`);
      const variables = variablesOfChannels(plan, severity);
      const values = await secrets.values(variables);
      for (const variable of variables.filter((one) => !values.has(one))) log.warn(withoutValue(plan.name, variable));
      const run = { ...world.run, reveal: (address: string) => reveal(address, (name) => values.get(name)) };
      const telling = tellingOf(text, { plan: plan.name, severity, at: run.clock.now(), host: run.host });
      const deliveries = await passOn(telling, severity, plan, run, delivered);
      for (const { channel, ok, error } of deliveries)
        if (ok) log.info(`${telling.title}: ${channel} was told`);
        else log.warn(`${telling.title}: ${channel} could not be told: ${error}`);
      const failed = deliveries.find(({ ok }) => !ok);
      if (failed) throw new CloudFailed(`${failed.channel} could not be told: ${failed.error}`);
    }
  },
);

function withoutValue(plan: string, variable: string): string {
  return `${variable} has no value: aws secretsmanager put-secret-value --secret-id ${secretName(plan, variable)} --secret-string '…'`;
}
