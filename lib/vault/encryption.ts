import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CommandFailed, KeysMissing, messageOf, PlanInvalid, RecordInvalid, UsageError } from '#core/errors';
import { type Manifest, sha256Hex } from '#core/manifest';
import type { Encryption } from '#core/plan';
import type { Command, Processes } from '#core/ports';

export type Method = Manifest['encryption']['method'];

/** What a writer needs to seal, and nothing that could open it again (I9). */
export interface Sealing {
  readonly method: Method;
  /** age: public keys as the plan has them, without comments. gpg: full key fingerprints. Empty with `none`. */
  readonly recipients: readonly string[];
  /** For the manifest: `sha256:` and 16 hex digits of an age or ssh public key; `gpg:` and the key's own fingerprint. */
  readonly fingerprints: readonly string[];
}

/** A file that `age -i` reads. gpg keeps its secret keys itself and needs none. */
export interface Identity {
  readonly file: string;
}

const AGE_KEY = /^age1[a-z0-9]+$/;
const SSH_KEY = /^(?:ssh-ed25519|ssh-rsa) [A-Za-z0-9+/]+={0,2}$/;
const GPG_ID = /^gpg:([^\s-].*)$/;
const ALLOWED = 'want age1…, ssh-ed25519 …, ssh-rsa … or gpg:ID';
const KEYGEN_HINT =
  'make a key with: holdfast keygen --out holdfast.key, and name its public key in encryption.recipients';

/** Sorts the plan's recipients without asking any tool. */
export function readRecipients(encryption: Encryption): { readonly method: Method; readonly names: readonly string[] } {
  if (encryption === 'none') return { method: 'none', names: [] };
  if (encryption.recipients.length === 0)
    throw new KeysMissing('the plan names no recipients, so nothing could be sealed', {
      hint: `${KEYGEN_HINT}; plaintext backups need the words "encryption: none"`,
    });
  const read = encryption.recipients.map(readRecipient);
  const methods = new Set(read.map((recipient) => recipient.method));
  if (methods.size > 1)
    throw new PlanInvalid('encryption.recipients mixes age and gpg keys; an artifact is sealed by one of them', {
      hint: 'name only age and ssh keys, or only gpg keys',
    });
  return { method: (read[0] as { method: Method }).method, names: [...new Set(read.map((one) => one.name))] };
}

function readRecipient(text: string): { readonly method: Method; readonly name: string } {
  const trimmed = text.trim();
  const gpg = GPG_ID.exec(trimmed);
  if (gpg) return { method: 'gpg', name: gpg[1] as string };
  // An ssh key's third word is a comment, often the name of a person.
  const key = trimmed.startsWith('ssh-') ? trimmed.split(/\s+/).slice(0, 2).join(' ') : trimmed;
  if (AGE_KEY.test(key) || SSH_KEY.test(key)) return { method: 'age', name: key };
  if (/^AGE-SECRET-KEY-/i.test(trimmed))
    throw new PlanInvalid('encryption.recipients holds a secret key; it wants the public one, age1…', {
      hint: 'print the public key with: age-keygen -y FILE, and make a new key: this one has been in a plan',
    });
  throw new PlanInvalid(`encryption.recipients: got "${trimmed}", ${ALLOWED}`, { hint: KEYGEN_HINT });
}

/**
 * Recipients of a run, each tried today by sealing nothing to it.
 * @throws KeysMissing no recipients (I9)
 * @throws PlanInvalid a recipient that age or gpg does not take
 * @throws ToolMissing age, gpg or zstd is not installed
 */
export async function sealingOf(encryption: Encryption, processes: Processes): Promise<Sealing> {
  const { method, names } = readRecipients(encryption);
  if (method === 'none') return { method, recipients: [], fingerprints: [] };
  const recipients = method === 'gpg' ? await gpgFingerprints(names, processes) : names;
  const sealing: Sealing = {
    method,
    recipients,
    fingerprints: recipients.map((name) => (method === 'gpg' ? `gpg:${name}` : fingerprintOf(name))),
  };
  await checkRecipients(sealing, processes);
  return sealing;
}

/** Seals nothing to all of them, and when that fails to each of them, so that the one to blame is named. */
export async function checkRecipients(sealing: Sealing, processes: Processes): Promise<void> {
  const all = sealCommand(sealing);
  if (!all) return;
  try {
    await sealNothing(all, processes);
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    for (const name of sealing.recipients) {
      try {
        await sealNothing(sealCommand({ ...sealing, recipients: [name] }) as Command, processes);
      } catch (single) {
        if (!(single instanceof CommandFailed)) throw single;
        throw refused(name, sealing.method, single);
      }
    }
    throw refused(sealing.recipients.join(', '), sealing.method, error);
  }
}

async function sealNothing(command: Command, processes: Processes): Promise<void> {
  const pipeline = processes.pipe([command], { stdin: 'ignore' });
  pipeline.stdout?.resume();
  await pipeline.done;
}

function refused(name: string, method: Method, cause: CommandFailed): PlanInvalid {
  const said = cause.stderr.split('\n').find((line) => line.startsWith(`${method}: `)) ?? cause.message;
  return new PlanInvalid(`${method} does not seal to "${name}": ${said}`, {
    cause,
    hint:
      method === 'gpg' ? 'look at the key: gpg --list-keys' : `${ALLOWED}; print a public key with: age-keygen -y FILE`,
  });
}

/** A user id such as an address may match two keys, tomorrow another one: sealed is to the fingerprint it has today. */
async function gpgFingerprints(ids: readonly string[], processes: Processes): Promise<readonly string[]> {
  const found: string[] = [];
  for (const id of ids) {
    let listing: string;
    try {
      const args = ['--batch', '--no-tty', '--with-colons', '--list-keys', '--', id];
      listing = (await processes.run({ program: 'gpg', args })).stdout;
    } catch (cause) {
      if (!(cause instanceof CommandFailed)) throw cause;
      throw new PlanInvalid(`gpg knows no public key "${id}" (encryption.recipients: gpg:${id})`, {
        cause,
        hint: 'import it with: gpg --import FILE, as the user that runs the backups',
      });
    }
    const keys = primaryFingerprints(listing);
    if (keys.length !== 1)
      throw new PlanInvalid(`gpg:${id} matches ${keys.length} public keys: ${keys.join(', ')}`, {
        hint: 'name one by its fingerprint: gpg:FINGERPRINT',
      });
    found.push(keys[0] as string);
  }
  return [...new Set(found)];
}

/** The `fpr` line that follows each `pub` line; those after `sub` lines are of subkeys. */
function primaryFingerprints(listing: string): string[] {
  const fields = listing.split('\n').map((line) => line.split(':'));
  return fields.flatMap((line, index) => {
    const next = fields[index + 1];
    return line[0] === 'pub' && next?.[0] === 'fpr' && next[9] ? [next[9]] : [];
  });
}

/** Of an age or ssh public key: short enough to read aloud; not a secret, but the key itself is nobody's business. */
export function fingerprintOf(publicKey: string): string {
  return `sha256:${sha256Hex(publicKey).slice(0, 16)}`;
}

/** What an age identity file opens; empty when age-keygen cannot tell, as for an ssh key. */
export async function publicKeysOf(identity: Identity, processes: Processes): Promise<readonly string[]> {
  try {
    const { stdout } = await processes.run({ program: 'age-keygen', args: ['-y', identity.file] });
    return stdout.split('\n').filter((line) => AGE_KEY.test(line));
  } catch (error) {
    if (error instanceof CommandFailed) return [];
    throw error;
  }
}

/** Encrypts stdin to stdout. Null with `none`. Public keys in argv are no secret. */
export function sealCommand(sealing: Pick<Sealing, 'method' | 'recipients'>): Command | null {
  const { method, recipients } = sealing;
  if (method === 'none') return null;
  if (recipients.length === 0)
    throw new KeysMissing('there are no recipients to seal to', {
      hint: `${KEYGEN_HINT}; plaintext backups need the words "encryption: none"`,
    });
  if (method === 'age') return { program: 'age', args: ['-e', ...recipients.flatMap((name) => ['-r', name])] };
  return {
    program: 'gpg',
    // gpg's own zlib makes it twenty times slower, on bytes that are compressed already.
    args: [
      ...['--batch', '--no-tty', '--quiet', '--trust-model', 'always', '--compress-algo', 'none', '--no-armor'],
      ...recipients.flatMap((name) => ['--recipient', name]),
      '--encrypt',
    ],
  };
}

/**
 * Decrypts stdin to stdout. Null with `none`.
 * @throws KeysMissing age without an identity
 */
export function unsealCommand(method: Method, identity: Identity | null): Command | null {
  if (method === 'none') return null;
  if (method === 'gpg') return { program: 'gpg', args: ['--batch', '--no-tty', '--quiet', '--decrypt'] };
  if (!identity)
    throw new KeysMissing('the backup is sealed with age, and no identity is named to open it', {
      hint: 'name one in the plan (encryption.identity: { file: … }) or with --identity FILE',
    });
  return { program: 'age', args: ['-d', '-i', identity.file] };
}

/**
 * Makes a new age identity, readable by its owner alone, and flushes it to disk: a key that is lost with the power is
 * worse than none. Never overwrites.
 * @returns the public key, for `encryption.recipients`
 * @throws UsageError the file is there already, or its directory is not
 */
export async function keygen(processes: Processes, file: string): Promise<string> {
  const { stdout } = await processes.run({ program: 'age-keygen', args: [] });
  const publicKey = /^# public key: (age1[a-z0-9]+)$/m.exec(stdout)?.[1];
  if (!publicKey || !/^AGE-SECRET-KEY-1/m.test(stdout))
    throw new RecordInvalid('age-keygen printed no key pair', { hint: 'try it by hand: age-keygen' });
  try {
    const handle = await open(file, 'wx', 0o600);
    try {
      await handle.writeFile(stdout);
      await handle.sync();
    } finally {
      await handle.close();
    }
    const folder = await open(dirname(file), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST')
      throw new UsageError(`${file} is there already, and a key is never overwritten`, {
        cause,
        hint: 'name another file; whatever was sealed to the old key can only be opened with it',
      });
    throw new UsageError(`could not write the key to ${file}: ${messageOf(cause)}`, {
      cause,
      hint: 'name a file in a directory that exists and that you may write to',
    });
  }
  return publicKey;
}
