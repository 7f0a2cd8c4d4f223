import { createProcesses } from '#host/processes';
import { good, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { type Aged, addAged } from '#test/jobs/aged-vault';
import { keepOf } from '#test/jobs/aged-world';
import { DiskVault } from '#vault/disk-vault';

const DAY = 86_400_000;

/** A small plan whose vault gets backups of days gone by, for the real command line. */
export interface AgedPlace extends SmallPlan {
  readonly vault: DiskVault;
  /** Promised 30 days, proven, unless told. @returns its id */
  add(daysAgo: number, aged?: Partial<Aged>, source?: string): Promise<string>;
}

export async function agedPlace(sources?: readonly string[], tiers?: string): Promise<AgedPlace> {
  const small = await smallPlan();
  small.plan({ ...(sources ? { sources } : {}), ...(tiers === undefined ? {} : { tiers }) });
  await good(small.place.run('check', '--create'));
  const vault = new DiskVault({
    name: 'here',
    root: small.place.path('vault'),
    processes: createProcesses(process.env, new AbortController().signal, null),
  });
  return {
    ...small,
    vault,
    async add(daysAgo, aged = {}, source = 'app') {
      const at = new Date(Date.now() - daysAgo * DAY);
      return (await addAged(vault, source, { at, tier: 'daily', keep: keepOf('30d'), ...aged })).id;
    },
  };
}
