import type { Telling } from '#core/alert';
import { formatSeconds } from '#core/duration';
import { isoTime, sha256Hex } from '#core/manifest';

/** A telling in words, for every channel: written for somebody who was asleep a minute ago. */
export interface Message {
  /** One line: `[holdfast archon72] HIGH events: backup failed`. */
  readonly subject: string;
  /** The subject without the brackets. */
  readonly headline: string;
  readonly sections: readonly Section[];
  /** Who said it, and the ledger's head (I15). */
  readonly footer: readonly string[];
  /** Headline, sections and footer as plain text; lines are not wrapped, as some are commands. */
  readonly text: string;
  /** What fits into a text message: at most 300 characters. */
  readonly brief: string;
}

export interface Section {
  readonly title: string;
  readonly lines: readonly string[];
  /** Commands and ids: shown in fixed width where a channel can. */
  readonly code: boolean;
}

/** Longer titles are cut in a subject; the text has all of it. */
const SUBJECT_TITLE = 150;
const BRIEF = 300;

export function inWords(telling: Telling): Message {
  const headline = headlineOf(telling, cut(oneLine(telling.title), SUBJECT_TITLE));
  const sections = sectionsOf(telling);
  const footer = footerOf(telling);
  const blocks = [
    headlineOf(telling, oneLine(telling.title)),
    ...sections.map(({ title, lines }) => [title, ...lines.map((line) => `  ${line}`)].join('\n')),
    footer.join('\n'),
  ];
  return {
    subject: `[holdfast ${telling.plan}] ${headline}`,
    headline,
    sections,
    footer,
    text: `${blocks.join('\n\n')}\n`,
    brief: briefOf(telling),
  };
}

/** One trouble from its opening to its end: mail programs make one thread of what carries it. */
export function threadOf({ plan, source, key, since }: Telling): string {
  return sha256Hex([plan, source ?? '', key, isoTime(since)].join('\n')).slice(0, 32);
}

/** The same for the same message, however often it is sent: receivers may drop the second. */
export function idempotencyKey(telling: Telling): string {
  const one = [threadOf(telling), telling.what, telling.severity, String(telling.told), isoTime(telling.at)];
  return sha256Hex(one.join('\n')).slice(0, 32);
}

function headlineOf({ what, severity, told }: Telling, title: string): string {
  switch (what) {
    case 'opened':
      return `${severity.toUpperCase()} ${title}`;
    case 'repeated':
      return `${severity.toUpperCase()} still: ${title} (${ordinal(told)} time)`;
    case 'escalated':
      return `${severity.toUpperCase()} escalated: ${title}`;
    case 'closed':
      return `resolved: ${title}`;
    case 'test':
      return `test (${severity}): ${title}`;
  }
}

function sectionsOf(telling: Telling): Section[] {
  const { what, source } = telling;
  const sections: Section[] = [
    { title: 'What happened', lines: linesOf(telling.happened), code: false },
    ...(what === 'test' ? [] : [{ title: 'Since when', lines: [sinceWhen(telling)], code: false }]),
  ];
  const safe = telling.safe.flatMap(linesOf);
  if (safe.length > 0) sections.push({ title: 'What is still safe', lines: safe, code: true });
  else if (source !== null && what !== 'closed' && what !== 'test')
    sections.push({
      title: 'What is still safe',
      lines: [`No proven backup of ${source} is known.`],
      code: false,
    });
  const next = telling.next.flatMap(linesOf);
  if (next.length > 0) sections.push({ title: 'What to do next', lines: next, code: true });
  return sections;
}

function sinceWhen(telling: Telling): string {
  const lasted = formatSeconds((telling.at.getTime() - telling.since.getTime()) / 1000);
  if (telling.what === 'closed') return `${moment(telling.since)} to ${moment(telling.at)}: it lasted ${lasted}.`;
  const times = telling.told > 1 ? ` Told ${telling.told} times now.` : '';
  return `${moment(telling.since)}, ${lasted} ago.${times}`;
}

function footerOf({ host, plan, at, ledgerHead, key }: Telling): string[] {
  return [
    `said by ${host} for plan ${plan} at ${moment(at)}, alert ${key}`,
    ledgerHead === null
      ? 'ledger: none yet, or it could not be read'
      : `ledger ${ledgerHead.vault}/${ledgerHead.source} ${ledgerHead.seq} ${ledgerHead.sha256}`,
  ];
}

function briefOf(telling: Telling): string {
  const start = `holdfast ${telling.plan}: ${headlineOf(telling, oneLine(telling.title))}`;
  const since = telling.what === 'closed' || telling.what === 'test' ? '' : ` (since ${moment(telling.since)})`;
  const [first] = telling.next.flatMap(linesOf);
  const next = first === undefined || telling.what === 'test' ? '' : ` Next: ${first}`;
  const whole = `${start}${since}.${next}`;
  return whole.length <= BRIEF ? whole : `${cut(start, BRIEF - since.length - 1)}${since}.`;
}

/** `2026-11-21 02:00 UTC` */
function moment(time: Date): string {
  const [day = '', clock = ''] = isoTime(time).split('T');
  return `${day} ${clock.slice(0, 5)} UTC`;
}

function linesOf(text: string): string[] {
  return text.split(/\r\n|[\r\n]/).filter((line) => line.trim() !== '');
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1).trimEnd()}…`;
}

function ordinal(number: number): string {
  const teen = number % 100 >= 11 && number % 100 <= 13;
  return `${number}${teen ? 'th' : (['th', 'st', 'nd', 'rd'][number % 10] ?? 'th')}`;
}
