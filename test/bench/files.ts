import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { BenchPlace } from '#test/bench/bench-place';
import { inTurn, type Row, ratioRow, SCALE, timed } from '#test/bench/measure';
import { memoryRow } from '#test/bench/postgres';

const FILES = Math.round(20_000 * SCALE);
const BYTES = 20_000;
const MANY = Math.round(1_000_000 * SCALE);

export async function filesRows(
  rounds: number,
  say: (line: string) => void,
): Promise<{ rows: Row[]; notes: string[] }> {
  const place = new BenchPlace();
  try {
    await place.prepare();
    say(`making ${FILES} files`);
    for (let n = 0; n < FILES; n++) {
      const folder = place.path('tree', String(n % 200));
      if (n < 200) mkdirSync(folder, { recursive: true });
      // Half of it text that compresses, half of it not.
      const text = createHash('sha256')
        .update(String(n))
        .digest('hex')
        .repeat(1 + BYTES / 128);
      writeFileSync(
        `${folder}/${n}.json`,
        Buffer.concat([Buffer.from(text.slice(0, BYTES / 2)), randomBytes(BYTES / 2)]),
      );
    }
    await place.plan('files: { paths: [tree] }', 'never');
    say('first run');
    const restic = {
      RESTIC_PASSWORD: 'bench',
      RESTIC_REPOSITORY: place.path('restic'),
      RESTIC_CACHE_DIR: place.path('cache'),
    };
    const first = await inTurn(rounds, () => place.backup(), [
      async () => {
        rmSync(place.path('restic'), { recursive: true, force: true });
        rmSync(place.path('cache'), { recursive: true, force: true });
        await timed(place.byHand('restic -q init', restic));
        return timed(place.byHand('restic -q backup tree', restic));
      },
    ]);
    const proof = await timed(place.holdfast('prove', 'it'));
    rmSync(place.path('tree'), { recursive: true });
    say(`making ${MANY} small files`);
    for (let n = 0; n < MANY; n++) {
      const folder = place.path('many', String(n % 1000));
      if (n < 1000) mkdirSync(folder, { recursive: true });
      writeFileSync(`${folder}/${n}`, String(n));
    }
    await place.plan('files: { paths: [many] }', 'never');
    say('a million small files');
    const many = await place.backup();
    const manyProof = await timed(place.holdfast('prove', 'it'));
    return {
      rows: [
        ratioRow('files, 20,000 files, 400 MB, first run', 'restic backup', 0.6, first.ours, first.theirs[0] as number),
        memoryRow('files, 20,000 files, backup and proof', Math.max(first.peakMiB, proof.peakMiB)),
        memoryRow('files, 1 M small files, backup', many.peakMiB),
        memoryRow('files, 1 M small files, proof', manyProof.peakMiB),
      ],
      notes: [
        `restic with its defaults into a fresh local repository (init not timed); 1 M small files: backup ${many.seconds.toFixed(0)} s, proof ${manyProof.seconds.toFixed(0)} s.`,
      ],
    };
  } finally {
    place.remove();
  }
}
