import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Paths of a CA of its own, and of a certificate by it for localhost and 127.0.0.1; made by `openssl` in `dir`. */
export interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export async function makeCertificates(dir: string): Promise<Certificates> {
  await mkdir(dir);
  const [ca, caKey, cert, key] = ['ca.crt', 'ca.key', 'server.crt', 'server.key'].map((name) => join(dir, name)) as [
    string,
    string,
    string,
    string,
  ];
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  await openssl(['req', '-x509', ...ec, '-subj', '/CN=Holdfast test CA', '-keyout', caKey, '-out', ca]);
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  await openssl(['req', '-x509', ...ec, ...names, '-CA', ca, '-CAkey', caKey, '-keyout', key, '-out', cert]);
  return { ca, cert, key };
}

async function openssl(args: readonly string[]): Promise<void> {
  const child = spawn('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const chunks: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`openssl ${args[0]}: ${Buffer.concat(chunks).toString('utf8')}`);
}
