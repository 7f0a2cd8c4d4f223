import type { Plan, VaultSettings } from '#core/plan';

/**
 * 3-2-1: three copies of the data, on two media, one of them at another site. Counted from what the plan says and the
 * machine shows; whether the copies are there is another question (`jobs/copies`).
 */

/** The site of this machine and its disks. */
export const HERE = 'here';

/** Where one copy lies. */
export interface CopyPlace {
  /** Two places with one of these are one copy: a bucket has no more lives than its owner. */
  readonly copy: string;
  /** Null = not known, and not counted. */
  readonly medium: string | null;
  readonly site: string;
}

export interface ThreeTwoOne {
  readonly copies: number;
  readonly media: number;
  readonly sites: number;
  /** What is missing to 3-2-1, in words; empty = nothing. */
  readonly lacking: readonly string[];
}

/** @param places the source itself, and each vault it is kept in */
export function threeTwoOne(places: readonly CopyPlace[]): ThreeTwoOne {
  const copies = new Set(places.map(({ copy }) => copy)).size;
  const media = new Set(places.flatMap(({ medium }) => medium ?? [])).size;
  const sites = new Set(places.map(({ site }) => site)).size;
  const lacking: string[] = [];
  if (copies < 3) lacking.push(copies === 2 ? 'one more copy' : `${3 - copies} more copies`);
  if (media < 2) lacking.push('a copy on another medium');
  if (sites < 2) lacking.push('a copy at another site');
  return { copies, media, sites, lacking };
}

/**
 * @param device of a disk vault, as its machine names it; null when it cannot be looked at
 */
export function placeOfVault(plan: Plan, name: string, device: string | null): CopyPlace {
  const settings = plan.vaults[name] as VaultSettings;
  if ('disk' in settings) {
    const site = settings.site ?? HERE;
    // The same device number on another machine is another device.
    return { copy: `vault ${name}`, medium: device === null ? null : `${site} ${device}`, site };
  }
  const bucket = `bucket ${settings.endpoint ?? 'AWS'} ${settings.s3}`;
  return { copy: bucket, medium: bucket, site: siteOfBucket(settings) };
}

/** A bucket in the same region of the same store burns with its neighbour; one of a server on this machine is here. */
function siteOfBucket({ site, endpoint, region }: Extract<VaultSettings, { s3: string }>): string {
  if (site !== undefined) return site;
  if (endpoint === undefined) return `AWS ${region ?? ''}`;
  const { hostname } = new URL(endpoint);
  if (isThisMachine(hostname)) return HERE;
  return region === undefined ? hostname : `${hostname} ${region}`;
}

export function isThisMachine(hostname: string): boolean {
  return /^(?:localhost|127\..*|\[?::1\]?|0\.0\.0\.0)$/i.test(hostname);
}
