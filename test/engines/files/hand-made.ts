import { createReadStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import type { Manifest } from '#core/manifest';
import { sha256Hex } from '#core/manifest';
import type { OpenBackup } from '#core/ports';
import { encodeEntry, type IndexEntry } from '#engines/files/tree-index';

/** A member as no tar would write it. */
export interface Member {
  readonly name: string;
  /** `0` file, `1` hard link, `2` symbolic link, `5` directory, or anything else. */
  readonly type?: string;
  readonly link?: string;
  readonly body?: string;
  readonly pax?: Readonly<Record<string, string>>;
}

export function tarOf(members: readonly Member[], end = true): Buffer {
  const blocks = members.flatMap((member) => {
    const records = Object.entries(member.pax ?? {}).map(([key, value]) => {
      const rest = Buffer.byteLength(key) + Buffer.byteLength(value) + 3;
      const length = rest + String(rest + String(rest).length).length;
      return `${length} ${key}=${value}\n`;
    });
    const pax =
      records.length > 0 ? [header('PaxHeaders/x', 'x', records.join('').length), padded(records.join(''))] : [];
    const body = member.body ?? '';
    return [...pax, header(member.name, member.type ?? '0', Buffer.byteLength(body), member.link), padded(body)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(end ? 1024 : 0)]);
}

/** Lines of an index that agrees with the members. */
export function indexOf(members: readonly Member[]): readonly IndexEntry[] {
  const kinds: Readonly<Record<string, IndexEntry['kind']>> = { 0: 'file', 1: 'hard', 2: 'link', 5: 'dir', 6: 'fifo' };
  return members.map((member) => {
    const kind = kinds[member.type ?? '0'] ?? 'file';
    return {
      path: (member.pax?.['path'] ?? member.name).replace(/(.)\/$/, '$1'),
      kind,
      mode: 0o644,
      mtime: '1',
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
      size: kind === 'file' ? Buffer.byteLength(member.body ?? '') : 0,
      sha256: kind === 'file' ? sha256Hex(member.body ?? '') : null,
      target: kind === 'link' || kind === 'hard' ? (member.pax?.['linkpath'] ?? member.link ?? '') : null,
      device: null,
      sparse: false,
      way: false,
      changed: false,
    };
  });
}

/** A stored backup of these bytes, whose fingerprint fits the index. */
export function backupOf(folder: string, tar: Buffer, index: readonly IndexEntry[]): OpenBackup {
  const text = index.map((entry) => `${encodeEntry(entry)}\n`).join('');
  writeFileSync(join(folder, 'tree.tar'), tar);
  writeFileSync(join(folder, 'index.jsonl'), text);
  return {
    manifest: {} as Manifest,
    fingerprint: async () => ({
      base: '/srv',
      entries: index.length,
      files: index.length,
      bytes: 0,
      archive: tar.length,
      devices: 0,
      index: sha256Hex(text),
      content: sha256Hex(text),
    }),
    async open(name) {
      const bytes = createReadStream(join(folder, name), { highWaterMark: 700 });
      const whole = finished(bytes, { writable: false });
      whole.catch(() => undefined);
      return { bytes, whole, stop: () => void bytes.destroy() };
    },
  };
}

function padded(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

function header(name: string, type: string, size: number, link = ''): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, '0')}\0`;
  block.write(name.slice(0, 100), 0);
  block.write(octal(type === '5' ? 0o755 : 0o644, 8), 100);
  block.write(octal(process.getuid?.() ?? 0, 8), 108);
  block.write(octal(process.getgid?.() ?? 0, 8), 116);
  block.write(octal(size, 12), 124);
  block.write(octal(1, 12), 136);
  block.write('        ', 148);
  block.write(type, 156);
  block.write(link.slice(0, 100), 157);
  block.write('ustar\x0000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}
