import { decide } from '#core/retention';
import { median, type Row, SCALE } from '#test/bench/measure';
import { asked, DAY, HOUR, idOf, NOW, removedIds, rules, stored, tier } from '#test/core/retention-cases';

const BACKUPS = Math.round(100_000 * SCALE);
const AT_MOST_SECONDS = 2;

const PLAN = {
  tiers: {
    hourly: tier('7d'),
    daily: tier('30d'),
    weekly: tier('90d'),
    monthly: tier('12mo'),
    yearly: tier('forever'),
  },
  settings: rules('every 1h', ['hourly', 'daily', 'weekly', 'monthly', 'yearly']),
  zone: 'Europe/Stockholm',
};

/** How long the decision itself takes: everything is in memory, as it is after the vault was read. */
export async function retentionRows(
  rounds: number,
  say: (line: string) => void,
): Promise<{ rows: Row[]; notes: string[] }> {
  const input = asked(history(), PLAN);
  const seconds: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const removed = removedIds(decide(input)).length;
    seconds.push((performance.now() - began) / 1000);
    say(`${BACKUPS} backups decided in ${seconds.at(-1)?.toFixed(2)} s, ${removed} of them over`);
  }
  const took = median(seconds);
  return {
    rows: [
      {
        work: 'retention decides over 100,000 backups',
        against: '–',
        atMost: `${AT_MOST_SECONDS} s`,
        ours: `${took.toFixed(2)} s`,
        theirs: '–',
        measured: `${took.toFixed(2)} s`,
        met: took <= AT_MOST_SECONDS,
      },
    ],
    notes: [
      'retention: eleven years of hourly backups in five tiers and a zone with summer time, one in five hundred disproven, one differential to each two fulls; nothing removed before, so that all of it has to be judged.',
    ],
  };
}

/** An hour apart, oldest last; promised what their tiers say. */
function history() {
  return Array.from({ length: BACKUPS }, (_, n) => {
    const at = new Date(NOW.getTime() - n * HOUR);
    const id = idOf(at);
    const name = n % 720 === 0 ? 'monthly' : n % 168 === 0 ? 'weekly' : n % 24 === 0 ? 'daily' : 'hourly';
    const isDifferential = name === 'hourly' && n % 3 === 0;
    return stored(at, {
      id,
      tier: name,
      expires: new Date(at.getTime() + 7 * DAY),
      proof: n % 500 === 7 ? 'disproven' : 'proven',
      kind: isDifferential ? 'differential' : 'full',
      base: isDifferential ? idOf(new Date(at.getTime() - HOUR)) : null,
      measures: { rows: 1_000_000 - n, bytes: 1e9 - n * 1000, 'rows:events': 500_000 - n },
    });
  });
}
