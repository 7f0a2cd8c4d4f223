import { connect } from 'node:net';
import { SEVERITIES, type Severity } from '#core/alert';
import { type Alerts, audienceOf, type Channel } from '#core/audience';
import { HoldfastError } from '#core/errors';
import type { Plan } from '#core/plan';
import type { CheckLine } from '#core/ports';
import { PACE, type Pace, type Surroundings, Undelivered } from '#notify/delivery';
import { assertAddress, smtpReady } from '#notify/email';
import { heartbeatName, named } from '#notify/messenger';
import { type SecretUrl, secretUrl } from '#notify/secret-url';
import { snsReady, snsTarget } from '#notify/sns';

/** One attempt, and not a patient one: somebody is waiting. */
export const CHECK_PACE: Pace = { ...PACE, attempts: 1, attemptMs: 5000, totalMs: 5000 };

/**
 * Whether a message would find its way today, without sending one: addresses are read, variables put in, the mail
 * server is logged in to, hosts are connected to.
 */
export async function* checkChannels(
  plan: Plan,
  run: Surroundings,
  pace: Pace = CHECK_PACE,
): AsyncGenerator<CheckLine> {
  const { alerts } = plan;
  const lists = SEVERITIES.filter((severity) => (alerts?.[severity] ?? []).length > 0);
  if (!alerts || lists.length === 0) {
    yield {
      ...advice('nobody is told: the plan names no channel'),
      hint: 'alerts: { critical: [{ email: ops@example.com }] }; docs/alerts.md has them all',
    };
  } else {
    yield* SEVERITIES.toReversed().flatMap((severity) => listLine(alerts, severity));
    const channels = named(lists.flatMap((severity) => alerts[severity] ?? []));
    yield* await Promise.all(
      channels.map(({ channel, name }) => tried(name, () => channelReady(channel, plan, run, pace))),
    );
    if (channels.some(({ channel }) => 'email' in channel))
      yield await tried(alerts.smtp ? 'mail server' : 'sendmail', () => mailReady(alerts, run, pace));
  }
  const heartbeat = alerts?.heartbeat;
  if (heartbeat !== undefined)
    yield await tried(heartbeatName(heartbeat), () => answers(secretUrl(heartbeat, run.reveal), run, pace));
  else if (lists.length > 0)
    yield {
      ...advice('no heartbeat: when this machine dies, nobody is told'),
      hint: 'alerts.heartbeat: the address of a dead man’s switch, such as healthchecks.io or Uptime Kuma',
    };
}

function listLine(alerts: Alerts, severity: Severity): CheckLine[] {
  const { list, channels } = audienceOf(alerts, severity);
  const names = named(channels).map(({ name }) => name);
  if (list === severity) return [{ name: 'alerts', ok: true, message: `${severity}: ${names.join(', ')}`, hint: null }];
  const line = advice(`${severity}: no channel of its own; told by those of ${list}: ${names.join(', ')}`);
  return [severity === 'critical' ? { ...line, hint: 'alerts.critical: name whom to wake' } : line];
}

/** What was found out, in words. Throws `Undelivered`, `VariableMissing`. */
async function channelReady(channel: Channel, plan: Plan, run: Surroundings, pace: Pace): Promise<string> {
  if ('email' in channel) {
    assertAddress(channel.email);
    return 'is an address';
  }
  if ('slack' in channel) return answers(secretUrl(channel.slack, run.reveal), run, pace);
  if ('webhook' in channel) return answers(secretUrl(channel.webhook, run.reveal), run, pace);
  await snsReady(snsTarget(channel, plan), run, pace);
  return 'a region and credentials are there; only a test shows whether they may publish';
}

async function mailReady({ smtp }: Alerts, run: Surroundings, pace: Pace): Promise<string> {
  if (smtp) {
    const { server, from } = await smtpReady(smtp, run, pace);
    return `${server} takes mail from ${from}`;
  }
  const program = await run.processes.find('sendmail');
  if (program === null) throw new Undelivered('there is none on this machine, and the plan names no mail server');
  return `${program} is there; only a test shows whether it can send`;
}

/** Connects and hangs up. A request would be a message. */
async function answers({ href, host }: SecretUrl, { signal }: Surroundings, pace: Pace): Promise<string> {
  const { hostname, port, protocol } = new URL(href);
  const socket = connect({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
    signal: AbortSignal.any([signal, AbortSignal.timeout(pace.attemptMs)]),
  });
  try {
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve).once('error', reject);
    });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new Undelivered(`${host} does not answer (${code === 'ABORT_ERR' ? 'timeout' : (code ?? 'unknown')})`, {
      cause,
    });
  } finally {
    socket.destroy();
  }
  return `${host} answers`;
}

async function tried(name: string, attempt: () => Promise<string>): Promise<CheckLine> {
  try {
    return { name: `alerts: ${name}`, ok: true, message: await attempt(), hint: null };
  } catch (error) {
    if (!(error instanceof Undelivered) && !(error instanceof HoldfastError)) throw error;
    const hint = error instanceof HoldfastError ? error.hint : null;
    return { name: `alerts: ${name}`, ok: false, message: error.message, hint: hint ?? 'then: holdfast alerts test' };
  }
}

function advice(message: string): CheckLine {
  return { name: 'alerts', ok: true, message, hint: 'docs/alerts.md says who is told of what' };
}
