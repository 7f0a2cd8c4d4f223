import { Cancelled } from '#core/errors';
import type { Clock } from '#core/ports';

export const machineClock: Clock = {
  now: () => new Date(),
  sleep: (milliseconds, signal) =>
    new Promise((resolve, reject) => {
      const stopped = (): void => {
        clearTimeout(timer);
        reject(new Cancelled('stopped while waiting', { cause: signal?.reason }));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', stopped);
        resolve();
      }, milliseconds);
      if (signal?.aborted) stopped();
      else signal?.addEventListener('abort', stopped, { once: true });
    }),
};
