import { createConnection, createServer, type Socket } from 'node:net';

/**
 * What PgBouncer does in transaction mode, as far as psql's simple queries need it: all clients share one connection to
 * the server, and whoever's transaction is open has it alone. Asks nobody for a password.
 */
export interface TransactionPooler {
  readonly port: number;
  stop(): Promise<void>;
}

const SSL_REQUEST = 80877103;
const GSS_REQUEST = 80877104;

/** @param socket the server's unix socket, where `postgres` is trusted */
export async function startTransactionPooler(socket: string, database: string): Promise<TransactionPooler> {
  const server = createConnection(socket);
  const clients = new Set<Socket>();
  let greeting: Buffer = Buffer.alloc(0);
  let owner: Socket | null = null;
  let waiting: { readonly client: Socket; readonly message: Buffer }[] = [];

  const next = (): void => {
    const first = waiting.find(({ client }) => owner === null || client === owner);
    if (!first) return;
    waiting = waiting.filter((one) => one !== first);
    owner = first.client;
    server.write(first.message);
  };

  let answer: Buffer = Buffer.alloc(0);
  const ready = new Promise<void>((resolve) => {
    server.on('data', (chunk) => {
      answer = Buffer.concat([answer, chunk]);
      for (let message = take(answer); message; message = take(answer)) {
        answer = answer.subarray(message.length);
        const isReady = message[0] === 0x5a;
        if (owner) owner.write(message);
        else {
          greeting = Buffer.concat([greeting, message]);
          if (isReady) resolve();
        }
        // "Z", length, status: I for idle. In a transaction the client keeps the connection.
        if (isReady && message[5] === 0x49) {
          owner = null;
          next();
        } else if (isReady) next();
      }
    });
  });
  server.write(startup(database));
  await ready;

  const listener = createServer((client) => {
    clients.add(client);
    let input: Buffer = Buffer.alloc(0);
    let started = false;
    client.on('error', () => client.destroy());
    client.on('close', () => clients.delete(client));
    client.on('data', (chunk) => {
      input = Buffer.concat([input, chunk]);
      if (!started) {
        while (input.length >= 8 && [SSL_REQUEST, GSS_REQUEST].includes(input.readInt32BE(4))) {
          input = input.subarray(8);
          client.write('N');
        }
        if (input.length < 4 || input.length < input.readInt32BE(0)) return;
        input = input.subarray(input.readInt32BE(0));
        started = true;
        client.write(greeting);
      }
      for (let message = take(input); message; message = take(input)) {
        input = input.subarray(message.length);
        // "X": this client is gone, the connection stays.
        if (message[0] === 0x58) client.end();
        else waiting.push({ client, message });
      }
      next();
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as { port: number };
  return {
    port,
    stop: async () => {
      for (const client of clients) client.destroy();
      server.destroy();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}

/** The first whole message: a letter, a length that counts itself, the rest. */
function take(bytes: Buffer): Buffer | null {
  if (bytes.length < 5) return null;
  const length = 1 + bytes.readInt32BE(1);
  return bytes.length < length ? null : bytes.subarray(0, length);
}

function startup(database: string): Buffer {
  const words = Buffer.from(`user\0postgres\0database\0${database}\0\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + words.length, 0);
  head.writeInt32BE(196608, 4);
  return Buffer.concat([head, words]);
}
