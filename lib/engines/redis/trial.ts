import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CaptureIncomplete } from '#core/errors';
import type { RunContext } from '#core/ports';
import { clientArguments, clientEnvironment, printable, type RedisAddress } from '#engines/redis/address';
import { refusal } from '#engines/redis/ask';

const LOOK_EVERY = 50;
/** A refusal comes at once; silence this long is a server that prepares its fork. */
const AGREED_AFTER = 1500;

/**
 * Asks for SYNC and hangs up once the server agrees: no command tells who may SYNC without being allowed more.
 * With the default delay of 5 s the server does not even fork.
 * @throws SourceRefused, SourceUnsupported, SourceUnreachable, CaptureIncomplete
 */
export async function tryTransfer(cli: string, address: RedisAddress, run: RunContext): Promise<void> {
  const folder = await mkdtemp(join(run.scratch, 'redis-trial-'));
  const trial = run.processes.start({
    program: cli,
    args: [...clientArguments(address), '--rdb', join(folder, 'trial.rdb')],
    env: clientEnvironment(address),
  });
  trial.stdout.resume();
  let over = false;
  trial.ended.then(() => {
    over = true;
  });
  try {
    for (let waited = 0; waited < AGREED_AFTER && !over; waited += LOOK_EVERY) {
      if (/SYNC sent to master/.test(trial.stderr())) break;
      await run.clock.sleep(LOOK_EVERY, run.signal);
    }
    const said = trial.stderr();
    const refused = refusal(said, address);
    if (refused) throw refused;
    if (over && !/Transfer finished with success/.test(said))
      throw new CaptureIncomplete(
        `${printable(address)} does not hand out its data: ${said.trim().split('\n').at(-1)}`,
      );
  } finally {
    trial.kill('SIGKILL');
    await trial.ended;
    await rm(folder, { recursive: true, force: true });
  }
}
