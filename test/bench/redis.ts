import { mkdirSync } from 'node:fs';
import { BenchPlace } from '#test/bench/bench-place';
import { inTurn, type Row, ratioRow, SCALE, timed } from '#test/bench/measure';
import { memoryRow } from '#test/bench/postgres';
import { startRedis } from '#test/servers/redis';

const KEYS = Math.round(5_000_000 * SCALE);

export async function redisRows(
  rounds: number,
  say: (line: string) => void,
): Promise<{ rows: Row[]; notes: string[] }> {
  const place = new BenchPlace();
  mkdirSync(place.path('redis'));
  const server = await startRedis(place.path('redis'), { config: ['enable-debug-command local'] });
  try {
    await place.prepare();
    say(`making ${KEYS} keys`);
    await server.cli(['debug', 'populate', String(KEYS), 'key', '24']);
    await place.plan(`redis: { url: "redis://127.0.0.1:${server.port}" }`, 'never');
    say('dump');
    const dump = await inTurn(rounds, () => place.backup(), [
      () =>
        timed(
          place.byHand(
            `rm -f out/dump.rdb; redis-cli -p ${server.port} --rdb out/dump.rdb > /dev/null; zstd -q -3 -T0 -c out/dump.rdb | age -r ${place.recipient} > out/dump.age`,
          ),
        ),
    ]);
    say('proof');
    const proof = await timed(place.holdfast('prove', 'it'));
    return {
      rows: [
        ratioRow(
          'Redis, 5 M keys, repl-diskless-sync-delay 0',
          'redis-cli --rdb then zstd, age',
          1.3,
          dump.ours,
          dump.theirs[0] as number,
        ),
        memoryRow('Redis, 5 M keys, backup and proof', Math.max(dump.peakMiB, proof.peakMiB)),
      ],
      notes: [
        `Redis ${/redis_version:(\S+)/.exec(await server.cli(['info', 'server']))?.[1]}, keys by DEBUG POPULATE, 24-byte values; its proof takes ${proof.seconds.toFixed(1)} s.`,
      ],
    };
  } finally {
    await server.stop();
    place.remove();
  }
}
