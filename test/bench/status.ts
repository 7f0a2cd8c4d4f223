import { writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { manifestKey, readManifest, signManifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { proofKey, proofName, signProof } from '#core/proof';
import { createProcesses } from '#host/processes';
import { BenchPlace } from '#test/bench/bench-place';
import { median, type Row, SCALE, timed } from '#test/bench/measure';
import { startCeph } from '#test/servers/ceph';
import { openVault } from '#vault/open';

const BACKUPS = Math.round(10_000 * SCALE);
const APART_MILLISECONDS = 3_600_000;

/** How quickly `holdfast status` answers over ten thousand backups. */
export async function statusRows(
  rounds: number,
  say: (line: string) => void,
): Promise<{ rows: Row[]; notes: string[] }> {
  const place = new BenchPlace();
  const ceph = await startCeph(place.path('ceph'));
  const counting = await countingProxy(new URL(ceph.endpoint));
  try {
    await place.prepare();
    writeFileSync(place.path('one.txt'), 'one');
    await place.plan('files: { paths: [one.txt] }', 'always');
    say(`${BACKUPS} backups on disk`);
    await timed(place.holdfast('backup', 'it'));
    const disk = openVault('here', { disk: place.path('vault') }, deps(place));
    await multiply(disk);
    const onDisk: number[] = [];
    for (let round = 0; round < rounds; round++) onDisk.push((await timed(place.holdfast('status'))).seconds);

    say(`${BACKUPS} backups in S3`);
    const s3 = new S3Client({
      endpoint: ceph.endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: ceph.accessKeyId, secretAccessKey: ceph.secretAccessKey },
    });
    await s3.send(new CreateBucketCommand({ Bucket: 'bench' }));
    const settings = {
      s3: 'bench',
      endpoint: counting.url,
      region: 'us-east-1',
      accessKeyId: ceph.accessKeyId,
      secretAccessKey: ceph.secretAccessKey,
    };
    await place.plan('files: { paths: [one.txt] }', 'always', JSON.stringify(settings));
    await timed(place.holdfast('backup', 'it'));
    await multiply(openVault('here', settings, deps(place)));
    const inS3: number[] = [];
    const requests: number[] = [];
    for (let round = 0; round < rounds; round++) {
      counting.count = 0;
      inS3.push((await timed(place.holdfast('status'))).seconds);
      requests.push(counting.count);
    }
    const most = Math.max(...requests);
    return {
      rows: [
        figureRow(
          '`holdfast status` over 10,000 backups: disk',
          '0.5 s',
          `${median(onDisk).toFixed(2)} s`,
          median(onDisk) <= 0.5,
        ),
        figureRow(
          '`holdfast status` over 10,000 backups: S3',
          '2 s and 60 requests',
          `${median(inS3).toFixed(2)} s, ${most} requests`,
          median(inS3) <= 2 && most <= 60,
        ),
      ],
      notes: [
        "status: 10,000 proven backups an hour apart, manifests and proofs written by the vault's own code; S3 is a Ceph gateway on the same machine.",
      ],
    };
  } finally {
    counting.close();
    await ceph.stop();
    place.remove();
  }
}

function figureRow(work: string, atMost: string, measured: string, met: boolean): Row {
  return { work, against: '–', atMost, ours: measured, theirs: '–', measured, met };
}

function deps(place: BenchPlace) {
  return {
    reveal: (text: string) => text,
    processes: createProcesses(process.env, new AbortController().signal, null),
    baseDirectory: place.directory,
  };
}

/** Older copies of the one real backup: manifests and proofs as the job writes them, ids an hour apart. */
async function multiply(vault: Vault): Promise<void> {
  let key = '';
  for await (const entry of vault.list('backups/')) if (entry.key.endsWith('manifest.json')) key = entry.key;
  const real = readManifest(Buffer.from(await vault.get(key)).toString('utf8'), key);
  const { sha256: _own, ...unsigned } = real;
  const write = async (n: number): Promise<void> => {
    const at = new Date(Date.parse(real.snapshotAt) - n * APART_MILLISECONDS);
    const id = `${at.toISOString().slice(0, 19).replace(/[-:]/g, '')}Z-${(n % 65_536).toString(16).padStart(4, '0')}`;
    const manifest = signManifest({ ...unsigned, id, snapshotAt: at.toISOString(), startedAt: at.toISOString() });
    await vault.putOnce(manifestKey(manifest), Buffer.from(JSON.stringify(manifest)));
    const proof = signProof({
      format: 1,
      source: manifest.source,
      id,
      tier: manifest.tier,
      proof: proofName(at, 'proven', id),
      outcome: 'proven',
      reason: null,
      differences: [],
      snapshotAt: manifest.snapshotAt,
      startedAt: at.toISOString(),
      finishedAt: at.toISOString(),
      seconds: 1,
      host: manifest.host,
      vault: vault.name,
      manifest: manifest.sha256,
    });
    await vault.putOnce(proofKey(proof), Buffer.from(JSON.stringify(proof)));
  };
  for (let n = 1; n < BACKUPS; n += 32)
    await Promise.all(Array.from({ length: Math.min(32, BACKUPS - n) }, (_, offset) => write(n + offset)));
}

/** Passes requests on and counts them. */
async function countingProxy(to: URL): Promise<{ url: string; count: number; close(): void }> {
  const server = createServer((incoming, outgoing) => {
    proxy.count++;
    const onward = request(
      { host: to.hostname, port: to.port, method: incoming.method, path: incoming.url, headers: incoming.headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      },
    );
    onward.on('error', () => outgoing.destroy());
    incoming.pipe(onward);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const proxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    count: 0,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
  return proxy;
}
