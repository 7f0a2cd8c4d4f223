import type { Plan } from '#core/plan';
import { loadPlan } from '#core/plan-load';

/** A plan with one bucket and tiers of every sort. */
export function bucketPlan(vault = '', more = ''): Plan {
  return loadPlan(
    `version: 1
name: shop
encryption: none
vaults: { cloud: { s3: shop-backups, prefix: prod, region: eu-north-1${vault} } }
tiers:
  daily: { keep: 30d }
  monthly: { keep: 12mo, class: archive, after: 45d }
  yearly: { keep: forever, class: deep-archive }
  config: { keep: { versions: 10 }, every: 1h }
sources:
  app: { sqlite: { file: a.db }, schedule: [{ cron: "0 2 * * *", tiers: [daily, monthly, yearly], to: [cloud] }] }
  conf: { files: { paths: [/etc] }, schedule: [{ every: 1h, tier: config, to: [cloud] }] }
${more}`,
    'holdfast.yaml',
  ).plan;
}
