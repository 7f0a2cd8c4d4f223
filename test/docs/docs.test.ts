import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { EXIT } from '#core/errors';
import { planJsonSchema } from '#core/plan-json-schema';
import { loadPlan } from '#core/plan-load';
import { callsOf, deadLinks, fencesOf, page, pages, ROOT } from '#test/docs/documents';

const run = promisify(execFile);

async function help(...words: string[]): Promise<string> {
  return (await run(join(ROOT, 'bin/holdfast'), [...words, '--help'])).stdout;
}

/** Command → its options, with those that every command has. */
const commands = new Map<string, ReadonlySet<string>>();

before(async () => {
  const names = [...(await help()).matchAll(/^ {2}([a-z]+) \[options\]/gm)].map(([, name = '']) => name);
  assert.ok(names.length >= 10, 'the help lists the commands');
  const read = async (name: string): Promise<void> => {
    const text = await help(name);
    commands.set(name, new Set([...text.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map(([, option = '']) => option)));
  };
  await Promise.all(names.map(read));
});

/** Every error code of the sources. */
function codes(): string[] {
  const found = globSync('lib/**/*.ts', { cwd: ROOT }).flatMap((file) =>
    [...readFileSync(join(ROOT, file), 'utf8').matchAll(/^ {2}readonly code = '([a-z-]+)'/gm)].map(
      ([, code = '']) => code,
    ),
  );
  return [...new Set(found)].sort();
}

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | boolean;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly oneOf?: readonly SchemaNode[];
}

/** `sources.<name>.schedule[].cron` */
function planKeys(node: SchemaNode, path = ''): string[] {
  const below = typeof node.additionalProperties === 'object' ? node.additionalProperties : null;
  return [
    ...[...(node.anyOf ?? []), ...(node.oneOf ?? [])].flatMap((one) => planKeys(one, path)),
    ...(node.items ? planKeys(node.items, `${path}[]`) : []),
    ...(below ? planKeys(below, `${path}.<name>`) : []),
    ...Object.entries(node.properties ?? {}).flatMap(([key, inner]) => {
      const inside = path === '' ? key : `${path}.${key}`;
      return [inside, ...planKeys(inner, inside)];
    }),
  ];
}

describe('the documents', () => {
  test('docs/errors.md has every error code, and no other', () => {
    const documented = [...page('docs/errors.md').matchAll(/^### ([a-z-]+)$/gm)].map(([, code]) => code);
    assert.ok(codes().length > 30, 'codes were found in the sources');
    assert.deepEqual(documented.sort(), codes());
  });

  test('docs/errors.md has every exit code, and no other', () => {
    const documented = [...page('docs/errors.md').matchAll(/^\| (\d) \| /gm)].map(([, exit]) => Number(exit));
    assert.deepEqual(documented, Object.values(EXIT));
  });

  test('the help has every exit code, in the words of docs/errors.md', async () => {
    const words = (text: string): string => text.split(/[:,(]/)[0]?.trim() ?? '';
    const documented = [...page('docs/errors.md').matchAll(/^\| (\d) \| ([^|]+) \|/gm)];
    const told = new Map(
      [...(await help()).matchAll(/^ {2}(\d) {2}(.+)$/gm)].map(([, exit, text = '']) => [exit, text]),
    );
    assert.deepEqual(
      [...told.keys()],
      documented.map(([, exit]) => exit),
    );
    for (const [, exit, text = ''] of documented) assert.equal(words(told.get(exit) ?? ''), words(text));
  });

  test('docs/plan.md has every key of the plan, and no other', () => {
    const documented = [...page('docs/plan.md').matchAll(/^\| `([a-z][A-Za-z0-9.<>[\]]*)` \|/gm)].map(([, key]) => key);
    assert.deepEqual(documented.sort(), [...new Set(planKeys(planJsonSchema() as SchemaNode))].sort());
  });

  test('every command stands in README or docs', () => {
    const said = pages()
      .map(({ text }) => text)
      .join('\n');
    const silent = [...commands.keys()].filter((name) => !new RegExp(`holdfast ${name}\\b`).test(said));
    assert.deepEqual(silent, []);
  });

  test('every holdfast line in an sh block names a command and options that exist', () => {
    const calls = pages().flatMap((one) => callsOf(one).map((words) => ({ file: one.file, words })));
    assert.ok(calls.length > 30, 'calls were found in the documents');
    const wrong = calls.flatMap(({ file, words }) => {
      const [name = 'status'] = words.filter((word, at) => !word.startsWith('-') && words[at - 1] !== '--plan');
      const options = commands.get(name);
      if (!options) return [`${file}: no command ${name} (holdfast ${words.join(' ')})`];
      const unknown = words.filter((word) => word.startsWith('--') && !options.has(word.replace(/=.*/, '')));
      return unknown.map((option) => `${file}: holdfast ${name} has no ${option}`);
    });
    assert.deepEqual(wrong, []);
  });

  test('the plan in README loads', () => {
    const [plan = ''] = fencesOf(page('README.md'))
      .filter(({ language }) => language === 'yaml')
      .map(({ text }) => text);
    const key = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';
    assert.equal(loadPlan(plan.replaceAll('age1…', key), 'README.md').plan.name, 'archon72');
  });

  test('no link in README, docs or examples leads nowhere', () => {
    assert.deepEqual(pages().flatMap(deadLinks), []);
  });

  test('nothing in the documents names a machine of ours', () => {
    const named = pages().filter(({ text }) => /(?<!\/var)\/tmp\/|localhost:\d{5}/.test(text));
    assert.deepEqual(
      named.map(({ file }) => file),
      [],
    );
  });
});
