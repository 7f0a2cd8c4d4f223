import {
  HoldfastError,
  KeyExists,
  messageOf,
  SpaceLacking,
  UnsafePath,
  VaultMissing,
  VaultRefused,
  VaultUnreachable,
} from '#core/errors';
import { keyMissing } from '#vault/keys';

/**
 * What a failed system call on a vault's directory means. The root's own absence is told apart before: it has no key.
 * @param doing `store`, `read`, `list`, `remove`
 */
export function diskError(error: unknown, doing: string, key: string, root: string): Error {
  if (error instanceof HoldfastError || !isErrno(error)) return asError(error);
  const what = `cannot ${doing} ${key} in ${root}: ${error.code}`;
  switch (error.code) {
    case 'ENOENT':
    case 'EISDIR':
      return doing === 'store'
        ? new VaultUnreachable(`${what}, its folder or hidden file vanished while it was written`, {
            hint: `see what else works in ${root}, then run it again`,
            cause: error,
          })
        : keyMissing(key, root);
    case 'ENOTDIR':
      return doing === 'read' || doing === 'remove'
        ? keyMissing(key, root)
        : new VaultRefused(`${what}, a file lies where a folder should be`, {
            hint: `look into ${root}`,
            cause: error,
          });
    case 'EEXIST':
      return keyExists(key, root);
    case 'ENOSPC':
      return new SpaceLacking(`${what}, no space is left`, {
        hint: `make room on the disk of ${root}, or give the plan another vault`,
        cause: error,
      });
    case 'EDQUOT':
    case 'EFBIG':
      return new SpaceLacking(`${what}, the quota or size limit is reached`, {
        hint: `raise the quota of the user that owns ${root}`,
        cause: error,
      });
    case 'EROFS':
      return new VaultRefused(`${what}, the file system is read-only`, {
        hint: 'remount it writable; a disk that failed is often remounted read-only: see dmesg',
        cause: error,
      });
    case 'EACCES':
    case 'EPERM':
      return new VaultRefused(`${what}, permission denied`, {
        hint: `give this user read and write access to ${root}, or run as the user that owns it`,
        cause: error,
      });
    case 'ELOOP':
      return new UnsafePath(`${what}, symbolic links go round in ${root}`, { cause: error });
    default:
      return new VaultUnreachable(`${what}, ${error.message.replace(/^[A-Z]+: /, '')}`, {
        hint: `check the disk or the network share of ${root}: dmesg, mount`,
        cause: error,
      });
  }
}

export function keyExists(key: string, root: string): KeyExists {
  return new KeyExists(`${key} is already in ${root}, and is written once only`, {
    hint: 'another run wrote it; look at the ledger',
  });
}

/** The directory is not there, or is there without `vault.json`, as an unmounted mount point is. */
export function diskMissing(root: string, why: string): VaultMissing {
  return new VaultMissing(`${root} is not mounted, or not a vault: ${why}`, {
    hint: 'mount it; for a new vault: holdfast check --create',
  });
}

export function isErrno(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  return error instanceof Error && 'errno' in error && typeof (error as NodeJS.ErrnoException).code === 'string';
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(messageOf(error));
}
