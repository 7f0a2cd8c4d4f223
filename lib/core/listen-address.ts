/** Where `serve` answers. */
export interface ListenAddress {
  /** Empty = every address. */
  readonly host: string;
  readonly port: number;
}

export const LISTEN_ALLOWED = 'HOST:PORT such as 127.0.0.1:8474';

/** Of `127.0.0.1:8474`, `[::1]:8474`, `:8474`; null when the text is none. */
export function listenAddress(text: string): ListenAddress | null {
  const found = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text);
  const port = Number(found?.[3]);
  return found && port <= 65_535 ? { host: found[1] ?? found[2] ?? '', port } : null;
}
