import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CaptureIncomplete, CommandFailed, PlanInvalid, SourceUnreachable, SourceUnsupported } from '#core/errors';
import type { CaptureResult, CheckLine, RunContext, SourceRef } from '#core/ports';
import { files } from '#engines/files/engine';
import { decodeEntry, type IndexEntry } from '#engines/files/tree-index';
import { openRun, type TestRun } from '#test/contracts/run-context';
import { type StoredBackup, storeCapture } from '#test/contracts/stored-backup';
import { filesSource, fillTree, listTree, sparse, temporary } from '#test/engines/files/trees';

describe('capturing files', () => {
  const place = temporary('files-capture');
  const kept: StoredBackup[] = [];
  let opened: TestRun;
  before(async () => {
    opened = await openRun();
  });
  after(async () => {
    for (const stored of kept) await stored.remove();
    await opened.close();
    place.remove();
  });

  interface Captured {
    readonly result: CaptureResult;
    readonly index: readonly IndexEntry[];
    readonly paths: readonly string[];
    readonly stored: StoredBackup;
  }

  async function captured(source: SourceRef, run: RunContext = opened.run): Promise<Captured> {
    const capture = await files.capture(source, run);
    try {
      const stored = await storeCapture(capture, source, run);
      kept.push(stored);
      const text = readFileSync(join(stored.folder, 'index.jsonl'), 'utf8');
      const index = text.split('\n').filter(Boolean).map(decodeEntry);
      return { result: stored.result, index, paths: index.map((entry) => entry.path), stored };
    } finally {
      await capture.close();
    }
  }

  async function differences({ stored }: Captured, source: SourceRef): Promise<readonly string[]> {
    const copy = await files.load(stored.backup(opened.run, { through: 'child' }), source, opened.run);
    try {
      return await copy.compare();
    } finally {
      await copy.close();
    }
  }

  /** A run whose tar is started by a shell script that has the names it will be given, in the file `$names`. */
  function withTarBy(script: string): RunContext {
    const { processes } = opened.run;
    const shell = `names=$(mktemp -p "${place.path}"); cat > "$names"; ${script}`;
    return {
      ...opened.run,
      processes: {
        ...processes,
        pipe: (commands, io) =>
          processes.pipe(
            commands.map((command) =>
              command.args.includes('--create')
                ? { ...command, program: 'sh', args: ['-c', shell, 'tar', ...command.args] }
                : command,
            ),
            io,
          ),
      },
    };
  }

  const runTar = 'tar "$@" < "$names"; code=$?; rm "$names"; exit $code';

  function tree(fill: (folder: string) => void = fillTree): string {
    const folder = join(place.folder(), 'tree');
    mkdirSync(folder);
    fill(folder);
    return folder;
  }

  test('peers 3F (DBackup #135): symbolic links are in the backup, with what they say, and never followed', async () => {
    const folder = tree();
    const { index } = await captured(filesSource({ paths: [folder] }));
    const links = index.filter((entry) => entry.kind === 'link').map(({ path, target }) => [path, target]);
    assert.deepEqual(links, [
      ['tree/dangling', '/nowhere/at all'],
      ['tree/docs/link', '../readme.txt'],
    ]);
  });

  test('the index says of each file what sha256sum says, and the archive is what stock tar reads', async () => {
    const folder = tree();
    const all = await captured(filesSource({ paths: [folder] }));
    for (const entry of all.index.filter(({ kind }) => kind === 'file').slice(0, 40)) {
      const [sum] = execFileSync('sha256sum', [join(folder, '..', entry.path)], { encoding: 'utf8' }).split(' ');
      assert.equal(entry.sha256, sum, entry.path);
    }
    const listed = execFileSync('tar', ['-tf', join(all.stored.folder, 'tree.tar')], { encoding: 'utf8' });
    assert.deepEqual(
      listed
        .trim()
        .split('\n')
        .map((name) => name.replace(/\/$/, '')),
      all.paths,
    );
    assert.equal(
      all.result.measures['files'],
      all.index.filter(({ kind }) => kind === 'file' || kind === 'hard').length,
    );
  });

  test('the same tree gives the same bytes', async () => {
    const source = filesSource({ paths: [tree()] });
    const [one, two] = [await captured(source), await captured(source)];
    assert.deepEqual(one.result.fingerprint, two.result.fingerprint);
    for (const name of ['tree.tar', 'index.jsonl'])
      assert.ok(readFileSync(join(one.stored.folder, name)).equals(readFileSync(join(two.stored.folder, name))), name);
  });

  test('several paths keep their places to each other, and never collide', async () => {
    const folder = place.folder();
    for (const name of ['a/x', 'b/x', 'c/d/x']) {
      mkdirSync(join(folder, name), { recursive: true });
      writeFileSync(join(folder, name, 'file'), name);
    }
    const { paths, index } = await captured(
      filesSource({ paths: ['a/x', 'c/d/x', 'b/x/file', 'c/d/x/file'].map((path) => join(folder, path)) }),
    );
    assert.deepEqual(paths, ['a', 'a/x', 'a/x/file', 'b', 'b/x', 'b/x/file', 'c', 'c/d', 'c/d/x', 'c/d/x/file']);
    assert.deepEqual(
      index.filter((entry) => entry.way).map((entry) => entry.path),
      ['a', 'b', 'b/x', 'c', 'c/d'],
    );
  });

  test('a listed path that is a symbolic link is taken with what it points to, and says so', async () => {
    const folder = place.folder();
    mkdirSync(join(folder, 'releases/5'), { recursive: true });
    writeFileSync(join(folder, 'releases/5/app'), 'app');
    symlinkSync('releases/5', join(folder, 'current'));
    const { paths, result } = await captured(filesSource({ paths: [join(folder, 'current')] }));
    assert.deepEqual(paths, ['current', 'releases', 'releases/5', 'releases/5/app']);
    assert.match(result.warnings.join(), /current is a symbolic link; what it points to/);
  });

  test('I14: every listed path that is not there is named, a link to nothing included', async () => {
    const folder = place.folder();
    symlinkSync('nothing', join(folder, 'dangling'));
    const source = filesSource({ paths: [folder, join(folder, 'gone'), join(folder, 'dangling')] });
    await assert.rejects(files.capture(source, opened.run), (error) => {
      assert.ok(error instanceof SourceUnreachable);
      assert.match(error.message, /gone, .*dangling: no such/);
      return true;
    });
  });

  test('exclude leaves out by name, by place, and directories alone; listed paths stay', async () => {
    const folder = tree((root) => {
      for (const path of ['cache/old', 'src/cache', 'src/tmp', 'build', 'src/build'])
        mkdirSync(join(root, path), { recursive: true });
      for (const path of [
        'a.tmp',
        'src/b.tmp',
        'cache/x',
        'src/cache/keep',
        'build/x',
        'src/build/y',
        'src/tmp/z',
        'src/c.ts',
      ])
        writeFileSync(join(root, path), path);
    });
    const { paths } = await captured(
      filesSource({ paths: [folder, join(folder, 'cache/old')], exclude: ['*.tmp', 'cache/', '/build', 'src/**/z'] }),
    );
    assert.deepEqual(paths, [
      'tree',
      'tree/cache',
      'tree/cache/old',
      'tree/src',
      'tree/src/build',
      'tree/src/build/y',
      'tree/src/c.ts',
      'tree/src/tmp',
    ]);
    const wrong = filesSource({ paths: [folder], exclude: ['!keep'] });
    await assert.rejects(files.capture(wrong, opened.run), PlanInvalid);
  });

  test('sanitise leaves out what is named like a secret, listed or not, and says what', async () => {
    const folder = tree((root) => {
      mkdirSync(join(root, 'secrets'));
      for (const path of [
        '.env',
        '.env.prod',
        'prod.env',
        'Secret.txt',
        'server.KEY',
        'tls.pem',
        'id_rsa',
        'id_ed25519.pub',
        'credentials.json',
        'secrets/x',
        'compose.yml',
        'environment.ts',
      ])
        writeFileSync(join(root, path), path);
    });
    const { paths, result } = await captured(filesSource({ paths: [folder, join(folder, '.env')], sanitise: true }));
    assert.deepEqual(paths, ['tree', 'tree/compose.yml', 'tree/environment.ts']);
    assert.match(result.warnings.join(), /left out by sanitise \(10\): .*tree\/\.env/);
  });

  test('sockets are left out with a warning; fifos and devices are kept', async () => {
    const folder = tree((root) => execFileSync('mkfifo', [join(root, 'fifo')]));
    const server = createServer().listen(join(folder, 'socket'));
    try {
      const source = filesSource({ paths: [folder] });
      const all = await captured(source);
      assert.deepEqual(all.paths, ['tree', 'tree/fifo']);
      assert.match(all.result.warnings.join(), /sockets.*tree\/socket/);
      assert.deepEqual(await differences(all, source), []);
    } finally {
      server.close();
    }
  });

  test('names of one file stay one file, however many; a name outside the tree is no concern', async () => {
    const folder = tree((root) => {
      mkdirSync(join(root, 'x'.repeat(150)));
      writeFileSync(join(root, 'first'), 'content');
      for (let index = 0; index < 30; index++)
        linkSync(join(root, 'first'), join(root, 'x'.repeat(150), `é ${index}\n`));
      writeFileSync(join(root, 'outer'), 'outer');
      linkSync(join(root, 'outer'), join(root, '..', 'outside'));
    });
    const source = filesSource({ paths: [folder] });
    const all = await captured(source);
    assert.equal(all.index.filter((entry) => entry.kind === 'hard').length, 30);
    assert.deepEqual(await differences(all, source), []);
    const target = place.folder();
    await files.restore(
      all.stored.backup(opened.run, { through: 'stream' }),
      { target, only: [], overwrite: false },
      null,
      opened.run,
    );
    assert.equal(listTree(join(target, 'tree')), listTree(folder));
  });

  test('I2: a name of a hard-linked file that is given to another file meanwhile does not change its other names', async () => {
    const source = (): SourceRef =>
      filesSource({
        paths: [
          tree((root) => {
            writeFileSync(join(root, 'first'), 'as it was');
            linkSync(join(root, 'first'), join(root, 'second'));
          }),
        ],
      });
    const replaced = source();
    const folder = replaced.settings.files?.paths[0];
    const replacing = withTarBy(`echo other > "${folder}/new"; mv "${folder}/new" "${folder}/first"; ${runTar}`);
    await assert.rejects(captured(replaced, replacing), (error: Error) => {
      assert.ok(error instanceof CaptureIncomplete, String(error));
      assert.match(error.message, /tree\/first was replaced while it was read, and tree\/second is another name/);
      return true;
    });
    const written = source();
    const file = `${written.settings.files?.paths[0]}/first`;
    const all = await captured(written, withTarBy(`echo other > "${file}"; ${runTar}`));
    assert.deepEqual(
      all.index.filter(({ kind }) => kind === 'hard').map(({ path }) => path),
      ['tree/second'],
    );
  });

  test('a path longer than any system call takes is refused with its beginning', async () => {
    const folder = tree(() => undefined);
    const deeper = `cd "${folder}"; for i in $(seq 25); do mkdir ${'d'.repeat(200)}; cd -P ${'d'.repeat(200)}; done`;
    try {
      execFileSync('bash', ['-c', deeper]);
      await assert.rejects(captured(filesSource({ paths: [folder] })), (error: Error) => {
        assert.ok(error instanceof CaptureIncomplete, String(error));
        assert.match(error.message, /^the path of tree\/ddd.* bytes; a path may have 4095/);
        return true;
      });
    } finally {
      execFileSync('rm', ['-rf', folder]);
    }
  });

  test('a sparse file stays small in the archive and in the copy, and its sha256 is of the whole', async () => {
    const folder = tree((root) => sparse(join(root, 'image'), 1 << 26, [0, 44_000_000]));
    const source = filesSource({ paths: [folder] });
    const all = await captured(source);
    assert.ok(statSync(join(all.stored.folder, 'tree.tar')).size < 100_000);
    const [sum] = execFileSync('sha256sum', [join(folder, 'image')], { encoding: 'utf8' }).split(' ');
    assert.equal(all.index.at(-1)?.sha256, sum);
    const target = place.folder();
    await files.restore(
      all.stored.backup(opened.run, { through: 'child' }),
      { target, only: [], overwrite: false },
      null,
      opened.run,
    );
    const restored = statSync(join(target, 'tree/image'));
    assert.equal(restored.size, 1 << 26);
    assert.ok(restored.blocks * 512 < 1_000_000, `${restored.blocks} blocks`);
  });

  test('files that vanish while they are read are a warning, and neither in the archive nor in the index', async () => {
    const folder = tree();
    const source = filesSource({ paths: [folder] });
    const run = withTarBy(`rm "${folder}/docs/3.json" "${folder}/nothing"; rm -r "${folder}/docs/deep"; ${runTar}`);
    const all = await captured(source, run);
    assert.ok(!all.paths.includes('tree/docs/3.json') && !all.paths.includes('tree/docs/deep'));
    assert.match(all.result.warnings.join(), /deleted while they were read.*\(5\).*3\.json/);
    assert.deepEqual(await differences(all, source), []);
  });

  test('a file that is written to while it is read is named and marked, and the index is of what was archived', async () => {
    const folder = tree((root) => {
      writeFileSync(join(root, 'quiet'), 'quiet');
      writeFileSync(join(root, 'log é\n'), Buffer.alloc(30_000_000, 'x'));
    });
    const source = filesSource({ paths: [folder] });
    const writer = `(while kill -0 $$; do printf x >> "$log"; done) < /dev/null > /dev/null 2>&1 &`;
    const run = withTarBy(
      `log=$(printf '%s/log é\\n_' '${folder}'); log=\${log%_}; ${writer} exec tar "$@" < "$names"`,
    );
    const all = await captured(source, run);
    const changed = all.index.filter((entry) => entry.changed).map((entry) => entry.path);
    assert.deepEqual(changed, [Buffer.from('tree/log é\n').toString('latin1')]);
    assert.match(all.result.warnings.join(), /written to while they were read.*\(1\): tree\/log é\\n/);
    assert.deepEqual(await differences(all, source), []);
  });

  test('I2: a file that cannot be read is an incomplete capture that names it, unless it is excluded', async () => {
    const folder = tree();
    const file = join(folder, 'docs/9.json');
    const root = process.getuid?.() === 0;
    // Root reads everything, so its tar is started without that privilege, and the file belongs to somebody else.
    if (root) chownSync(file, 12345, 12345);
    chmodSync(file, 0);
    const run = root
      ? withTarBy('exec setpriv --bounding-set=-dac_override,-dac_read_search tar "$@" < "$names"')
      : opened.run;
    await assert.rejects(captured(filesSource({ paths: [folder] }), run), (error) => {
      assert.ok(error instanceof CaptureIncomplete);
      assert.match(error.message, /tree\/docs\/9\.json: Cannot open: Permission denied/);
      assert.match(error.hint ?? '', /exclude/);
      return true;
    });
    const { paths } = await captured(filesSource({ paths: [folder], exclude: ['9.json'] }), run);
    assert.ok(!paths.includes('tree/docs/9.json'));
  });

  for (const [title, script] of Object.entries({
    'tar is killed': 'head -c 100 "$names" > /dev/null; kill -9 $$',
    'tar ends early and says nothing of it': 'printf "tree\\0" > "$names"; exec tar "$@" < "$names"',
    'tar writes half': '(tar "$@" < "$names") | head -c 200000',
    'tar writes nothing': 'exit 0',
    'tar writes what was not asked for': 'printf "/etc/hostname\\0" >> "$names"; exec tar "$@" < "$names" 2> /dev/null',
    'tar fails with words that are not known': 'tar "$@" < "$names"; echo "tar: the tape is torn" >&2; exit 2',
  }))
    test(`I2: ${title}: an incomplete capture, not a small backup`, async () => {
      const source = filesSource({ paths: [tree()] });
      await assert.rejects(captured(source, withTarBy(script)), (error) => {
        assert.ok(error instanceof CaptureIncomplete || error instanceof CommandFailed, String(error));
        return true;
      });
    });

  test('a directory that is replaced by a link while it is read is not followed into the backup', async () => {
    const folder = tree();
    const outside = place.folder();
    writeFileSync(join(outside, '1.json'), 'not ours');
    const run = withTarBy(`mv "${folder}/docs" "${folder}/gone"; ln -s "${outside}" "${folder}/docs"; ${runTar}`);
    await assert.rejects(captured(filesSource({ paths: [folder] }), run), CaptureIncomplete);
  });

  test('onChange: a touched tree is unchanged; another content, mode, name or link is not', async () => {
    const folder = tree();
    const source = filesSource({ paths: [folder], onChange: true });
    const { result } = await captured(source);
    const unchanged = (): Promise<boolean> =>
      files.unchangedSince?.(source, result.fingerprint, opened.run) ?? assert.fail('it cannot tell');
    assert.equal(await unchanged(), true);
    utimesSync(join(folder, 'readme.txt'), new Date(), new Date());
    assert.equal(await unchanged(), true);
    const changes: [() => void, () => void][] = [
      [() => writeFileSync(join(folder, 'new'), ''), () => rmSync(join(folder, 'new'))],
      [() => chmodSync(join(folder, 'nothing'), 0o600), () => chmodSync(join(folder, 'nothing'), 0o644)],
      [
        () => renameSync(join(folder, 'docs/4.json'), join(folder, 'docs/4.jsom')),
        () => renameSync(join(folder, 'docs/4.jsom'), join(folder, 'docs/4.json')),
      ],
      [() => writeFileSync(join(folder, 'nothing'), '1'), () => truncateSync(join(folder, 'nothing'), 0)],
    ];
    for (const [change, back] of changes) {
      change();
      assert.equal(await unchanged(), false, String(change));
      back();
      assert.equal(await unchanged(), true, String(back));
    }
  });

  test('a vault of the plan inside a listed path is left out and said, in the backup as in check', async () => {
    const folder = tree((root) => mkdirSync(join(root, 'backups/vault/backups'), { recursive: true }));
    writeFileSync(join(folder, 'backups/vault/vault.json'), '{}');
    symlinkSync(join(folder, 'backups'), join(folder, 'elsewhere'));
    // By another way to the same place, and one that is not there.
    const vaultDirectories = [join(folder, 'elsewhere/vault'), '/no/such/vault'];
    const source = { ...filesSource({ paths: [folder] }), vaultDirectories };
    const { paths, result } = await captured(source);
    const inside = paths.filter((path) => path.includes('vault')).map((path) => path.slice(path.indexOf('/') + 1));
    assert.deepEqual(inside, ['backups/vault']);
    assert.match(result.warnings.join('\n'), /not entered: .*backups\/vault \(this plan's vault/);
    const lines: CheckLine[] = [];
    for await (const line of files.check(source, opened.run)) lines.push(line);
    assert.match(lines.find(({ name }) => name === 'mounts')?.message ?? '', /this plan's vault/);
  });

  test('a listed path that is a vault of the plan, or lies in one, is refused by both', async () => {
    const folder = tree((root) => mkdirSync(join(root, 'vault/backups'), { recursive: true }));
    for (const listed of [join(folder, 'vault'), join(folder, 'vault/backups')]) {
      const source = { ...filesSource({ paths: [listed] }), vaultDirectories: [join(folder, 'vault')] };
      await assert.rejects(files.capture(source, opened.run), SourceUnsupported);
      const lines: CheckLine[] = [];
      for await (const line of files.check(source, opened.run)) lines.push(line);
      const refused = lines.find(({ ok }) => ok === false);
      assert.match(refused?.message ?? '', /(is|lies in) a vault of this plan/);
    }
  });

  test('inspect says what it could add up in a short while, and never "nothing" of a large tree', async () => {
    const folder = tree((root) => {
      for (const name of ['a', 'b']) {
        mkdirSync(join(root, name));
        writeFileSync(join(root, name, 'file'), Buffer.alloc(100_000, 'x'));
      }
    });
    const source = filesSource({ paths: [folder] });
    const whole = (await files.inspect(source, opened.run)).bytes ?? 0;
    assert.ok(whole > 200_000 && whole < 250_000, String(whole));
    let looks = 0;
    const hurried = { ...opened.run, clock: { ...opened.run.clock, now: () => new Date(900 * looks++) } };
    const part = (await files.inspect(source, hurried)).bytes ?? 0;
    assert.ok(part > 0 && part < whole, `${part} of ${whole}`);
  });

  test('check names what cannot be read, and databases that want an engine of their own', async () => {
    const folder = tree((root) => {
      mkdirSync(join(root, 'pg'));
      writeFileSync(join(root, 'pg/PG_VERSION'), '15\n');
      writeFileSync(join(root, 'dump.rdb'), 'REDIS0010');
      writeFileSync(join(root, 'app.db'), 'SQLite format 3\0 and more');
      writeFileSync(join(root, 'not.db'), 'text');
    });
    const lines: CheckLine[] = [];
    for await (const line of files.check(filesSource({ paths: [folder] }), opened.run)) lines.push(line);
    assert.ok(lines.every((line) => line.ok === true));
    const said = lines.map((line) => `${line.name}: ${line.message}`).join('\n');
    for (const engine of ['postgres', 'redis', 'sqlite']) assert.match(said, new RegExp(`of a ${engine} database`));
    assert.doesNotMatch(said, /not\.db/);
    assert.match(said, /readable: 6 files and directories/);
  });
});
