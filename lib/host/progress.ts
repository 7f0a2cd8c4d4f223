import { formatSeconds } from '#core/duration';
import type { Clock, Progress } from '#core/ports';
import { formatBytes } from '#core/size';

const REDRAW_MILLISECONDS = 200;

/** A pipe or file gets plain lines: one a stage. */
export function plainProgress(write: (text: string) => void): Progress & { done(): void } {
  return { stage: (name) => write(`${name}\n`), advance: () => undefined, done: () => undefined };
}

/** A terminal gets one line that is drawn again: bytes, rate, and the time left where the total is known. */
export function terminalProgress(write: (text: string) => void, clock: Clock): Progress & { done(): void } {
  let name = '';
  let total: number | null = null;
  let bytes = 0;
  let began = 0;
  let drawn = 0;
  const draw = (): void => {
    const seconds = Math.max((clock.now().getTime() - began) / 1000, 0.001);
    const rate = bytes / seconds;
    const parts = [name];
    if (bytes > 0)
      parts.push(
        total ? `${formatBytes(bytes)} of ${formatBytes(total)}` : formatBytes(bytes),
        `${formatBytes(Math.round(rate))}/s`,
      );
    if (total && rate > 0) parts.push(`${formatSeconds((total - bytes) / rate)} left`);
    write(`\r\u001b[K${parts.join('  ')}`);
  };
  return {
    stage(next, nextTotal) {
      name = next;
      total = nextTotal;
      bytes = 0;
      began = clock.now().getTime();
      draw();
    },
    advance(count) {
      bytes += count;
      const now = clock.now().getTime();
      if (now - drawn < REDRAW_MILLISECONDS) return;
      drawn = now;
      draw();
    },
    done: () => write('\r\u001b[K'),
  };
}
