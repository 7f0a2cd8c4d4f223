import type { Severity, Telling } from '#core/alert';
import { audienceOf, type Channel } from '#core/audience';
import { messageOf } from '#core/errors';
import { idempotencyKey, inWords } from '#core/message';
import type { Plan } from '#core/plan';
import type { Delivery } from '#core/ports';
import { redact } from '#core/secrets';
import { PACE, type Send, type Surroundings } from '#notify/delivery';
import { printableHost } from '#notify/secret-url';
import { slack } from '#notify/slack';
import { sns, snsTarget } from '#notify/sns';
import { webhook } from '#notify/webhook';

type Carried = Extract<Channel, { slack: string } | { webhook: string } | { sns: string }>;

/**
 * Carries what came through the topic of one severity to those of its channels that do not listen there by themselves.
 * A channel of two severities that both hear of it is told once.
 * @param delivered what was delivered by this process before; whoever failed is tried again without the others
 */
export async function passOn(
  telling: Telling,
  severity: Severity,
  plan: Plan,
  run: Surroundings,
  delivered: Set<string>,
): Promise<readonly Delivery[]> {
  const message = inWords(telling);
  const channels = carriedBy(plan, severity, telling);
  return Promise.all(
    channels.map(async (channel): Promise<Delivery> => {
      const { name, address, send } = carrierOf(channel, plan, run);
      const once = `${idempotencyKey(telling)} ${address}`;
      if (delivered.has(once)) return { channel: name, ok: true, error: null };
      try {
        await send(telling, message);
        delivered.add(once);
        return { channel: name, ok: true, error: null };
      } catch (error) {
        return { channel: name, ok: false, error: redact(messageOf(error), []) };
      }
    }),
  );
}

interface Carrier {
  /** Holds no secret. */
  readonly name: string;
  readonly address: string;
  readonly send: Send;
}

function carrierOf(channel: Carried, plan: Plan, run: Surroundings): Carrier {
  if ('sns' in channel) {
    const { sns: address } = channel;
    return { name: `sns ${address.split(':').at(-1)}`, address, send: sns(snsTarget(channel, plan), run, PACE) };
  }
  if ('slack' in channel) {
    const { slack: address } = channel;
    return { name: `slack ${printableHost(address)}`, address, send: slack(address, run, PACE) };
  }
  const { webhook: address } = channel;
  return { name: `webhook ${printableHost(address)}`, address, send: webhook(address, run, PACE) };
}

function carriedBy({ alerts }: Plan, severity: Severity, telling: Telling): readonly Carried[] {
  const lists = [...new Set([telling.severity, ...(telling.also ?? [])].map((one) => audienceOf(alerts, one).list))];
  const earlier = lists.includes(severity) ? lists.slice(0, lists.indexOf(severity)) : [];
  const told = new Set(earlier.flatMap((list) => (list === null ? [] : carried(alerts?.[list]))).map(textOf));
  return carried(alerts?.[severity]).filter((channel) => !told.has(textOf(channel)));
}

function carried(channels: readonly Channel[] = []): Carried[] {
  return channels.filter((channel): channel is Carried => !('email' in channel || 'sms' in channel));
}

function textOf(channel: Carried): string {
  return JSON.stringify(channel);
}
