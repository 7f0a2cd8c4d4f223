import * as z from 'zod';
import { ALERT_KINDS, SEVERITIES, type Severity, type Telling } from '#core/alert';

/** What comes through a deployment's topics: our own words, and those of CloudWatch's alarms. */

const time = z.iso.datetime({ offset: true }).transform((text) => new Date(text));

const tellingSchema = z.object({
  what: z.enum(['opened', 'repeated', 'escalated', 'closed', 'test']),
  plan: z.string(),
  key: z.string(),
  kind: z.enum(ALERT_KINDS),
  severity: z.enum(SEVERITIES),
  also: z.array(z.enum(SEVERITIES)).default([]),
  source: z.string().nullable(),
  title: z.string(),
  happened: z.string(),
  since: time,
  at: time,
  safe: z.array(z.string()),
  next: z.array(z.string()),
  told: z.int(),
  ledgerHead: z.object({ vault: z.string(), source: z.string(), seq: z.int(), sha256: z.string() }).nullable(),
  host: z.string(),
});

const alarmSchema = z.object({
  AlarmName: z.string(),
  AlarmDescription: z.string().nullish(),
  NewStateValue: z.enum(['ALARM', 'OK', 'INSUFFICIENT_DATA']),
  NewStateReason: z.string().default(''),
  StateChangeTime: z.string(),
});

/**
 * Our own telling, an alarm's put into its shape, or anything else that somebody published, as it is: what was worth a
 * message is passed on.
 */
export function tellingOf(
  message: string,
  topic: { readonly plan: string; readonly severity: Severity; readonly at: Date; readonly host: string },
): Telling {
  const json = jsonOf(message);
  const telling = tellingSchema.safeParse(json);
  if (telling.success) return telling.data;
  const alarm = alarmSchema.safeParse(json);
  const blank = {
    what: 'opened' as const,
    plan: topic.plan,
    kind: 'failed' as const,
    severity: topic.severity,
    source: null,
    since: topic.at,
    at: topic.at,
    safe: [],
    told: 1,
    ledgerHead: null,
    host: topic.host,
  };
  if (!alarm.success) return { ...blank, key: 'message', title: 'a message', happened: message, next: [] };
  const { AlarmName, AlarmDescription, NewStateValue, NewStateReason, StateChangeTime } = alarm.data;
  const since = new Date(StateChangeTime);
  return {
    ...blank,
    what: NewStateValue === 'OK' ? 'closed' : 'opened',
    key: `alarm/${AlarmName}`,
    title: `alarm ${AlarmName}: ${NewStateValue}`,
    happened: [AlarmDescription, NewStateReason].filter(Boolean).join('\n'),
    since: Number.isNaN(since.getTime()) ? topic.at : since,
    next: [`aws cloudwatch describe-alarms --alarm-names ${AlarmName}`],
    host: 'CloudWatch',
  };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
