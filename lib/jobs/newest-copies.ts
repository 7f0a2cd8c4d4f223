import { routesOf, wantedVaults } from '#core/copy-rules';
import type { Manifest } from '#core/manifest';
import type { CopyLag } from '#core/source-conditions';
import type { JobEnvironment } from '#jobs/environment';
import type { AnsweringVaults, ReadBackup } from '#jobs/source-listing';

/** Of the newest backups alone; `watch` has the survey of all. */
export function missingCopies(
  source: string,
  backups: readonly ReadBackup[],
  vaults: AnsweringVaults,
  now: Date,
  { plan: { plan } }: JobEnvironment,
): CopyLag[] {
  const ways = new Map<string, { from: string; to: string; of: Manifest[] }>();
  for (const { seen, manifest } of backups) {
    if (manifest.expires !== null && new Date(manifest.expires) <= now) continue;
    const present = seen.in.map(({ vault }) => vault);
    const from = present[0] as string;
    for (const to of wantedVaults(
      plan,
      source,
      { tier: manifest.tier, schedule: manifest.trigger.schedule },
      present,
    )) {
      if (present.includes(to) || !vaults.named(to)) continue;
      const way = ways.get(`${from} ${to}`) ?? { from, to, of: [] };
      way.of.push(manifest);
      ways.set(`${from} ${to}`, way);
    }
  }
  return [...ways.values()].map(({ from, to, of }) => {
    const [oldest] = of.toSorted((a, b) => (a.finishedAt < b.finishedAt ? -1 : 1));
    return {
      from,
      to,
      missing: of.length,
      oldest: oldest?.id ?? null,
      lagSeconds: oldest ? Math.max(0, (now.getTime() - Date.parse(oldest.finishedAt)) / 1000) : 0,
      limitSeconds: routesOf(plan, source).find((way) => way.to === to)?.limitSeconds ?? null,
      differences: [],
    };
  });
}
