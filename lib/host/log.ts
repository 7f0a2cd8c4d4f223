import type { Log } from '#core/ports';

/**
 * Lines on stderr, so that `--json` keeps stdout for its one document.
 * @param redact takes out every secret that was put in during the run
 */
export function lineLog(write: (line: string) => void, redact: (text: string) => string, debug: boolean): Log {
  return {
    debug: (message) => {
      if (debug) write(`debug: ${redact(message)}\n`);
    },
    info: (message) => write(`${redact(message)}\n`),
    warn: (message) => write(`warning: ${redact(message)}\n`),
  };
}
