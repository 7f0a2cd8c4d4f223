import type { Message } from '#core/message';
import { type Pace, type Send, type Surroundings, untilDelivered } from '#notify/delivery';
import { request } from '#notify/http';
import { secretUrl } from '#notify/secret-url';

/** Slack refuses a message that is longer anywhere. */
const HEADER = 150;
const SECTION = 3000;

/** An incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks */
export function slack(address: string, run: Surroundings, pace: Pace): Send {
  return async (_telling, message) => {
    const url = secretUrl(address, run.reveal);
    const body = JSON.stringify(slackBody(message));
    await untilDelivered(run, pace, (signal) =>
      request(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body }, signal),
    );
  };
}

function slackBody(message: Message): object {
  return {
    // Shown in notifications, and by servers that know no blocks.
    text: escaped(message.subject),
    blocks: [
      { type: 'header', text: { type: 'plain_text', text: cut(message.subject, HEADER), emoji: false } },
      ...message.sections.map(({ title, lines, code }) => {
        const text = escaped(lines.join('\n'));
        const room = SECTION - title.length - 20;
        const shown = code ? `\`\`\`${cut(text.replaceAll('```', "'''"), room)}\`\`\`` : cut(text, room);
        return { type: 'section', text: { type: 'mrkdwn', text: `*${title}*\n${shown}` } };
      }),
      {
        type: 'context',
        elements: message.footer.map((line) => ({ type: 'mrkdwn', text: cut(escaped(line), SECTION) })),
      },
    ],
  };
}

/** The three characters that mean something: a table named <!channel> must not wake everybody. */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
