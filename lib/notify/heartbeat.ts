import { type Pace, type Surroundings, untilDelivered } from '#notify/delivery';
import { request } from '#notify/http';
import { secretUrl } from '#notify/secret-url';

/**
 * Asks for the dead man's address, which rings when nobody has asked for a while. Only ever as a sign of life: a watch
 * that found trouble has told of it, and a watcher that died says nothing.
 * @throws Undelivered, VariableMissing
 */
export async function beat(address: string, run: Surroundings, pace: Pace): Promise<void> {
  const url = secretUrl(address, run.reveal);
  await untilDelivered(run, pace, (signal) => request(url, { method: 'GET' }, signal));
}
