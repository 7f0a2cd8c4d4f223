import { readFile } from 'node:fs/promises';
import type { ByteString } from '#engines/files/byte-string';

/** File systems that hold no files of anybody's: the kernel makes them up. */
const PSEUDO =
  /^(proc|sysfs|cgroup2?|devpts|devtmpfs|mqueue|debugfs|tracefs|securityfs|pstore|bpf|configfs|fusectl|hugetlbfs|autofs|binfmt_misc|nsfs|rpc_pipefs|efivarfs|selinuxfs)$/;

/** Another machine can change or withhold what is on these, and modes and owners may be made up. */
const NETWORK =
  /^(nfs4?|cifs|smb3?|smbfs|9p|ceph|glusterfs|lustre|afs|davfs|fuse\.(sshfs|s3fs|rclone|davfs2?|glusterfs))$/;

export interface Mount {
  readonly path: ByteString;
  readonly type: string;
  readonly pseudo: boolean;
  readonly network: boolean;
}

/** What is mounted, outermost first. Empty where there is no /proc (then nothing is known, and nothing is skipped). */
export async function readMounts(): Promise<readonly Mount[]> {
  try {
    return parseMounts((await readFile('/proc/self/mountinfo')).toString('latin1'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** @param mountinfo as in proc(5): `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw` */
export function parseMounts(mountinfo: string): readonly Mount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const separator = fields.indexOf('-');
    const path = fields[4];
    const type = fields[separator + 1];
    if (separator < 0 || path === undefined || type === undefined) return [];
    const plain = path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    return [{ path: plain, type, pseudo: PSEUDO.test(type), network: NETWORK.test(type) }];
  });
}

/** The file system a path is on: the innermost mount, the last one where several lie over each other. */
export function mountOf(mounts: readonly Mount[], path: ByteString): Mount | null {
  let best: Mount | null = null;
  for (const mount of mounts) {
    const holds = mount.path === '/' || path === mount.path || path.startsWith(`${mount.path}/`);
    if (holds && (best === null || mount.path.length >= best.path.length)) best = mount;
  }
  return best;
}
