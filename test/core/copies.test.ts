import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type CopyPlace, placeOfVault, threeTwoOne } from '#core/copies';
import { loadPlan } from '#core/plan-load';

const { plan } = loadPlan(
  `version: 1
name: places
encryption: none
vaults:
  ssd: { disk: /ssd }
  usb: { disk: /usb }
  attic: { disk: /net/attic, site: attic }
  aws: { s3: one, region: eu-north-1 }
  twin: { s3: one, prefix: other, region: eu-north-1 }
  next: { s3: two, region: eu-north-1 }
  far: { s3: two-far, region: eu-west-1 }
  space: { s3: one, endpoint: "https://sgp1.example.com", region: sgp1 }
  local: { s3: one, endpoint: "http://127.0.0.1:9000" }
tiers: { daily: { keep: 7d } }
sources:
  app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [ssd] }] }
`,
  'holdfast.yaml',
);

const DEVICES: Readonly<Record<string, string>> = { ssd: 'device 1', usb: 'device 2', attic: 'device 1' };
const source: CopyPlace = { copy: 'source app', medium: 'here device 1', site: 'here' };

function counted(...vaults: string[]): string {
  const places = vaults.map((name) => placeOfVault(plan, name, DEVICES[name] ?? null));
  const { copies, media, sites, lacking } = threeTwoOne([source, ...places]);
  return `${copies}-${media}-${sites}${lacking.map((what) => `; ${what}`).join('')}`;
}

describe('3-2-1: three copies, two media, another site', () => {
  const table: readonly [string[], string, string][] = [
    [['ssd'], '2-1-1; one more copy; a copy on another medium; a copy at another site', 'a folder on the same disk'],
    [['usb'], '2-2-1; one more copy; a copy at another site', 'another disk'],
    [['ssd', 'usb'], '3-2-1; a copy at another site', 'two disks beside each other burn together'],
    [['ssd', 'aws'], '3-2-2', 'a disk and a bucket'],
    [['ssd', 'attic'], '3-2-2', 'a disk elsewhere is another device, whatever its number there'],
    [['aws', 'twin'], '2-2-2; one more copy', 'two prefixes of one bucket are one copy'],
    [['aws', 'next'], '3-3-2', 'two buckets of one region are two copies at one site'],
    [['aws', 'far'], '3-3-3', 'two regions are two sites'],
    [['aws', 'space'], '3-3-3', 'buckets of one name in two stores are two'],
    [['ssd', 'local'], '3-2-1; a copy at another site', 'a store on this machine is here'],
    [[], '1-1-1; 2 more copies; a copy on another medium; a copy at another site', 'nothing at all'],
  ];
  for (const [vaults, wanted, why] of table)
    test(`${vaults.join(' and ') || 'no vault'}: ${wanted} (${why})`, () => {
      assert.equal(counted(...vaults), wanted);
    });

  test('a medium that nobody can look at is not counted', () => {
    const places = [source, placeOfVault(plan, 'usb', null), placeOfVault(plan, 'attic', null)];
    assert.deepEqual(threeTwoOne(places), {
      copies: 3,
      media: 1,
      sites: 2,
      lacking: ['a copy on another medium'],
    });
  });
});
