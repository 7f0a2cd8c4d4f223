import { readFileSync } from 'node:fs';
import { livingProcesses } from '#test/contracts/seen-processes';

/** Greatest resident size, in KiB, of any one child between now and `stop`. */
export function watchPeak(): { stop(): number } {
  let peak = 0;
  const look = (): void => {
    for (const { pid } of livingProcesses('/no/path')) {
      try {
        const found = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
        peak = Math.max(peak, Number(found?.[1] ?? 0));
      } catch (error) {
        if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      }
    }
  };
  const timer = setInterval(look, 20);
  return {
    stop() {
      clearInterval(timer);
      return peak;
    },
  };
}
