import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { basename, dirname } from 'node:path';

/** Bulk strings stay bytes: keys need not be text. */
export type Reply = Buffer | string | number | null | ReplyError | readonly Reply[];

/** An error the server answered with, as a value: it may stand inside an array. */
export class ReplyError extends Error {}

/** RESP2. `push` takes bytes cut anywhere and returns the replies that became whole. */
export function createReplyReader(): { push(chunk: Buffer): readonly Reply[] } {
  let pending: Buffer = Buffer.alloc(0);
  return {
    push(chunk) {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      const replies: Reply[] = [];
      let at = 0;
      for (;;) {
        const read = readReply(pending, at);
        if (!read) break;
        replies.push(read.reply);
        at = read.next;
      }
      pending = pending.subarray(at);
      return replies;
    },
  };
}

function readReply(bytes: Buffer, at: number): { reply: Reply; next: number } | null {
  const end = bytes.indexOf('\r\n', at);
  if (end < 0) return null;
  const line = bytes.toString('utf8', at + 1, end);
  const next = end + 2;
  switch (String.fromCharCode(bytes[at] as number)) {
    case '+':
      return { reply: line, next };
    case '-':
      return { reply: new ReplyError(line), next };
    case ':':
      return { reply: Number(line), next };
    case '$': {
      const length = Number(line);
      if (length < 0) return { reply: null, next };
      if (bytes.length < next + length + 2) return null;
      return { reply: Buffer.from(bytes.subarray(next, next + length)), next: next + length + 2 };
    }
    case '*': {
      const count = Number(line);
      if (count < 0) return { reply: null, next };
      const items: Reply[] = [];
      let from = next;
      for (let index = 0; index < count; index++) {
        const item = readReply(bytes, from);
        if (!item) return null;
        items.push(item.reply);
        from = item.next;
      }
      return { reply: items, next: from };
    }
    default:
      throw new Error(`the server answered with ${JSON.stringify(line.slice(0, 80))}, which is not RESP`);
  }
}

export interface RespConnection {
  /** Throws `ReplyError` when the server answers with an error. */
  call(...command: readonly (string | Buffer)[]): Promise<Exclude<Reply, ReplyError>>;
  close(): void;
}

/** To a scratch server of ours over its unix socket; sources and targets are asked by redis-cli alone. */
export async function connectResp(socketPath: string): Promise<RespConnection> {
  const { path, release } = await shortPath(socketPath);
  const socket = connect(path);
  try {
    await once(socket, 'connect');
  } finally {
    await release();
  }
  const waiting: { resolve(reply: Reply): void; reject(error: Error): void }[] = [];
  const reader = createReplyReader();
  const fail = (error: Error): void => {
    for (const { reject } of waiting.splice(0)) reject(error);
    socket.destroy();
  };
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const reply of reader.push(chunk)) waiting.shift()?.resolve(reply);
    } catch (error) {
      fail(error as Error);
    }
  });
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the scratch server closed the connection')));
  return {
    async call(...command) {
      const reply = await new Promise<Reply>((resolve, reject) => {
        if (socket.destroyed) {
          reject(new Error('the scratch server closed the connection'));
          return;
        }
        waiting.push({ resolve, reject });
        send(socket, command);
      });
      if (reply instanceof ReplyError) throw reply;
      return reply;
    },
    close: () => {
      socket.destroy();
    },
  };
}

function send(socket: Socket, command: readonly (string | Buffer)[]): void {
  const parts: Buffer[] = [Buffer.from(`*${command.length}\r\n`)];
  for (const word of command) {
    const bytes = typeof word === 'string' ? Buffer.from(word) : word;
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  socket.write(Buffer.concat(parts));
}

/** A socket's path may have about 100 bytes; Linux lets a longer one be reached through its open directory. */
async function shortPath(path: string): Promise<{ path: string; release(): Promise<void> }> {
  if (Buffer.byteLength(path) < 100) return { path, release: async () => {} };
  const directory: FileHandle = await open(dirname(path), 'r');
  return { path: `/proc/self/fd/${directory.fd}/${basename(path)}`, release: () => directory.close() };
}
