import { Disproven } from '#core/errors';
import type { StoredVolume, StoreOptions } from '#core/ports';

/**
 * How an artifact of unknown length is cut. An S3 object has at most 10,000 parts, and a part has to be held in memory
 * until the server has it (I8): so parts stay at 16 MiB, and what is longer than 10,000 of them goes on in another
 * volume. All parts but a volume's last are of one size, as some stores demand. Disks cut at the same place: a volume
 * can be copied between any two vaults under its own name.
 */

export const PART_BYTES = 16 * 1024 * 1024;
export const PARTS_PER_VOLUME = 10_000;
/** 156.25 GiB. */
export const VOLUME_BYTES = PART_BYTES * PARTS_PER_VOLUME;
/** Largest object that `Vault.get` reads. */
export const SMALL_BYTES = 16 * 1024 * 1024;

/** `x`, `x.002`, `x.003`: the shell's order is the volumes' order up to 999, 152 TiB. */
export function volumeName(name: string, number: number): string {
  return number === 1 ? name : `${name}.${String(number).padStart(3, '0')}`;
}

/** The cut of `bytes`: parts in each volume. Nothing is one empty volume. */
export function partsOf(
  bytes: number,
  partBytes: number = PART_BYTES,
  partsPerVolume: number = PARTS_PER_VOLUME,
): number[] {
  const volumeBytes = partBytes * partsPerVolume;
  const volumes = Math.max(1, Math.ceil(bytes / volumeBytes));
  return Array.from({ length: volumes }, (_, index) =>
    Math.max(1, Math.ceil(Math.min(volumeBytes, bytes - index * volumeBytes) / partBytes)),
  );
}

/**
 * Called before anything of a copy gets its final name: a name once given is never taken back.
 * @throws Disproven the volumes are not the one that was expected
 */
export function refuseOther(folder: string, volumes: readonly StoredVolume[], expect: StoreOptions['expect']): void {
  if (expect === undefined) return;
  const [volume, ...more] = volumes;
  if (volume && more.length === 0 && volume.bytes === expect.bytes && volume.sha256 === expect.sha256) return;
  const bytes = volumes.reduce((sum, one) => sum + one.bytes, 0);
  throw new Disproven(
    `${folder}/${volume?.name}: the bytes to copy are not what their manifest says: ` +
      `${bytes} bytes with sha256 ${volume?.sha256}, want ${expect.bytes} with ${expect.sha256}`,
  );
}
