/** Text for POSIX sh that holds whatever somebody else wrote. */

/** One word, whatever is in it. */
export function quoteShell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The same, for people: without quotes where none are needed. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:@%+,=-]+$/.test(text) ? text : quoteShell(text);
}

/**
 * A command that reads `body` as its input, taken literally. The body gets a line end if it has none.
 * @param words the end mark; another one is taken where a line of the body is equal to it
 */
export function hereDocument(command: string, body: string, words = 'END'): string {
  const lines = new Set(body.split('\n'));
  let mark = words;
  for (let n = 2; lines.has(mark); n++) mark = `${words}_${n}`;
  return `${command} <<'${mark}'\n${body}${body === '' || body.endsWith('\n') ? '' : '\n'}${mark}`;
}
