import type { Severity, Telling } from '#core/alert';
import { audienceOf, type Channel } from '#core/audience';
import { HoldfastError, messageOf } from '#core/errors';
import { inWords } from '#core/message';
import type { Plan } from '#core/plan';
import type { Delivery, Messenger } from '#core/ports';
import { PACE, type Pace, type Send, type Surroundings, Undelivered } from '#notify/delivery';
import { email } from '#notify/email';
import { beat } from '#notify/heartbeat';
import { printableHost } from '#notify/secret-url';
import { slack } from '#notify/slack';
import { sns, snsTarget } from '#notify/sns';
import { webhook } from '#notify/webhook';

export interface MessengerOptions {
  /** Takes out what the run revealed: the last net under every text that leaves. */
  redact(text: string): string;
  readonly pace?: Pace;
}

/** Who is told, as the plan's `alerts` says. Opens nothing and reveals nothing before there is something to say. */
export function openMessenger(plan: Plan, run: Surroundings, { redact, pace = PACE }: MessengerOptions): Messenger {
  const { alerts } = plan;
  const deliver = async (channel: string, act: () => Promise<void>): Promise<Delivery> => {
    try {
      await act();
      return { channel, ok: true, error: null };
    } catch (error) {
      return { channel, ok: false, error: redact(whyNot(error)) };
    }
  };
  return {
    async tell(telling) {
      const clean = cleaned(telling, redact);
      const message = inWords(clean);
      return Promise.all(
        named(hearers(telling).flatMap((severity) => audienceOf(alerts, severity).channels)).map(({ channel, name }) =>
          deliver(name, () => senderOf(channel, plan, run, pace)(clean, message)),
        ),
      );
    },
    async heartbeat() {
      const address = alerts?.heartbeat;
      if (address === undefined) return null;
      return deliver(heartbeatName(address), () => beat(address, run, pace));
    },
  };
}

function hearers({ severity, also = [] }: Telling): readonly Severity[] {
  return [severity, ...also];
}

/** `heartbeat hc-ping.com` */
export function heartbeatName(address: string): string {
  return `heartbeat ${printableHost(address)}`;
}

/** Each channel once, under a name that holds no secret: `email ops@example.com`, `slack hooks.slack.com`. */
export function named(channels: readonly Channel[]): { readonly channel: Channel; readonly name: string }[] {
  const once = new Map(channels.map((channel) => [JSON.stringify(channel), channel]));
  const seen = new Map<string, number>();
  return [...once.values()].map((channel) => {
    const name = nameOf(channel);
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    return { channel, name: count === 1 ? name : `${name} (${count})` };
  });
}

function nameOf(channel: Channel): string {
  if ('email' in channel) return `email ${channel.email}`;
  if ('slack' in channel) return `slack ${printableHost(channel.slack)}`;
  if ('webhook' in channel) return `webhook ${printableHost(channel.webhook)}`;
  if ('sns' in channel) return `sns ${channel.sns.split(':').at(-1)}`;
  return `sms …${channel.sms.slice(-3)}`;
}

function senderOf(channel: Channel, plan: Plan, run: Surroundings, pace: Pace): Send {
  if ('email' in channel) return email(channel.email, plan.alerts?.smtp, run, pace);
  if ('slack' in channel) return slack(channel.slack, run, pace);
  if ('webhook' in channel) return webhook(channel.webhook, run, pace);
  return sns(snsTarget(channel, plan), run, pace);
}

/** What runs through a message was written by many: errors of engines, of hooks, of servers. */
function cleaned(telling: Telling, redact: MessengerOptions['redact']): Telling {
  return {
    ...telling,
    title: redact(telling.title),
    happened: redact(telling.happened),
    safe: telling.safe.map(redact),
    next: telling.next.map(redact),
  };
}

function whyNot(error: unknown): string {
  if (error instanceof Undelivered) return error.message;
  if (error instanceof HoldfastError) return error.hint === null ? error.message : `${error.message}; ${error.hint}`;
  return `a defect of Holdfast: ${messageOf(error)}`;
}
