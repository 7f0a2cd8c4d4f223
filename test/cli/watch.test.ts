import assert from 'node:assert/strict';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { good, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { type HttpSink, startHttpSink } from '#test/servers/http-sink';

interface WatchJson {
  readonly healthy: boolean;
  readonly open: readonly { key: string; source: string | null; severity: string; told: number }[];
  readonly changes: readonly { what: string; key: string; told: boolean }[];
  readonly delivered: readonly { key: string; channel: string; ok: boolean }[];
  readonly heartbeat: { ok: boolean } | null;
}

describe('watch, by the command line', () => {
  let small: SmallPlan;
  let sink: HttpSink;
  before(async () => {
    sink = await startHttpSink();
    small = await smallPlan({ HOOK: `${sink.url}/hook` });
    const { place } = small;
    small.plan();
    const text = readFileSync(place.path('holdfast.yaml'), 'utf8');
    place.write(
      'holdfast.yaml',
      `${text}alerts: { critical: [{ webhook: "\${HOOK}" }], heartbeat: "${sink.url}/alive" }\n`,
    );
    await good(place.run('check', '--create'));
    await good(place.run('backup', '--all'));
  });
  after(async () => {
    small.place.remove();
    await sink.stop();
  });

  const watched = async (): Promise<WatchJson & { code: number | null }> => {
    sink.onRequest(() => null);
    const ran = await small.place.run('watch', '--json');
    return { ...(ran.json().result as WatchJson), code: ran.code };
  };
  const paths = (): string[] => sink.received.map(({ path }) => path);

  test('nothing wrong: exit 0, nobody is told, the dead man’s service hears from it', async () => {
    const all = await watched();
    assert.deepEqual([all.code, all.healthy, all.open, all.changes], [0, true, [], []]);
    assert.deepEqual(paths(), ['/alive']);
    assert.match((await good(small.place.run('watch'))).stdout, /^all is well\n/);
  });

  test('something open: exit 3 as long as it is, one message; the words stand on the terminal', async () => {
    renameSync(small.place.path('vault'), small.place.path('gone'));
    const first = await watched();
    assert.equal(first.code, 3);
    assert.deepEqual(
      first.changes.map(({ what, key, told }) => [what, key, told]),
      [['opened', 'vault/here', true]],
    );
    assert.deepEqual(paths(), ['/hook', '/alive']);
    const second = await watched();
    assert.deepEqual([second.code, second.open.length, second.changes], [3, 1, []]);
    const terminal = await small.place.run('watch');
    assert.match(terminal.stdout, /^MEDIUM {4}vault here cannot be used: .*not mounted.* \(since .*, told\)$/m);
    renameSync(small.place.path('gone'), small.place.path('vault'));
    assert.deepEqual(
      (await watched()).changes.map(({ what, key }) => [what, key]),
      [['closed', 'vault/here']],
    );
  });

  test('I7: the webhook’s address is in no output and in no vault', async () => {
    writeFileSync(small.place.path('app.db'), 'no database');
    await small.place.run('backup', 'app');
    sink.onRequest(() => ({ status: 403 }));
    const ran = await small.place.run('watch', '--json', '--debug');
    const { changes, heartbeat } = ran.json().result as WatchJson;
    assert.deepEqual([changes[0]?.told, heartbeat], [false, null]);
    assert.doesNotMatch(`${ran.stdout}${ran.stderr}`, /\/hook/);
  });
});
