import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { ThawNeeded, VaultRefused, VaultUnreachable } from '#core/errors';
import { rejects, toBuffer } from '#test/contracts/vault';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { type FaultyS3, startFaultyS3 } from '#test/servers/faulty-s3';
import { type Glacier, startGlacier } from '#test/servers/glacier';
import { PACE } from '#vault/s3-client';
import { S3Vault } from '#vault/s3-vault';

const STANDARD = { speed: 'standard', days: 7 } as const;

describe('the archive classes of a bucket', () => {
  let s3: S3ForTests;
  let faulty: FaultyS3;
  let glacier: Glacier;
  let count = 0;
  before(async () => {
    s3 = await s3ForTests();
    faulty = await startFaultyS3(s3.endpoint);
    glacier = await startGlacier(s3.endpoint);
  });
  after(async () => {
    await glacier?.stop();
    await faulty?.stop();
    await s3?.close();
  });
  beforeEach(() => faulty.onRequest(() => null));

  function open(endpoint: string): S3Vault {
    return new S3Vault({
      name: 'cloud',
      settings: { bucket: s3.bucket, prefix: 'prod', region: null, endpoint, credentials: s3, sse: null },
      pace: { ...PACE, attempts: 2, firstMs: 1, longestMs: 2 },
      pageKeys: 2,
    });
  }

  async function folderOf(vault: S3Vault, names: readonly string[]): Promise<string> {
    const folder = `backups/app/yearly/${++count}`;
    for (const name of names) await vault.putOnce(`${folder}/${name}`, Buffer.from(name));
    return folder;
  }

  test('an object goes from frozen to thawing to thawed; what lies elsewhere is not among them', async () => {
    const vault = open(glacier.endpoint);
    const folder = await folderOf(vault, ['a', 'b', 'c', 'manifest.json']);
    assert.deepEqual(await vault.archive.archived(`${folder}/`), []);
    glacier.freeze((path) => path.endsWith(`/${folder}/a`), 'GLACIER');
    glacier.freeze((path) => path.endsWith(`/${folder}/c`), 'DEEP_ARCHIVE');
    const [a, c] = [`${folder}/a`, `${folder}/c`];
    const frozen = { state: 'frozen', until: null, bytes: 1 };
    assert.deepEqual(await vault.archive.archived(`${folder}/`), [
      { key: a, class: 'archive', ...frozen },
      { key: c, class: 'deep-archive', ...frozen },
    ]);
    await rejects(vault.get(c), ThawNeeded);
    await vault.archive.thaw([a], STANDARD);
    assert.deepEqual(
      (await vault.archive.archived(`${folder}/`)).map(({ state }) => state),
      ['thawing', 'frozen'],
    );
    glacier.thaw();
    const [thawed] = await vault.archive.archived(`${folder}/`);
    assert.equal(thawed?.state, 'thawed');
    assert.equal(Math.round(((thawed?.until?.getTime() ?? 0) - Date.now()) / 86_400_000), 7);
    assert.equal((await toBuffer(await vault.open(a))).toString(), 'a');
  });

  test('asking twice, or for what has come back to a warm class, is no error', async () => {
    const vault = open(glacier.endpoint);
    const folder = await folderOf(vault, ['a']);
    glacier.freeze((path) => path.endsWith(`/${folder}/a`), 'GLACIER');
    const before = glacier.asked.length;
    await vault.archive.thaw([`${folder}/a`], STANDARD);
    await vault.archive.thaw([`${folder}/a`], { speed: 'bulk', days: 7 });
    await vault.putOnce(`${folder}/warm`, Buffer.from('w'));
    await vault.archive.thaw([`${folder}/warm`], STANDARD);
    assert.equal(glacier.asked.length, before + 1);
  });

  test('a thaw for which there is no capacity is not tried again and again; a role without the right is told it', async () => {
    const vault = open(glacier.endpoint);
    const folder = await folderOf(vault, ['a']);
    glacier.freeze((path) => path.endsWith(`/${folder}/a`), 'GLACIER');
    glacier.refuse('GlacierExpeditedRetrievalNotAvailable');
    glacier.seen.length = 0;
    const error = await rejects(vault.archive.thaw([`${folder}/a`], { speed: 'expedited', days: 7 }), VaultRefused);
    assert.match(error.hint ?? '', /--thaw standard/);
    assert.equal(glacier.seen.length, 1);
    glacier.refuse('AccessDenied');
    const refused = await rejects(vault.archive.thaw([`${folder}/a`], STANDARD), VaultRefused);
    assert.match(refused.hint ?? '', /allow s3:RestoreObject/);
    glacier.refuse(null);
  });

  test('I14: a state that nobody can read, or a listing that fails, is an error and not "nothing is frozen"', async () => {
    const vault = open(faulty.endpoint);
    const folder = await folderOf(vault, ['a']);
    const asGlacier = {
      rewrite: ({ body }: { body: Buffer }) => Buffer.from(body.toString().replaceAll('>STANDARD<', '>GLACIER<')),
    };
    faulty.onRequest(({ query, method }) => {
      if (query.has('list-type')) return asGlacier;
      if (method !== 'HEAD') return null;
      return { answer: { status: 200, headers: { 'x-amz-restore': 'ongoing-request="perhaps"' } } };
    });
    await rejects(vault.archive.archived(`${folder}/`), VaultUnreachable);
    faulty.onRequest(({ query }) => (query.has('list-type') ? { answer: { status: 500 } } : null));
    await rejects(vault.archive.archived(`${folder}/`), VaultUnreachable);
  });

  test('a store that calls a class GLACIER and gives its objects at once has nothing frozen', async () => {
    const vault = open(faulty.endpoint);
    const folder = await folderOf(vault, ['a']);
    let listed = 0;
    faulty.onRequest(({ query }) => {
      if (!query.has('list-type')) return null;
      listed++;
      return { rewrite: ({ body }) => Buffer.from(body.toString().replaceAll('>STANDARD<', '>GLACIER<')) };
    });
    assert.deepEqual(await vault.archive.archived(`${folder}/`), []);
    assert.equal(listed, 1);
  });

  test('Ceph without such classes refuses a thaw, and says so', async () => {
    const vault = open(s3.endpoint);
    const folder = await folderOf(vault, ['a']);
    const error = await rejects(vault.archive.thaw([`${folder}/a`], STANDARD), VaultRefused);
    assert.match(error.message, /RestoreObject.*HTTP 501/);
  });
});
