import { strict as assert } from 'node:assert';
import { after, before, describe, test } from 'node:test';
import { CommandFailed, type HoldfastError } from '#core/errors';
import type { Capture, RestoredCopy, RunContext, SourceRef, StreamingEngine } from '#core/ports';
import { isToldToPeople, leftIn, lines, neverGreen, withCode, words } from '#test/contracts/engine-assertions';
import { openRun, type TestRun } from '#test/contracts/run-context';
import { firstProcess, livingProcesses, newProcesses, watchArguments } from '#test/contracts/seen-processes';
import { type ReadingOptions, type StoredBackup, storeCapture } from '#test/contracts/stored-backup';

/** `capturing`: `capture()` was called, is not done. `captured`: it is done. `reading`: first bytes of the first artifact were read. */
export type Stage = 'capturing' | 'captured' | 'reading';

/** A source that is about to fail. Must be big enough (some MiB) that it is not over before it fails. */
export interface Failing {
  readonly source: SourceRef;
  /** Called at each stage, in order: breaks what it has to break at the stage of its choice. */
  at(stage: Stage): Promise<void>;
}

/**
 * What the suite must know of an engine. Everything made here is made anew at each call, may exist side by side, and
 * is removed by `stop`.
 */
export interface EngineKit {
  readonly engine: StreamingEngine;
  /** What `${NAME}` stands for in the settings of the sources below. */
  readonly variables?: Readonly<Record<string, string>>;
  /** Secrets among them: they must be seen nowhere. */
  readonly secrets?: readonly string[];
  /** A text in `source()`'s data that stands as it is, neither compressed nor escaped, in an artifact's plain bytes. */
  readonly marker: string;
  /** Whether a restore that fails with `overwrite` leaves the target as it was. */
  readonly switchesAtTheEnd: boolean;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** With data of every sort, `marker` in it, and probes if the engine has them. */
  source(): Promise<SourceRef>;
  /** There, and empty. */
  emptySource(): Promise<SourceRef>;
  /** Names with quotes, spaces, unicode, reserved words. */
  oddSource(): Promise<SourceRef>;
  /** Not there at all. */
  absentSource(): Promise<SourceRef>;
  /** Changes and adds values, as the application goes on working. */
  mutate(source: SourceRef): Promise<void>;
  /** Ways in which a capture is a failure in the middle, by a title: `the server dies`. */
  readonly failures: Readonly<Record<string, () => Promise<Failing>>>;
  /** Changes to a restored copy, by a title: `one value changed`, `two cells exchanged`. Each has to be seen. */
  readonly changes: Readonly<Record<string, (copy: RestoredCopy) => Promise<void>>>;
  /** Puts a restored copy aside, where a load costs more than this. What it gives back makes the copy what it was. */
  keep?(copy: RestoredCopy): Promise<() => Promise<void>>;
  /** The place of a source, as `contents` wants it: a URL or a path, without `${}`. */
  placeOf(source: SourceRef): string;
  /** All data at a place as a text, made without Holdfast: equal data, equal text. */
  contents(place: string): Promise<string>;
  /** A restore target that may be restored into. */
  emptyTarget(): Promise<string>;
  /** One with somebody's data, other than `source()`'s. */
  filledTarget(): Promise<string>;
  /** Where `restore`, or the script, with this target, put it; the target itself unless told. */
  restoredPlace?(target: string, source: SourceRef): string;
}

const READINGS: readonly ReadingOptions[] = [{ through: 'child' }, { through: 'stream' }];

/** The suite that every streaming engine passes. */
export function engineContract(title: string, kit: EngineKit): void {
  describe(`${title} keeps the engine contract`, () => {
    /** A source that no test changes, its contents, and a backup of it that no test damages. */
    let source: SourceRef;
    let expected: string;
    let stored: StoredBackup;
    /** Restored once, where the kit can undo what a test did to it. */
    let loaded: { copy: RestoredCopy; opened: TestRun; putBack(): Promise<void> } | null = null;

    before(async () => {
      await kit.start();
      source = await kit.source();
      expected = await kit.contents(kit.placeOf(source));
      await inRun(async (_test, run) => {
        stored = await backUp(source, run);
      });
    });
    after(async () => {
      await loaded?.copy.close();
      await loaded?.opened.close();
      await stored?.remove();
      await kit.stop();
    });

    const place = (target: string, source: SourceRef): string => kit.restoredPlace?.(target, source) ?? target;

    /** A run of its own; after it no child is left. */
    async function inRun(work: (test: TestRun, run: RunContext) => Promise<void>): Promise<void> {
      const opened = await openRun(kit.variables);
      const children = livingProcesses(opened.run.scratch);
      try {
        await work(opened, opened.run);
        assert.deepEqual(await newProcesses(opened.run.scratch, children), [], 'children are left');
      } finally {
        await opened.close();
      }
    }

    async function backUp(source: SourceRef, run: RunContext): Promise<StoredBackup> {
      const capture = await kit.engine.capture(source, run);
      try {
        return await storeCapture(capture, source, run);
      } finally {
        await capture.close();
      }
    }

    async function withBackup(
      source: SourceRef,
      work: (stored: StoredBackup, run: RunContext) => Promise<void>,
    ): Promise<void> {
      await inRun(async (_test, run) => {
        const stored = await backUp(source, run);
        try {
          await work(stored, run);
        } finally {
          await stored.remove();
        }
      });
    }

    /** With a copy of the backup, to be damaged. */
    async function withCopy(work: (copy: StoredBackup, run: RunContext) => Promise<void>): Promise<void> {
      await inRun(async (_test, run) => {
        const copy = await stored.copy();
        try {
          await work(copy, run);
        } finally {
          await copy.remove();
        }
      });
    }

    /** Loads, changes, compares. */
    async function differences(
      stored: StoredBackup,
      source: SourceRef,
      run: RunContext,
      reading: ReadingOptions,
      change: (copy: RestoredCopy) => Promise<void> = async () => undefined,
    ): Promise<readonly string[]> {
      const copy = await kit.engine.load(stored.backup(run, reading), source, run);
      try {
        await change(copy);
        return await copy.compare();
      } finally {
        await copy.close();
      }
    }

    /** With a restored copy, to be changed. */
    async function withLoaded(work: (copy: RestoredCopy) => Promise<void>): Promise<void> {
      const load = (run: RunContext): Promise<RestoredCopy> =>
        kit.engine.load(stored.backup(run, { through: 'child' }), source, run);
      if (!kit.keep) {
        await inRun(async (_test, run) => {
          const copy = await load(run);
          try {
            await work(copy);
          } finally {
            await copy.close();
          }
        });
        return;
      }
      if (!loaded) {
        const opened = await openRun(kit.variables);
        const copy = await load(opened.run);
        loaded = { copy, opened, putBack: await kit.keep(copy) };
      }
      await loaded.putBack();
      assert.deepEqual(await loaded.copy.compare(), [], 'not equal before it was changed');
      await work(loaded.copy);
    }

    async function restoreInto(
      stored: StoredBackup,
      source: SourceRef | null,
      run: RunContext,
      target: string,
      options: { overwrite?: boolean; reading?: ReadingOptions } = {},
    ): ReturnType<StreamingEngine['restore']> {
      const { overwrite = false, reading = { through: 'child' } } = options;
      return kit.engine.restore(stored.backup(run, reading), { target, only: [], overwrite }, source, run);
    }

    async function runScript(stored: StoredBackup, run: RunContext, target: string): Promise<void> {
      // As `core/restore-script` frames it, without sealing.
      const frame = 'plain() { cat "$VAULT/$1"; }\nall_stages_done() { :; }';
      const script = `${frame}\n${stored.result.restoreScript}`;
      await run.processes.run({
        program: 'sh',
        args: ['-eu', '-c', script],
        env: { VAULT: stored.folder, TARGET: target },
        cwd: stored.folder,
      });
    }

    test('inspect and capture name the same source', async () => {
      await inRun(async (_test, run) => {
        const facts = await kit.engine.inspect(source, run);
        assert.ok(facts.bytes === null || facts.bytes > 0);
        assert.notEqual(facts.version, '');
        const capture = await kit.engine.capture(source, run);
        await capture.close();
        assert.deepEqual(capture.identity, facts.identity);
      });
    });

    test('check finds nothing wrong with a good source, and names what is wrong with an absent one', async () => {
      await inRun(async (_test, run) => {
        const good = await lines(kit.engine.check(source, run));
        assert.ok(good.length > 0);
        assert.deepEqual(
          good.filter((line) => line.ok === false),
          [],
        );
        const bad = (await lines(kit.engine.check(await kit.absentSource(), run))).filter((line) => line.ok === false);
        assert.ok(bad.length > 0, 'an absent source passed the check');
        for (const line of bad) assert.ok(line.name && line.message && line.hint, JSON.stringify(line));
      });
    });

    for (const reading of READINGS)
      test(`capture → load → compare finds no difference, bytes from a ${reading.through}`, async () => {
        await inRun(async (_test, run) => {
          assert.deepEqual(await differences(stored, source, run, reading), []);
        });
      });

    for (const reading of READINGS)
      test(`capture → restore gives equal data back, bytes from a ${reading.through}`, async () => {
        await inRun(async (_test, run) => {
          const target = await kit.emptyTarget();
          const outcome = await restoreInto(stored, source, run, target, { reading });
          assert.equal(outcome.verified, true);
          assert.equal(await kit.contents(place(target, source)), expected);
        });
      });

    test('restores without a plan', async () => {
      await inRun(async (_test, run) => {
        const target = await kit.emptyTarget();
        assert.equal((await restoreInto(stored, null, run, target)).verified, true);
        assert.equal(await kit.contents(place(target, source)), expected);
      });
    });

    test('I6: restore.script gives equal data back with stock tools', async () => {
      await inRun(async (_test, run) => {
        const target = await kit.emptyTarget();
        await runScript(stored, run, target);
        assert.equal(await kit.contents(place(target, source)), expected);
      });
    });

    test('I11: restore.script does not write over what is there', async () => {
      await inRun(async (_test, run) => {
        const target = await kit.filledTarget();
        const filled = await kit.contents(target);
        await assert.rejects(runScript(stored, run, target), (error) => {
          // Refused in words, not by a shell that stumbled.
          assert.ok(error instanceof CommandFailed && ![126, 127].includes(error.exitCode ?? 127), String(error));
          assert.notEqual(error.stderr, '');
          return true;
        });
        assert.equal(await kit.contents(target), filled);
      });
    });

    test('the fingerprint is of the snapshot, not of what the source became while it was read', async () => {
      const source = await kit.source();
      await inRun(async (_test, run) => {
        const capture = await kit.engine.capture(source, run);
        let stored: StoredBackup | null = null;
        try {
          await kit.mutate(source);
          stored = await storeCapture(capture, source, run);
          assert.deepEqual(await differences(stored, source, run, { through: 'child' }), []);
        } finally {
          await capture.close();
          await stored?.remove();
        }
      });
    });

    test('what it says of a backup is complete: digest, measures, answers of all probes, times', async () => {
      const started = Date.now();
      await withBackup(source, async ({ result, backup }, run) => {
        assert.match(result.digest, /^[a-z]+[0-9]+$/);
        const measures = Object.values(result.measures);
        assert.ok(measures.length > 0 && measures.every((value) => Number.isSafeInteger(value) && value >= 0));
        assert.ok(measures.some((value) => value > 0));
        assert.deepEqual(
          result.probes.map((probe) => probe.name).sort(),
          Object.keys(source.settings.probes ?? {}).sort(),
        );
        const { manifest } = backup(run, { through: 'child' });
        const age = Date.parse(manifest.snapshotAt) - started;
        assert.ok(age > -2000 && age < 60_000, `snapshotAt is ${age} ms from the start`);
        assert.notDeepEqual(manifest.tools, {});
      });
    });

    test('an empty source is captured, proven as empty, and restored', async () => {
      const source = await kit.emptySource();
      const expected = await kit.contents(kit.placeOf(source));
      await withBackup(source, async (stored, run) => {
        assert.deepEqual(await differences(stored, source, run, { through: 'child' }), []);
        const target = await kit.emptyTarget();
        assert.equal((await restoreInto(stored, source, run, target)).verified, true);
        assert.equal(await kit.contents(place(target, source)), expected);
      });
    });

    test('I14: an absent source is unreachable, never an empty backup', async () => {
      const source = await kit.absentSource();
      await inRun(async (_test, run) => {
        await assert.rejects(kit.engine.inspect(source, run), withCode('source-unreachable'));
        await assert.rejects(backUp(source, run), withCode('source-unreachable'));
      });
    });

    test('odd names come back as they were', async () => {
      const source = await kit.oddSource();
      const expected = await kit.contents(kit.placeOf(source));
      await withBackup(source, async (stored, run) => {
        assert.deepEqual(await differences(stored, source, run, { through: 'child' }), []);
        const target = await kit.emptyTarget();
        await restoreInto(stored, source, run, target);
        assert.equal(await kit.contents(place(target, source)), expected);
      });
    });

    for (const [way, prepare] of Object.entries(kit.failures))
      test(`I2: a failure in the middle is a failure, not a small backup: ${way}`, async () => {
        const failing = await prepare();
        await inRun(async (_test, run) => {
          await assert.rejects(captureInStages(failing, run), isToldToPeople);
        });
      });

    for (const stage of ['capturing', 'captured', 'reading'] as const)
      test(`cancelled when ${stage}: rejects as cancelled, and no child lives on`, async () => {
        await inRun(async (opened, run) => {
          const children = livingProcesses(run.scratch);
          const at = async (now: Stage): Promise<void> => {
            if (now !== stage) return;
            if (stage === 'capturing') await firstProcess(run.scratch, children);
            opened.abort();
          };
          await assert.rejects(captureInStages({ source, at }, run), withCode('cancelled'));
        });
      });

    test('cancelled when loading: rejects as cancelled, and no child lives on', async () => {
      await inRun(async (opened, run) => {
        const children = livingProcesses(run.scratch);
        const loading = differences(stored, source, run, { through: 'child' });
        loading.catch(() => undefined);
        await firstProcess(run.scratch, children);
        opened.abort();
        await assert.rejects(loading, withCode('cancelled'));
      });
    });

    for (const [what, change] of Object.entries(kit.changes))
      test(`proof sees a restored copy that is not equal: ${what}`, async () => {
        await withLoaded(async (copy) => {
          await change(copy);
          const found = await copy.compare();
          assert.notDeepEqual(found, []);
          for (const difference of found) assert.notEqual(difference, '');
        });
      });

    for (const where of [0, 0.5, 1])
      test(`a byte changed in the vault, at ${where} of the artifact, is disproven, never green`, async () => {
        await withCopy(async (copy, run) => {
          await copy.damage(where);
          for (const reading of READINGS)
            await assert.rejects(differences(copy, source, run, reading), withCode('disproven'));
          const target = await kit.emptyTarget();
          await assert.rejects(restoreInto(copy, source, run, target), withCode('disproven'));
        });
      });

    test('a byte changed in a value is seen by the engine alone, without the stored hash', async () => {
      await withCopy(async (copy, run) => {
        await copy.damage(kit.marker);
        const trusting = { through: 'stream', trusting: true } as const;
        await neverGreen(() => differences(copy, source, run, trusting));
        const target = await kit.emptyTarget();
        await assert.rejects(restoreInto(copy, source, run, target, { reading: trusting }), withCode('disproven'));
      });
    });

    test('an artifact that ends half way is seen by the engine alone, without the stored hash', async () => {
      await withCopy(async (copy, run) => {
        await copy.halve();
        await neverGreen(() => differences(copy, source, run, { through: 'child', trusting: true }));
      });
    });

    test('I11: restore into a target that is not empty is refused, and nothing is changed there', async () => {
      await inRun(async (_test, run) => {
        const target = await kit.filledTarget();
        const filled = await kit.contents(target);
        await assert.rejects(restoreInto(stored, source, run, target), (error) => {
          withCode('target-not-empty')(error);
          assert.ok((error as HoldfastError).hint, 'no hint');
          return true;
        });
        assert.equal(await kit.contents(target), filled);
      });
    });

    test('I11: a look at a target says what a restore would refuse, and changes nothing', async () => {
      await inRun(async (_test, run) => {
        const look = async (target: string, overwrite: boolean): Promise<void> =>
          kit.engine.lookAtTarget(
            stored.backup(run, { through: 'child' }),
            { target, only: [], overwrite },
            source,
            run,
          );
        const filled = await kit.filledTarget();
        const before = await kit.contents(filled);
        await assert.rejects(look(filled, false), (error) => {
          withCode('target-not-empty')(error);
          assert.ok((error as HoldfastError).hint, 'no hint');
          return true;
        });
        await look(filled, true);
        assert.equal(await kit.contents(filled), before);
        const empty = await kit.emptyTarget();
        await look(empty, false);
        assert.deepEqual(await leftIn(run.scratch), []);
        assert.equal((await restoreInto(stored, source, run, empty)).verified, true);
        assert.equal(await kit.contents(place(empty, source)), expected);
      });
    });

    test('I11: with overwrite a filled target becomes equal to the source', async () => {
      await inRun(async (_test, run) => {
        const target = await kit.filledTarget();
        assert.equal((await restoreInto(stored, source, run, target, { overwrite: true })).verified, true);
        assert.equal(await kit.contents(place(target, source)), expected);
      });
    });

    if (kit.switchesAtTheEnd)
      test('I11: an overwriting restore that fails leaves the target as it was', async () => {
        await withCopy(async (copy, run) => {
          const target = await kit.filledTarget();
          const filled = await kit.contents(target);
          await copy.damage(0.5);
          await assert.rejects(restoreInto(copy, source, run, target, { overwrite: true }), withCode('disproven'));
          assert.equal(await kit.contents(target), filled);
        });
      });

    test('close leaves no process, and nothing in the scratch directory', async () => {
      await inRun(async (_test, run) => {
        const children = livingProcesses(run.scratch);
        const stored = await backUp(source, run);
        try {
          assert.deepEqual(await newProcesses(run.scratch, children), [], 'after the capture');
          assert.deepEqual(await leftIn(run.scratch), [], 'after the capture');
          assert.deepEqual(await differences(stored, source, run, { through: 'child' }), []);
          assert.deepEqual(await newProcesses(run.scratch, children), [], 'after the proof');
          assert.deepEqual(await leftIn(run.scratch), [], 'after the proof');
          await restoreInto(stored, source, run, await kit.emptyTarget());
          assert.deepEqual(await newProcesses(run.scratch, children), [], 'after the restore');
          assert.deepEqual(await leftIn(run.scratch), [], 'after the restore');
        } finally {
          await stored.remove();
        }
      });
    });

    if (kit.secrets?.length)
      test('I7: no secret in any argument list, log line, error or manifest', async () => {
        await inRun(async (opened, run) => {
          const watch = watchArguments(run.scratch);
          const said: string[] = [];
          try {
            const stored = await backUp(source, run);
            said.push(JSON.stringify(stored.backup(run, { through: 'child' }).manifest));
            await differences(stored, source, run, { through: 'child' });
            const outcome = await restoreInto(stored, source, run, await kit.emptyTarget());
            said.push(JSON.stringify(outcome));
            await stored.damage(0.5);
            await stored.halve();
            said.push(...(await words(() => differences(stored, source, run, { through: 'child' }))));
            const filled = await kit.filledTarget();
            said.push(...(await words(() => restoreInto(stored, source, run, filled))));
            await stored.remove();
            const absent = await kit.absentSource();
            said.push(...(await words(() => kit.engine.inspect(absent, run))));
            said.push(...(await words(() => backUp(absent, run))));
            said.push(JSON.stringify(await lines(kit.engine.check(absent, run))));
            said.push(JSON.stringify(await lines(kit.engine.check(source, run))));
          } finally {
            said.push(...watch.stop(), ...opened.lines);
          }
          for (const secret of kit.secrets ?? [])
            assert.deepEqual(
              said.filter((text) => text.includes(secret)),
              [],
              `${secret} was said`,
            );
        });
      });

    async function captureInStages({ source, at }: Failing, run: RunContext): Promise<void> {
      const capturing = kit.engine.capture(source, run);
      capturing.catch(() => undefined);
      await at('capturing');
      let capture: Capture;
      try {
        capture = await capturing;
      } catch (error) {
        await at('captured');
        throw error;
      }
      try {
        await at('captured');
        const stored = await storeCapture(capture, source, run, () => at('reading'));
        await stored.remove();
      } finally {
        await capture.close();
      }
      assert.deepEqual(await leftIn(run.scratch), [], 'plaintext is left');
    }
  });
}
