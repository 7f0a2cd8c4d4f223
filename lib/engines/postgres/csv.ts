export type Row = readonly (string | null)[];

/** psql's csv output. `nullMark` stands for SQL null: csv alone cannot tell it from an empty text. */
export function parseCsv(text: string, nullMark: string): Row[] {
  const rows: Row[] = [];
  let row: (string | null)[] = [];
  let at = 0;
  while (at < text.length) {
    let field = '';
    if (text[at] === '"') {
      at += 1;
      for (;;) {
        const quote = text.indexOf('"', at);
        if (quote < 0) throw new Error('psql ended its csv inside a quoted field');
        field += text.slice(at, quote);
        at = quote + 1;
        if (text[at] !== '"') break;
        field += '"';
        at += 1;
      }
    } else {
      const start = at;
      while (at < text.length && text[at] !== ',' && text[at] !== '\n') at += 1;
      field = text.slice(start, at);
    }
    row.push(field === nullMark ? null : field);
    const ended = at >= text.length || text[at] === '\n';
    // A comma just before the end means one more, empty field.
    if (!ended && at + 1 === text.length) row.push('');
    at += 1;
    if (ended || at >= text.length) {
      rows.push(row);
      row = [];
    }
  }
  return rows;
}
