import { open } from 'node:fs/promises';
import { Disproven, NotProvableHere } from '#core/errors';
import type { OpenBackup, RunContext } from '#core/ports';
import { type Fingerprint, readFingerprint } from '#engines/redis/fingerprint';
import { ARTIFACT } from '#engines/redis/layout';
import { checkRdb, type RdbCheck, sha256OfFile } from '#engines/redis/rdb-file';
import type { Tool } from '#engines/redis/tools';

/**
 * Unseals the RDB into `file`, and holds it against the fingerprint byte by byte.
 * @throws Disproven
 */
export async function unsealRdb(backup: OpenBackup, file: string, run: RunContext): Promise<Fingerprint> {
  const fingerprint = readFingerprint(await backup.fingerprint());
  const plain = await backup.open(ARTIFACT);
  run.progress.stage('unseal', fingerprint.rdb.bytes);
  const out = await open(file, 'wx', 0o600);
  try {
    const writing = run.processes.pipe([{ program: 'cat', args: [] }], { stdin: plain.bytes, stdout: out.fd });
    try {
      await Promise.all([writing.done, plain.whole]);
    } catch (error) {
      writing.stop();
      plain.stop();
      // The vault's word on damaged bytes explains more than the pipe that broke for it.
      await plain.whole;
      throw error;
    }
    await out.sync();
  } finally {
    await out.close();
  }
  const sha256 = await sha256OfFile(file, run);
  if (sha256 !== fingerprint.rdb.sha256)
    throw new Disproven(
      `the RDB file is not the one that was captured: sha256 ${sha256}, captured ${fingerprint.rdb.sha256}`,
    );
  return fingerprint;
}

/**
 * Reads the file by redis-check-rdb, which must find what it found at capture.
 * @throws Disproven, NotProvableHere
 */
export async function recheckRdb(
  tool: Tool,
  file: string,
  fingerprint: Fingerprint,
  run: RunContext,
): Promise<RdbCheck> {
  const check = await checkRdb(tool, file, run);
  if (check.result === 'damaged') throw new Disproven(`redis-check-rdb refuses the backup: ${check.reason}`);
  if (check.result === 'unreadable-here')
    throw new NotProvableHere(
      `${tool.flavour}-check-rdb ${tool.version} cannot read RDB version ${fingerprint.rdb.version} of ${fingerprint.server.flavour} ${fingerprint.server.version}: ${check.reason}`,
      {
        hint: `apt-get install a ${fingerprint.server.flavour}-server of version ${fingerprint.server.version}, or name its directory: prove: { with: { bin: DIR } }`,
      },
    );
  if (fingerprint.keys && check.keys !== fingerprint.keys.read)
    throw new Disproven(`redis-check-rdb reads ${check.keys} keys, ${fingerprint.keys.read} were captured`);
  return check;
}
