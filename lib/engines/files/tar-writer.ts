import type { ByteString } from '#engines/files/byte-string';
import { BLOCK, type TarEntry } from '#engines/files/tar-header';

/** tar's own record: archives are a multiple of it. */
const RECORD = 20 * BLOCK;

/** A member that says: `path` is the same file as `head`, which came before. */
export function hardLinkMember(path: ByteString, head: TarEntry): Buffer {
  const records = Buffer.from(
    [
      ['path', path],
      ['linkpath', head.path],
      ['mtime', head.mtime],
      ['uid', String(head.uid)],
      ['gid', String(head.gid)],
    ]
      .map(([key, value]) => paxRecord(key as string, value as string))
      .join(''),
    'latin1',
  );
  const body = Buffer.alloc(Math.ceil(records.length / BLOCK) * BLOCK);
  records.copy(body);
  const name = path.slice(path.lastIndexOf('/') + 1);
  return Buffer.concat([
    header({ name: `PaxHeaders/${name}`, mode: 0o644, size: records.length, type: 'x', link: '' }),
    body,
    header({ name: path, mode: head.mode, size: 0, type: '1', link: head.path }),
  ]);
}

/** What ends an archive of `length` bytes. */
export function endMark(length: number): Buffer {
  return Buffer.alloc(Math.ceil((length + 2 * BLOCK) / RECORD) * RECORD - length);
}

/** The length counts its own digits. */
function paxRecord(key: string, value: ByteString): string {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

/** Names are cut: the pax records that come before have them whole. */
function header(fields: { name: string; mode: number; size: number; type: string; link: string }): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(fields.name.slice(0, 100), 0, 'latin1');
  block.write(octal(fields.mode, 8), 100, 'latin1');
  block.write(octal(0, 8), 108, 'latin1');
  block.write(octal(0, 8), 116, 'latin1');
  block.write(octal(fields.size, 12), 124, 'latin1');
  block.write(octal(0, 12), 136, 'latin1');
  block.write('        ', 148, 'latin1');
  block.write(fields.type, 156, 'latin1');
  block.write(fields.link.slice(0, 100), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`;
}
