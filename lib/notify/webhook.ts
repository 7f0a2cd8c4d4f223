import type { Telling } from '#core/alert';
import { isoTime } from '#core/manifest';
import { idempotencyKey, type Message } from '#core/message';
import { type Pace, type Send, type Surroundings, untilDelivered } from '#notify/delivery';
import { request } from '#notify/http';
import { secretUrl } from '#notify/secret-url';

/** JSON by POST, as docs/alerts.md describes it. A receiver knows a repeated attempt by its Idempotency-Key. */
export function webhook(address: string, run: Surroundings, pace: Pace): Send {
  return async (telling, message) => {
    const url = secretUrl(address, run.reveal);
    const headers = { 'content-type': 'application/json', 'idempotency-key': idempotencyKey(telling) };
    const body = JSON.stringify(webhookBody(telling, message));
    await untilDelivered(run, pace, (signal) => request(url, { method: 'POST', headers, body }, signal));
  };
}

/** `format` 1: fields may be added, none is renamed or taken away. */
export interface WebhookBody {
  readonly format: 1;
  readonly what: Telling['what'];
  readonly plan: string;
  readonly key: string;
  readonly kind: Telling['kind'];
  readonly severity: Telling['severity'];
  readonly source: string | null;
  readonly title: string;
  readonly happened: string;
  readonly since: string;
  readonly at: string;
  readonly told: number;
  readonly safe: readonly string[];
  readonly next: readonly string[];
  readonly ledgerHead: Telling['ledgerHead'];
  readonly host: string;
  readonly subject: string;
  /** The whole message as people read it; also what Mattermost and its like show. */
  readonly text: string;
}

function webhookBody(telling: Telling, { subject, text }: Message): WebhookBody {
  const { what, plan, key, kind, severity, source, title, happened, since, at, told } = telling;
  const { safe, next, ledgerHead, host } = telling;
  return {
    ...{ format: 1, what, plan, key, kind, severity, source, title, happened },
    ...{ since: isoTime(since), at: isoTime(at), told, safe, next, ledgerHead, host, subject, text },
  };
}
