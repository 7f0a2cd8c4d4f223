import { strict as assert } from 'node:assert';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  Disproven,
  NotProvableHere,
  SpaceLacking,
  TargetNotEmpty,
  TargetUnusable,
  UnsafePath,
  UsageError,
} from '#core/errors';
import type { RestoreOutcome } from '#core/ports';
import { files } from '#engines/files/engine';
import { openRun, type TestRun } from '#test/contracts/run-context';
import { type StoredBackup, storeCapture } from '#test/contracts/stored-backup';
import { backupOf, indexOf, type Member, tarOf } from '#test/engines/files/hand-made';
import { filesSource, fillTree, listTree, temporary } from '#test/engines/files/trees';

describe('restoring files', () => {
  const place = temporary('files-restore');
  let opened: TestRun;
  let tree: string;
  let stored: StoredBackup;

  before(async () => {
    opened = await openRun();
    tree = join(place.folder(), 'tree');
    mkdirSync(tree);
    fillTree(tree);
    const source = filesSource({ paths: [tree] });
    const capture = await files.capture(source, opened.run);
    try {
      stored = await storeCapture(capture, source, opened.run);
    } finally {
      await capture.close();
    }
  });
  after(async () => {
    await stored.remove();
    await opened.close();
    place.remove();
  });

  function restore(target: string, only: string[] = [], overwrite = false): Promise<RestoreOutcome> {
    const backup = stored.backup(opened.run, { through: 'child' });
    return files.restore(backup, { target, only, overwrite }, null, opened.run);
  }

  test('makes the target where it is not there, parents included', async () => {
    const target = join(place.folder(), 'a/b c');
    const outcome = await restore(target);
    assert.equal(outcome.verified, true);
    assert.deepEqual(readdirSync(target), ['tree']);
    assert.equal(listTree(join(target, 'tree')), listTree(tree));
  });

  test('a path too long for the place is refused before anything is unpacked that nobody could remove', async () => {
    const folder = join(place.folder(), 'tree');
    const names: string[] = [];
    for (let left = 3990 - folder.length; left > 0; left -= 201) names.push('d'.repeat(Math.min(left, 200)));
    mkdirSync(join(folder, ...names), { recursive: true });
    const source = filesSource({ paths: [folder] });
    const capture = await files.capture(source, opened.run);
    const long = await storeCapture(capture, source, opened.run).finally(() => capture.close());
    const deep = join(place.folder(), 'x'.repeat(90), 'x'.repeat(90));
    mkdirSync(deep, { recursive: true });
    const backup = long.backup(opened.run, { through: 'child' });
    await assert.rejects(files.restore(backup, { target: deep, only: [], overwrite: false }, null, opened.run), {
      name: 'TargetUnusable',
      message: /^a path of the backup has \d+ bytes, below .* 4095 are allowed$/,
    });
    assert.deepEqual(readdirSync(deep), []);
    await assert.rejects(files.load(backup, source, { ...opened.run, scratch: deep }), { name: 'NotProvableHere' });
    assert.deepEqual(readdirSync(deep), []);
    await long.remove();
  });

  test('I6: restore.script brings back what only root may set, and counts right where / itself was listed', async () => {
    const folder = join(place.folder(), 'tree');
    mkdirSync(folder);
    // cap_net_raw+ep, as the kernel keeps it.
    const capability = `\x01\0\0\x02\0\x20${'\0'.repeat(14)}`;
    // Who is not root sees that attributes come back at all.
    const attribute = process.getuid?.() === 0 ? 'security.capability' : 'user.capability';
    const program = { name: 'program', body: 'x', pax: { [`SCHILY.xattr.${attribute}`]: capability } };
    execFileSync('tar', ['-C', folder, '-x', '--xattrs', '--xattrs-include=*'], { input: tarOf([program]) });
    for (const source of [filesSource({ paths: [folder] }), filesSource({ paths: ['/'], exclude: ['/*'] })]) {
      const capture = await files.capture(source, opened.run);
      const one = await storeCapture(capture, source, opened.run).finally(() => capture.close());
      const target = place.folder();
      const script = `set -eu\nplain() { cat "$VAULT/$1"; }\n${one.result.restoreScript}`;
      execFileSync('sh', ['-eu', '-c', script], { env: { ...process.env, VAULT: one.folder, TARGET: target } });
      if (existsSync(join(target, 'tree'))) {
        const again = execFileSync('tar', ['-C', target, '-c', '--format=posix', '--xattrs', 'tree/program']);
        assert.ok(again.includes(`${attribute}=${capability}`));
      }
      await one.remove();
    }
  });

  test('--only of one file, of a directory, of a pattern, and of a path as it was on the source', async () => {
    const wanted: [string[], string[]][] = [
      [['tree/docs/7.json'], ['tree/docs/7.json']],
      [['./tree/docs/deep/'], ['tree/docs/deep/er/run.sh']],
      [
        ['tree/**/*.sh', 'tree/nothing'],
        ['tree/docs/deep/er/run.sh', 'tree/nothing'],
      ],
      [['1?.json'], Array.from({ length: 10 }, (_, index) => `tree/docs/1${index}.json`)],
      [[join(tree, 'docs/deep')], ['tree/docs/deep/er/run.sh']],
    ];
    for (const [only, expected] of wanted) {
      const target = place.folder();
      await restore(target, only);
      const found = readdirSync(target, { recursive: true, withFileTypes: true })
        .filter((entry) => !entry.isDirectory())
        .map((entry) => join(entry.parentPath, entry.name).slice(target.length + 1));
      assert.deepEqual(found.sort(), expected, only.join());
    }
  });

  test('--only of the second name of a hard-linked file has its content', async () => {
    // In the archive one of the names is the file and the other only points to it: both must do.
    for (const name of ['tree/docs/hard', 'tree/readme.txt']) {
      const target = place.folder();
      await restore(target, [name]);
      assert.equal(readFileSync(join(target, name), 'utf8'), readFileSync(join(tree, 'readme.txt'), 'utf8'));
      assert.deepEqual(readdirSync(join(target, 'tree')).length, 1);
    }
  });

  test('--only of something that is not in the backup names it, and writes nothing', async () => {
    const target = place.folder();
    await assert.rejects(restore(target, ['tree/nowhere.json', 'tree/readme.txt']), (error) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, /nowhere\.json.*it holds tree/);
      return true;
    });
    await assert.rejects(restore(target, ['../etc/passwd']), UnsafePath);
    assert.deepEqual(readdirSync(target), []);
  });

  test('I11: overwriting moves what was there aside, whole, and leaves what is not in the way', async () => {
    const target = place.folder();
    mkdirSync(join(target, 'tree/docs'), { recursive: true });
    writeFileSync(join(target, 'tree/docs/mine'), 'mine');
    writeFileSync(join(target, 'other'), 'other');
    await assert.rejects(restore(target), (error) => {
      assert.ok(error instanceof TargetNotEmpty);
      assert.match(error.message, /other, tree|tree, other/);
      return true;
    });
    const outcome = await restore(target, [], true);
    assert.equal(listTree(join(target, 'tree')), listTree(tree));
    assert.equal(readFileSync(join(target, 'other'), 'utf8'), 'other');
    const aside = /now in (.*)$/.exec(outcome.warnings[0] as string)?.[1] as string;
    assert.match(aside, /\.before-\d{8}T\d{6}Z$/);
    assert.equal(readFileSync(join(aside, 'tree/docs/mine'), 'utf8'), 'mine');
  });

  test('I11: overwriting twice in one second keeps both that were in the way', async () => {
    const target = place.folder();
    const [run, now] = [opened.run, new Date()];
    const hurried = { ...run, clock: { ...run.clock, now: () => now } };
    const only = ['tree/docs/7.json'];
    const kept: string[] = [];
    mkdirSync(join(target, 'tree/docs'), { recursive: true });
    for (const content of ['first', 'second']) {
      writeFileSync(join(target, 'tree/docs/7.json'), content);
      const backup = stored.backup(run, { through: 'child' });
      const outcome = await files.restore(backup, { target, only, overwrite: true }, null, hurried);
      const aside = /now in (.*)$/.exec(outcome.warnings[0] as string)?.[1] as string;
      kept.push(readFileSync(join(aside, 'tree/docs/7.json'), 'utf8'));
    }
    assert.deepEqual(kept, ['first', 'second']);
  });

  test('I11: overwriting with --only replaces that file alone', async () => {
    const target = place.folder();
    mkdirSync(join(target, 'tree/docs'), { recursive: true });
    writeFileSync(join(target, 'tree/docs/7.json'), 'newer');
    writeFileSync(join(target, 'tree/docs/8.json'), 'newer');
    await restore(target, ['tree/docs/7.json'], true);
    assert.equal(
      readFileSync(join(target, 'tree/docs/7.json'), 'utf8'),
      readFileSync(join(tree, 'docs/7.json'), 'utf8'),
    );
    assert.equal(readFileSync(join(target, 'tree/docs/8.json'), 'utf8'), 'newer');
  });

  test('a symbolic link where a directory should be is not written through', async () => {
    const target = place.folder();
    const outside = place.folder();
    mkdirSync(join(target, 'tree'));
    symlinkSync(outside, join(target, 'tree/docs'));
    await assert.rejects(restore(target, ['tree/docs/7.json'], true), UnsafePath);
    assert.deepEqual(readdirSync(outside), []);
    assert.deepEqual(readdirSync(target), ['tree']);
  });

  test('a target that is a file is refused', async () => {
    const target = join(place.folder(), 'file');
    writeFileSync(target, 'x');
    await assert.rejects(restore(target), TargetUnusable);
    assert.equal(readFileSync(target, 'utf8'), 'x');
  });

  test('what a killed restore left in the target is swept, what a living one does there is not', async () => {
    const target = place.folder();
    const living = spawn('sleep', ['60']);
    mkdirSync(join(target, `.holdfast-restore-${living.pid}-00000000`));
    await assert.rejects(restore(target), /is restoring into/);
    living.kill('SIGKILL');
    await once(living, 'exit');
    await restore(target);
    assert.deepEqual(readdirSync(target), ['tree']);
  });

  describe('refuses what would leave the target', () => {
    const dir = (name: string): Member => ({ name, type: '5' });
    const evil: Readonly<Record<string, readonly Member[]>> = {
      'a name with ..': [{ name: '../evil', body: 'x' }],
      'a name with .. inside': [dir('a/'), { name: 'a/../../evil', body: 'x' }],
      'an absolute name': [{ name: '/tmp/evil', body: 'x' }],
      'a name with .. in a pax record': [{ name: 'good', pax: { path: '../evil' }, body: 'x' }],
      'a symbolic link, then a file through it': [
        { name: 'a', type: '2', link: '..' },
        { name: 'a/evil', body: 'x' },
      ],
      'a symbolic link to a directory outside, then a file through it': [
        { name: 'a', type: '2', link: '/tmp' },
        { name: 'a/evil', body: 'x' },
      ],
      'a directory, replaced by a symbolic link, then a file through it': [
        dir('a/'),
        { name: 'a', type: '2', link: '..' },
        { name: 'a/evil', body: 'x' },
      ],
      'a hard link to a file outside': [{ name: 'evil', type: '1', link: '../secret' }],
      'a hard link to an absolute path': [{ name: 'evil', type: '1', link: '/etc/passwd' }],
      'a hard link by a pax record': [{ name: 'evil', type: '1', link: 'x', pax: { linkpath: '../../secret' } }],
    };
    for (const [title, members] of Object.entries(evil))
      for (const honest of [true, false])
        test(`${title}, ${honest ? 'named in the index' : 'hidden from the index'}`, async () => {
          const parent = place.folder();
          const target = join(parent, 'target');
          writeFileSync(join(parent, 'secret'), 'secret');
          const index = indexOf(honest ? members : members.map((_, at) => ({ name: `innocent ${at}`, body: 'x' })));
          const backup = backupOf(place.folder(), tarOf(members), index);
          await assert.rejects(
            files.restore(backup, { target, only: [], overwrite: false }, null, opened.run),
            (error) => error instanceof UnsafePath || (!honest && error instanceof Disproven),
          );
          assert.deepEqual(readdirSync(parent), ['secret'], 'something was written, or left');
          assert.equal(lstatSync(join(parent, 'secret')).nlink, 1);
          assert.equal(existsSync('/tmp/evil'), false);
        });

    test('a hard link through a symbolic link of the archive reaches nothing outside', async () => {
      const parent = place.folder();
      writeFileSync(join(parent, 'secret'), 'secret');
      const members: Member[] = [
        { name: 'a', type: '2', link: '../..' },
        { name: 'evil', type: '1', link: 'a/secret' },
      ];
      const backup = backupOf(place.folder(), tarOf(members), indexOf(members));
      const target = join(parent, 'target');
      await assert.rejects(files.restore(backup, { target, only: [], overwrite: false }, null, opened.run));
      assert.equal(lstatSync(join(parent, 'secret')).nlink, 1);
      assert.deepEqual(readdirSync(parent), ['secret']);
    });

    for (const type of ['7', 'g', 'L', 'V', 'S', 'D', '\x7f'])
      test(`a member of type ${JSON.stringify(type)}, which Holdfast never writes`, async () => {
        const members: Member[] = [{ name: 'x', type, body: 'x' }];
        const target = join(place.folder(), 'target');
        const backup = backupOf(place.folder(), tarOf(members), indexOf([{ name: 'x', body: 'x' }]));
        await assert.rejects(
          files.restore(backup, { target, only: [], overwrite: false }, null, opened.run),
          UnsafePath,
        );
        assert.equal(existsSync(target), false);
      });
  });

  test('no room: not provable here, and no restore; neither writes anything', async () => {
    const small: Member[] = [{ name: 'a', body: 'a' }];
    const backup = backupOf(place.folder(), tarOf(small), indexOf(small));
    const { fingerprint } = backup;
    const huge = { ...backup, fingerprint: async () => ({ ...((await fingerprint()) as object), archive: 2 ** 52 }) };
    await assert.rejects(files.load(huge, filesSource({ paths: ['/srv/x'] }), opened.run), NotProvableHere);
    const target = join(place.folder(), 'target');
    await assert.rejects(files.restore(huge, { target, only: [], overwrite: false }, null, opened.run), SpaceLacking);
    assert.equal(existsSync(target), false);
  });

  const two: Member[] = [
    { name: 'a', body: 'a' },
    { name: 'b', body: 'b' },
  ];
  const damaged: Readonly<Record<string, Buffer>> = {
    'ends between two members, where tar itself says nothing': tarOf(two.slice(0, 1), false),
    'lacks its end mark': tarOf(two, false),
    'has a member more': tarOf([...two, { name: 'c', body: 'c' }]),
    'has a member less': tarOf(two.slice(0, 1)),
    'has another content': tarOf([two[0] as Member, { name: 'b', body: 'B' }]),
    'goes on after its end': Buffer.concat([tarOf(two), tarOf(two)]),
    'is empty': Buffer.alloc(0),
  };
  for (const [title, tar] of Object.entries(damaged))
    test(`I2: an archive that ${title} is disproven`, async () => {
      const backup = backupOf(place.folder(), tar, indexOf(two));
      const source = filesSource({ paths: ['/srv/x'] });
      await assert.rejects(async () => {
        const copy = await files.load(backup, source, opened.run);
        try {
          const differences = await copy.compare();
          if (differences.length > 0) throw new Disproven(differences.join());
        } finally {
          await copy.close();
        }
      }, Disproven);
    });
});
