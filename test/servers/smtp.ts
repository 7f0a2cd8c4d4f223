import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import type { Certificates } from '#test/servers/certificates';

/** A mail as it arrived. */
export interface Mail {
  /** Of the envelope. */
  readonly from: string;
  readonly to: readonly string[];
  /** Lower-case names, unfolded and decoded. */
  readonly headers: ReadonlyMap<string, string>;
  readonly subject: string;
  /** Decoded body. */
  readonly text: string;
  readonly raw: string;
  /** Whether it came over TLS. */
  readonly secure: boolean;
  readonly user: string | null;
}

export interface SmtpOptions {
  /** TLS from the first byte, STARTTLS offered, or none. */
  readonly tls?: 'implicit' | 'starttls' | 'none';
  /** Needed unless `tls` is none. */
  readonly certificates?: Certificates;
  /** Asked for when given; taken also without TLS. */
  readonly login?: { readonly user: string; readonly password: string };
}

export interface SmtpReply {
  readonly code: number;
  readonly text: string;
}

/** What the server does instead of taking a mail. */
export interface SmtpFault {
  readonly at: 'connect' | 'rcpt' | 'data';
  /** Refuses so; else it says nothing more, or with `cut` hangs up. */
  readonly reply?: SmtpReply;
  readonly cut?: true;
}

/** A real SMTP server on a free port of 127.0.0.1, whose mailbox the test reads. */
export interface SmtpSink {
  readonly port: number;
  /** What it took, in order. */
  readonly mails: readonly Mail[];
  /** Connections so far. */
  readonly connections: number;
  /** Decides about each connection, by its number from 1; null = all goes well. */
  onConnection(decide: (number: number) => SmtpFault | null): void;
  stop(): Promise<void>;
}

export async function startSmtp({ tls = 'none', certificates, login }: SmtpOptions = {}): Promise<SmtpSink> {
  const mails: Mail[] = [];
  const faults = new Map<string, SmtpFault | null>();
  let connections = 0;
  let decide: (number: number) => SmtpFault | null = () => null;

  const options: SMTPServerOptions = {
    logger: false,
    secure: tls === 'implicit',
    disabledCommands: [...(tls === 'starttls' ? [] : ['STARTTLS']), ...(login ? [] : ['AUTH'])],
    authOptional: login === undefined,
    allowInsecureAuth: true,
    closeTimeout: 100,
    ...(certificates ? { cert: readFileSync(certificates.cert), key: readFileSync(certificates.key) } : {}),
    onConnect(session, callback) {
      connections++;
      const fault = decide(connections);
      faults.set(session.id, fault);
      act(fault?.at === 'connect' ? fault : null, session.id, callback);
    },
    onAuth({ username, password }, _session, callback) {
      if (username === login?.user && password === login?.password) callback(null, { user: username });
      // As some servers do: what was sent comes back in the answer.
      else callback(refusal({ code: 535, text: `5.7.8 bad login ${username} ${password}` }));
    },
    onRcptTo(_address, session, callback) {
      const fault = faults.get(session.id);
      act(fault?.at === 'rcpt' ? fault : null, session.id, callback);
    },
    onData(stream, session, callback) {
      text(stream).then((raw) => {
        const fault = faults.get(session.id);
        if (fault?.at === 'data') return act(fault, session.id, callback);
        const { mailFrom, rcptTo } = session.envelope;
        mails.push({
          ...parseMail(raw),
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          secure: session.secure,
          user: typeof session.user === 'string' ? session.user : null,
        });
        callback();
      }, callback);
    },
  };
  const server = new SMTPServer(options);
  // Clients of these tests hang up on purpose.
  server.on('error', () => undefined);

  function act(fault: SmtpFault | null, session: string, callback: (error?: Error | null) => void): void {
    if (!fault) callback();
    else if (fault.reply) callback(refusal(fault.reply));
    else if (fault.cut) for (const one of server.connections) if (one.session.id === session) one._socket.destroy();
  }

  const listening = server.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  return {
    port: (listening.address() as AddressInfo).port,
    mails,
    get connections() {
      return connections;
    },
    onConnection(decider) {
      decide = decider;
    },
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function refusal({ code, text: said }: SmtpReply): Error {
  return Object.assign(new Error(said), { responseCode: code });
}

/** Of what this project sends: one part of text. */
export function parseMail(raw: string): Pick<Mail, 'headers' | 'subject' | 'text' | 'raw'> {
  const [head = '', ...rest] = raw.replaceAll('\r\n', '\n').split('\n\n');
  const headers = new Map(
    head
      .replace(/\n[ \t]+/g, ' ')
      .split('\n')
      .map((line) => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon).toLowerCase(), decodedWords(line.slice(colon + 1).trim())];
      }),
  );
  const body = rest.join('\n\n');
  const encoding = headers.get('content-transfer-encoding')?.toLowerCase();
  const plain =
    encoding === 'quoted-printable'
      ? quotedPrintable(body.replace(/=\n/g, ''))
      : encoding === 'base64'
        ? Buffer.from(body, 'base64').toString()
        : body;
  return { headers, subject: headers.get('subject') ?? '', text: plain, raw };
}

/** `=?UTF-8?Q?caf=C3=A9?=` */
function decodedWords(value: string): string {
  return value
    .replace(/\?=\s+=\?/g, '?==?')
    .replace(/=\?utf-8\?([qb])\?([^?]*)\?=/gi, (_whole, how: string, word: string) =>
      how.toLowerCase() === 'b' ? Buffer.from(word, 'base64').toString() : quotedPrintable(word.replaceAll('_', ' ')),
    );
}

function quotedPrintable(text: string): string {
  const bytes = text.replace(/=([0-9A-F]{2})/gi, (_whole, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return /[^\x00-\xff]/.test(bytes) ? bytes : Buffer.from(bytes, 'latin1').toString('utf8');
}
