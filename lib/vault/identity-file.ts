import { randomBytes } from 'node:crypto';
import { access, constants, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { CommandFailed, IdentityWrong, KeysMissing, messageOf, NotThereYet } from '#core/errors';
import type { Encryption } from '#core/plan';
import type { Processes } from '#core/ports';
import {
  fingerprintOf,
  type Identity,
  publicKeysOf,
  type Sealing,
  sealCommand,
  unsealCommand,
} from '#vault/encryption';

export interface FoundIdentity extends Identity {
  /** For the log: who else may read the key. */
  readonly warnings: readonly string[];
}

/** What finding an identity needs of the world. */
export interface IdentityPlaces {
  /** Relative paths in the plan count from here. */
  readonly planFolder: string;
  /** The run's own. */
  readonly scratch: string;
  reveal(text: string): string;
}

/**
 * The plan's identity as a file that age can read; null where the plan names none. One from the environment is
 * written, for its owner alone, into the run's scratch directory: age takes no secret in argv, nor should it.
 * @throws KeysMissing the file is not there or not readable
 * @throws VariableMissing `{ env: NAME }` and NAME is not set
 * @throws NotThereYet `{ secret: … }`
 */
export async function findIdentity(encryption: Encryption, places: IdentityPlaces): Promise<FoundIdentity | null> {
  const named = encryption === 'none' ? undefined : encryption.identity;
  if (!named) return null;
  if ('file' in named) return identityFile(resolve(places.planFolder, named.file));
  if ('env' in named) {
    const file = join(places.scratch, `identity-${randomBytes(8).toString('hex')}`);
    await writeFile(file, `${places.reveal(`\${${named.env}}`).trim()}\n`, { mode: 0o600, flag: 'wx' });
    return { file, warnings: [] };
  }
  throw new NotThereYet('encryption.identity: { secret: … } does not work in this version', {
    hint: 'use { file: PATH } or { env: NAME }',
  });
}

/** @throws KeysMissing not there, not a file, not readable */
export async function identityFile(file: string): Promise<FoundIdentity> {
  let mode: number;
  try {
    await access(file, constants.R_OK);
    const found = await stat(file);
    if (!found.isFile()) throw new Error('it is not a regular file');
    mode = found.mode & 0o777;
  } catch (cause) {
    throw new KeysMissing(`the identity file ${file} cannot be used: ${why(cause)}`, {
      cause,
      hint: 'bring the key back from where it is kept, or name another one (encryption.identity, --identity FILE)',
    });
  }
  const readable = (mode & 0o077) !== 0;
  const octal = mode.toString(8).padStart(4, '0');
  return {
    file,
    warnings: readable ? [`${file} has mode ${octal}: others than its owner may read the key; chmod 600 ${file}`] : [],
  };
}

function why(cause: unknown): string {
  const code = (cause as NodeJS.ErrnoException).code;
  return code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'permission denied' : messageOf(cause);
}

/**
 * Seals 32 random bytes to the recipients and opens them again, so that `check` says today what a restore would find.
 * @throws IdentityWrong the identity opens none of the recipients
 */
export async function identityOpens(identity: Identity | null, sealing: Sealing, processes: Processes): Promise<void> {
  const sealer = sealCommand(sealing);
  const opener = unsealCommand(sealing.method, identity);
  if (!sealer || !opener) return;
  const sent = randomBytes(32);
  const pipeline = processes.pipe([sealer, opener], { stdin: 'pipe' });
  (pipeline.stdin as Writable).on('error', () => pipeline.stdin?.destroy()).end(sent);
  const chunks: Buffer[] = [];
  for await (const chunk of pipeline.stdout as Readable) chunks.push(chunk as Buffer);
  try {
    await pipeline.done;
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    throw await wrong(identity, sealing, processes, error);
  }
  if (!Buffer.concat(chunks).equals(sent))
    throw new IdentityWrong(`${sealing.method} opened what it had just sealed, to other bytes`, {
      hint: `try it by hand: echo hello | ${sealing.method} …`,
    });
}

async function wrong(
  identity: Identity | null,
  sealing: Sealing,
  processes: Processes,
  cause: CommandFailed,
): Promise<IdentityWrong> {
  const keys = identity ? await publicKeysOf(identity, processes) : [];
  const which = identity
    ? `${identity.file}${keys.length > 0 ? ` (${keys.map(fingerprintOf).join(', ')})` : ''}`
    : 'gpg';
  return new IdentityWrong(
    `${which} does not open what is sealed to the plan's recipients (${sealing.fingerprints.join(', ')}): ${cause.message}`,
    { cause, hint: 'add its public key to encryption.recipients, or name the identity that belongs to one of them' },
  );
}
