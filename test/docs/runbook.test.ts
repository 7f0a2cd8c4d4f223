import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ALARMS } from '#core/alarms';
import { page } from '#test/docs/documents';

const text = page('docs/runbook.md');

/** Alarm → what its section says. */
const sections = new Map(
  text
    .split(/^## /m)
    .slice(1)
    .map((part) => [part.split('\n')[0] ?? '', part.slice(part.indexOf('\n'))] as const)
    .filter(([name]) => /^[a-z-]+$/.test(name)),
);

describe('docs/runbook.md', () => {
  test('has a section for every alarm, in their order, and for no other', () => {
    assert.deepEqual(
      [...sections.keys()],
      ALARMS.map(({ name }) => name),
    );
  });

  test('each says what it means, what to look at and what to do, with commands', () => {
    for (const [name, said] of sections)
      for (const part of [/^\*\*Means:\*\* /m, /^\*\*Look:\*\* ?/m, /^\*\*Do:\*\*|^\| .* \| do \|$/m, /^```sh$/m])
        assert.match(said, part, name);
  });

  test('its table has the severity of each, what there is one for, whether it speaks, and what silence means', () => {
    const rows = [...text.matchAll(/^\| \[([a-z-]+)\]\(#\1\) \| (\w+) \| (\w+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$/gm)];
    assert.deepEqual(
      rows.map(([, name, severity, per, missing, speaks]) => ({
        name,
        severity,
        per,
        missing: missing?.includes('rings') ? 'breaching' : 'notBreaching',
        speaks: speaks === 'yes',
      })),
      ALARMS.map(({ name, severity, per, missing, speaks }) => ({ name, severity, per, missing, speaks })),
    );
  });
});
