/** `INFO` as a map; sections are dropped, as field names are unique. */
export function parseInfo(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}

export interface DatabaseCount {
  readonly index: number;
  readonly keys: number;
  /** Those with a time to live. */
  readonly expires: number;
}

/** The keyspace lines, `db0:keys=3,expires=1,avg_ttl=0`; databases without keys have none. */
export function databasesOf(info: ReadonlyMap<string, string>): readonly DatabaseCount[] {
  return [...info]
    .flatMap(([name, value]) => {
      const index = /^db(\d+)$/.exec(name)?.[1];
      const counts = /^keys=(\d+),expires=(\d+)/.exec(value);
      return index === undefined || !counts
        ? []
        : [{ index: Number(index), keys: Number(counts[1]), expires: Number(counts[2]) }];
    })
    .sort((a, b) => a.index - b.index);
}

export function numberOf(info: ReadonlyMap<string, string>, name: string): number | null {
  const value = info.get(name);
  return value !== undefined && /^\d+$/.test(value) ? Number(value) : null;
}

/** Modules as `INFO modules` names them: `module:name=ReJSON,ver=20000,…`. */
export function modulesOf(text: string): readonly string[] {
  return [...text.matchAll(/^module:name=([^,\r\n]+)/gm)].map((match) => match[1] as string);
}
