import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  IdentityWrong,
  KeysMissing,
  NotThereYet,
  PlanInvalid,
  ToolMissing,
  UsageError,
  VariableMissing,
} from '#core/errors';
import { createProcesses } from '#host/processes';
import { MemoryVault } from '#test/vault/memory-vault';
import { type Bench, fromMemory, openBench, readWhole, sampleBytes, sealInto, unsealFrom } from '#test/vault/sealed';
import { checkRecipients, fingerprintOf, keygen, readRecipients, sealCommand, sealingOf } from '#vault/encryption';
import { findIdentity, identityFile, identityOpens } from '#vault/identity-file';

function isError(
  type: typeof PlanInvalid | typeof KeysMissing | typeof UsageError,
  words: RegExp,
): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof type, String(error));
    assert.match(error.message, words);
    assert.ok(error.hint);
    return true;
  };
}

describe('recipients', () => {
  let bench: Bench;
  before(async () => {
    bench = await openBench();
  });
  after(() => bench.close());

  test('I9: no recipients is an error; plaintext needs the word', () => {
    assert.throws(() => readRecipients({ recipients: [] }), isError(KeysMissing, /no recipients/));
    assert.throws(() => sealCommand({ method: 'age', recipients: [] }), KeysMissing);
    assert.throws(() => sealCommand({ method: 'gpg', recipients: [] }), KeysMissing);
    assert.deepEqual(readRecipients('none'), { method: 'none', names: [] });
    assert.equal(sealCommand({ method: 'none', recipients: [] }), null);
  });

  test('are told apart, twice the same is one, an ssh key loses its comment', () => {
    const key = bench.publicKey;
    assert.deepEqual(readRecipients({ recipients: [key, `${key} `, 'ssh-ed25519 AAAAC3Nz ann@laptop'] }), {
      method: 'age',
      names: [key, 'ssh-ed25519 AAAAC3Nz'],
    });
    assert.deepEqual(readRecipients({ recipients: ['gpg:backup@archon72'] }), {
      method: 'gpg',
      names: ['backup@archon72'],
    });
  });

  test('age and gpg do not mix', () => {
    assert.throws(
      () => readRecipients({ recipients: [bench.publicKey, 'gpg:backup@archon72'] }),
      isError(PlanInvalid, /mixes age and gpg/),
    );
  });

  for (const wrong of [
    '',
    'age2abc',
    'AGE1ABC',
    'gpg:',
    'gpg:--output',
    '-r',
    'ssh-dss AAAA',
    'ssh-ed25519',
    'ann@example.com',
  ])
    test(`"${wrong}" is refused with what is allowed`, () => {
      assert.throws(() => readRecipients({ recipients: [wrong] }), isError(PlanInvalid, /want age1…/));
    });

  test('I7: a secret key among the recipients is refused and not repeated', async () => {
    const secret = (await readFile(bench.identity.file, 'utf8')).match(/^AGE-SECRET-KEY.*$/m)?.[0] as string;
    assert.throws(
      () => readRecipients({ recipients: [secret] }),
      (error: Error) => {
        assert.ok(error instanceof PlanInvalid);
        assert.ok(!`${error.message} ${error.hint}`.includes(secret));
        return true;
      },
    );
  });

  test('a mistyped key is named, not the right one beside it', async () => {
    const mistyped = bench.publicKey.replace(/.$/, (last) => (last === 'q' ? 'p' : 'q'));
    await assert.rejects(sealingOf({ recipients: [bench.publicKey, mistyped] }, bench.processes), (error: Error) => {
      assert.ok(error instanceof PlanInvalid);
      assert.match(error.message, new RegExp(`does not seal to "${mistyped}": age: error: malformed recipient`));
      return true;
    });
  });

  test('a missing age is said to be missing', async () => {
    const { sealing, processes } = bench;
    const bare = { ...processes, pipe: () => processes.pipe([{ program: '/nonexistent/age', args: [] }]) };
    await assert.rejects(checkRecipients(sealing, bare), ToolMissing);
  });

  test('the manifest gets fingerprints, not keys', () => {
    assert.deepEqual(bench.sealing.fingerprints, [fingerprintOf(bench.publicKey)]);
    assert.match(fingerprintOf(bench.publicKey), /^sha256:[0-9a-f]{16}$/);
  });

  test('either of two recipients opens it', async () => {
    const second = join(bench.folder, 'second.key');
    const sealing = await sealingOf(
      { recipients: [bench.publicKey, await keygen(bench.processes, second)] },
      bench.processes,
    );
    const vault = new MemoryVault();
    const plain = sampleBytes(20_000);
    const artifact = await sealInto(vault, fromMemory(plain), sealing, bench);
    for (const file of [bench.identity.file, second]) {
      const opened = await unsealFrom(vault, artifact, bench, { sealing, identity: { file } });
      assert.ok((await readWhole(opened)).equals(plain));
    }
  });

  test('an ssh key does as well', async () => {
    const pair = generateKeyPairSync('ed25519');
    const file = join(bench.folder, 'id_ed25519');
    await writeFile(file, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    // An ssh public key is its type and its bytes, each with its length before it.
    const words = [
      Buffer.from('ssh-ed25519'),
      Buffer.from(pair.publicKey.export({ format: 'jwk' }).x as string, 'base64url'),
    ];
    const blob = Buffer.concat(words.flatMap((word) => [Buffer.of(0, 0, 0, word.length), word]));
    const recipients = [`ssh-ed25519 ${blob.toString('base64')} ann@laptop`];
    await identityOpens({ file }, await sealingOf({ recipients }, bench.processes), bench.processes);
  });
});

describe('identity', () => {
  let bench: Bench;
  before(async () => {
    bench = await openBench();
  });
  after(() => bench.close());

  test('keygen makes a key for its owner alone, and never overwrites one', async () => {
    const file = join(bench.folder, 'new.key');
    const publicKey = await keygen(bench.processes, file);
    assert.match(publicKey, /^age1[a-z0-9]{58}$/);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    const before = await readFile(file, 'utf8');
    await assert.rejects(keygen(bench.processes, file), isError(UsageError, /new\.key is there already/));
    assert.equal(await readFile(file, 'utf8'), before);
    await assert.rejects(keygen(bench.processes, join(bench.folder, 'no/such/dir.key')), isError(UsageError, /ENOENT/));
    await identityOpens({ file }, await sealingOf({ recipients: [publicKey] }, bench.processes), bench.processes);
  });

  test('one that opens nothing of what is sealed is said today, with both fingerprints', async () => {
    const file = join(bench.folder, 'stranger.key');
    const stranger = fingerprintOf(await keygen(bench.processes, file));
    await assert.rejects(identityOpens({ file }, bench.sealing, bench.processes), (error: Error) => {
      assert.ok(error instanceof IdentityWrong);
      assert.ok(error.message.includes(stranger) && error.message.includes(bench.sealing.fingerprints[0] as string));
      return true;
    });
    await identityOpens(bench.identity, bench.sealing, bench.processes);
  });

  test('is found beside the plan, and a file that others may read is warned of', async () => {
    const recipients = [bench.publicKey];
    const places = { planFolder: bench.folder, scratch: bench.folder, reveal: (text: string) => text };
    const found = await findIdentity({ recipients, identity: { file: './holdfast.key' } }, places);
    assert.deepEqual(found, { file: bench.identity.file, warnings: [] });
    const loose = join(bench.folder, 'loose.key');
    await writeFile(loose, await readFile(bench.identity.file));
    await chmod(loose, 0o644);
    assert.match((await identityFile(loose)).warnings.join(), /loose\.key has mode 0644.*chmod 600/);
    assert.equal(await findIdentity({ recipients }, places), null);
    assert.equal(await findIdentity('none', places), null);
    await assert.rejects(
      findIdentity({ recipients, identity: { file: 'absent.key' } }, places),
      isError(KeysMissing, /absent\.key cannot be used/),
    );
    await assert.rejects(identityFile(bench.folder), isError(KeysMissing, /not a regular file/));
    await assert.rejects(findIdentity({ recipients, identity: { secret: 'arn:aws:x' } }, places), NotThereYet);
  });

  test('I7: one from the environment is written for its owner alone, and not into argv', async () => {
    const scratch = await mkdtemp(join(bench.folder, 'scratch-'));
    const secret = await readFile(bench.identity.file, 'utf8');
    const setting = { recipients: [bench.publicKey], identity: { env: 'HOLDFAST_KEY' } };
    const reveal = (text: string): string => {
      assert.equal(text, '${HOLDFAST_KEY}');
      return secret;
    };
    const found = await findIdentity(setting, { planFolder: '/', scratch, reveal });
    assert.ok(found);
    assert.ok(found.file.startsWith(scratch));
    assert.equal((await stat(found.file)).mode & 0o777, 0o600);
    await identityOpens(found, bench.sealing, bench.processes);
    const missing = (): string => {
      throw new VariableMissing('HOLDFAST_KEY is not set');
    };
    await assert.rejects(findIdentity(setting, { planFolder: '/', scratch, reveal: missing }), VariableMissing);
    assert.equal((await readdir(scratch)).length, 1);
  });
});

describe('gpg', () => {
  let bench: Bench;
  let home: string;
  let empty: string;
  before(async () => {
    // Short: gpg-agent's socket lies in it.
    home = await mkdtemp(join(tmpdir(), 'hf-gpg-'));
    empty = await mkdtemp(join(tmpdir(), 'hf-gpg-'));
    await chmod(home, 0o700);
    await chmod(empty, 0o700);
    bench = await openBench({ GNUPGHOME: home });
    const generate = ['--batch', '--quiet', '--passphrase', '', '--quick-gen-key'];
    for (const name of ['Backup <backup@archon72>', 'Second <second@archon72>', 'Other <other@archon72>'])
      await bench.processes.run({ program: 'gpg', args: [...generate, name, 'default', 'default', 'never'] });
  });
  after(async () => {
    await bench.processes.run({ program: 'gpgconf', args: ['--kill', 'all'] });
    await bench.processes.run({ program: 'gpgconf', args: ['--kill', 'all'], env: { GNUPGHOME: empty } });
    await bench.close();
    await rm(home, { recursive: true, force: true });
    await rm(empty, { recursive: true, force: true });
  });

  test('seals and opens with the keys of GNUPGHOME, to the fingerprint that an address has today', async () => {
    const sealing = await sealingOf({ recipients: ['gpg:backup@archon72'] }, bench.processes);
    assert.equal(sealing.method, 'gpg');
    assert.match(sealing.fingerprints[0] as string, /^gpg:[0-9A-F]{40}$/);
    await identityOpens(null, sealing, bench.processes);
    const vault = new MemoryVault({ volume: 100_000 });
    const plain = sampleBytes(600_000);
    const artifact = await sealInto(vault, fromMemory(plain), sealing, bench);
    assert.equal(artifact.volumes[0]?.name, 'database.dump.zst.gpg');
    assert.ok((await readWhole(await unsealFrom(vault, artifact, bench, { sealing, identity: null }))).equals(plain));
    // As on another machine, where the secret key is not.
    const stranger = { ...bench, processes: createProcesses({ ...process.env, GNUPGHOME: empty }, bench.signal, null) };
    const opened = await unsealFrom(vault, artifact, stranger, { sealing, identity: null });
    await assert.rejects(readWhole(opened), (error) => {
      assert.ok(error instanceof IdentityWrong);
      assert.match(
        error.hint ?? '',
        /secret key of one of gpg:[0-9A-F]{40} into this user's GnuPG \(gpg --import FILE\)/,
      );
      return true;
    });
  });

  test('a key that is not there, and an address that means two keys, are errors of the plan', async () => {
    await assert.rejects(
      sealingOf({ recipients: ['gpg:nobody@archon72'] }, bench.processes),
      isError(PlanInvalid, /no public key "nobody@archon72"/),
    );
    await assert.rejects(
      sealingOf({ recipients: ['gpg:archon72'] }, bench.processes),
      isError(PlanInvalid, /matches 3 public keys/),
    );
  });

  test('two keys seal one artifact', async () => {
    const sealing = await sealingOf({ recipients: ['gpg:backup@archon72', 'gpg:second@archon72'] }, bench.processes);
    assert.equal(sealing.recipients.length, 2);
    await identityOpens(null, sealing, bench.processes);
  });
});
