import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CommandFailed } from '#core/errors';
import type { RunContext } from '#core/ports';
import { stopIfCancelled } from '#engines/redis/cancelled';
import type { DatabaseCount } from '#engines/redis/info';
import { HEADER_BYTES, type RdbHeader, readRdbHeader, readResize } from '#engines/redis/rdb-header';
import type { Tool } from '#engines/redis/tools';

/** `0xFF`, then eight bytes of CRC64. */
const END_BYTES = 9;
const END_OPCODE = 0xff;

/** An RDB file's size, head and end, looked at without reading it. `problem` says why it cannot be whole. */
export async function lookAtRdb(
  file: string,
): Promise<{ readonly bytes: number; readonly header: RdbHeader | null; readonly problem: string | null }> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    const header = readRdbHeader(await readAt(handle, 0, HEADER_BYTES));
    if (!header) return { bytes: size, header, problem: `${size} bytes that do not begin with REDIS or VALKEY` };
    const end = await readAt(handle, Math.max(size - END_BYTES, 0), END_BYTES);
    // The magic alone is as long as the end marker: a file of both is the least there can be.
    const ended = size >= 2 * END_BYTES && end[0] === END_OPCODE;
    return { bytes: size, header, problem: ended ? null : `${size} bytes without the end marker of an RDB file` };
  } finally {
    await handle.close();
  }
}

/** Hex. */
export async function sha256OfFile(file: string, run: RunContext): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
    stopIfCancelled(run);
    hash.update(chunk as Buffer);
  }
  return hash.digest('hex');
}

/** What redis-check-rdb found by reading the whole file. */
export interface RdbCheck {
  readonly result: 'good' | 'damaged' | 'unreadable-here';
  /** Its own words when it is not good. */
  readonly reason: string | null;
  readonly keys: number;
  readonly expires: number;
  /** Keys whose time was over when it was checked; a server that loads the file as a master drops them. */
  readonly expired: number;
  /** By the writer's own counts; null when the file does not have them for all. */
  readonly databases: readonly DatabaseCount[] | null;
}

/**
 * Reads the whole file by redis-check-rdb. Its exit code is 0 with junk behind the end, so the place where it saw the
 * checksum must be the end of the file too.
 */
export async function checkRdb(tool: Tool, file: string, run: RunContext): Promise<RdbCheck> {
  const said = await run.processes.run({ program: tool.path, args: [file], okCodes: [0, 1] });
  const text = said.stdout;
  const nothing = { keys: 0, expires: 0, expired: 0, databases: null };
  if (said.code !== 0) {
    const at = text.indexOf('--- RDB ERROR DETECTED ---');
    const lines = (at >= 0 ? text.slice(at) : text).split('\n').map((line) => line.trim());
    const reason = lines.find((line) => /^\[offset \d+\] /.test(line)) ?? said.stderr.trim().split('\n').at(-1) ?? '';
    if (reason === '')
      throw new CommandFailed(`${tool.path} failed with exit code ${said.code} and no reason`, {
        program: tool.path,
        exitCode: said.code,
        stderr: said.stderr,
      });
    const newer = /Can't handle RDB format version|Invalid RDB version|Wrong signature/.test(reason);
    return { ...nothing, result: newer ? 'unreadable-here' : 'damaged', reason };
  }
  const end = /\[offset (\d+)\] (?:Checksum OK|.*checksum disabled.*)/i.exec(text)?.[1];
  const keys = /\[info\] (\d+) keys read/.exec(text)?.[1];
  if (end === undefined || keys === undefined)
    return { ...nothing, result: 'damaged', reason: 'redis-check-rdb saw no checksum, or counted no keys' };
  const { bytes } = await lookAtRdb(file);
  if (Number(end) !== bytes)
    return { ...nothing, result: 'damaged', reason: `${bytes - Number(end)} bytes of junk behind the end marker` };
  return {
    result: 'good',
    reason: null,
    keys: Number(keys),
    expires: Number(/\[info\] (\d+) expires/.exec(text)?.[1] ?? 0),
    expired: Number(/\[info\] (\d+) already expired/.exec(text)?.[1] ?? 0),
    databases: await countDatabases(text, file, Number(keys)),
  };
}

/** redis-check-rdb says where each database begins; the file itself says there how many keys follow. */
async function countDatabases(text: string, file: string, keys: number): Promise<readonly DatabaseCount[] | null> {
  const handle = await open(file, 'r');
  try {
    const databases: DatabaseCount[] = [];
    for (const [, offset, index] of text.matchAll(/\[offset (\d+)\] Selecting DB ID (\d+)/g)) {
      const counts = readResize(await readAt(handle, Number(offset), 32));
      if (!counts) return null;
      databases.push({ index: Number(index), ...counts });
    }
    return databases.reduce((sum, one) => sum + one.keys, 0) === keys ? databases : null;
  } finally {
    await handle.close();
  }
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}
