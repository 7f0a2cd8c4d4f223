import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { fenced, inlineCode, markdownTable, plainText } from '#core/markdown';
import { hereDocument, shellWord } from '#core/shell';
import { blocksOf } from '#test/jobs/follow-page';

const nasty = fc.string({
  unit: fc.constantFrom('`', '```', '\n', 'a', ' ', '|', '\\', "'", '$', 'END', '~', '\u001b'),
});

describe('words of others in Markdown and sh', () => {
  test('a fence holds any text, whole, and ends where it should', () => {
    fc.assert(
      fc.property(nasty, (text) => {
        const page = `before\n\n${fenced('text', text)}\n\n${fenced('sh', 'after')}\n`;
        const [first, second, ...more] = blocksOf(page);
        assert.equal(first?.text, text.endsWith('\n') ? text : `${text}\n`);
        assert.deepEqual([second?.text, more.length], ['after\n', 0]);
      }),
    );
  });

  test('code in a line stays in its line, and no backtick inside ends it', () => {
    assert.equal(inlineCode('plain'), '`plain`');
    assert.equal(inlineCode('a`b'), '``a`b``');
    assert.equal(inlineCode('`a'), '`` `a ``');
    assert.equal(inlineCode('two\nlines \u001b[31m'), '`two\\nlines \\u001b[31m`');
    assert.equal(inlineCode(''), '(empty)');
    fc.assert(
      fc.property(nasty, (text) => {
        const code = inlineCode(text);
        assert.doesNotMatch(code, /[\n\u001b]/);
        const [fence = ''] = /^`+/.exec(code) ?? [];
        if (text !== '') assert.ok(!code.slice(fence.length, -fence.length).split(/[^`]+/).includes(fence));
      }),
    );
  });

  test('markup in running text is shown, not obeyed; a bar does not end a cell', () => {
    assert.equal(plainText('a *b* [c](d) <e> `f`'), 'a \\*b\\* \\[c\\](d) \\<e\\> \\`f\\`');
    assert.equal(markdownTable(['a', 'b'], [['x|y', plainText('p|q')]]), '| a | b |\n|---|---|\n| x\\|y | p\\|q |');
  });

  test('a here document gives its command the very text, and a word stays one word', () => {
    const texts = fc.array(nasty, { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(texts, (bodies) => {
        const script = bodies
          .map((body) => `${hereDocument('cat', body)}\nprintf '%s\\0' ${shellWord(body)}`)
          .join('\n');
        const said = execFileSync('sh', ['-eu', '-c', script], { encoding: 'utf8' });
        const told = bodies.map((body) => `${body}${body === '' || body.endsWith('\n') ? '' : '\n'}${body}\0`);
        assert.equal(said, told.join(''));
      }),
      { numRuns: 20 },
    );
  });
});
