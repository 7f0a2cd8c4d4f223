import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatSeconds, formatTook, parseDuration } from '#core/duration';
import { formatBytes, parseSize } from '#core/size';

test('durations in seconds', () => {
  const table: [string, number][] = [
    ['45s', 45],
    ['5m', 300],
    ['1h', 3600],
    ['7d', 604_800],
    ['4w', 2_419_200],
    ['12mo', 31_104_000],
    ['7y', 220_752_000],
    ['forever', Number.POSITIVE_INFINITY],
  ];
  for (const [text, seconds] of table) assert.equal(parseDuration(text)?.seconds, seconds, text);
  for (const text of ['', '5', 'm', '4 weaks', '4 w', '-1d', '0d', '1.5h', '1D', '1h30m', ' 1h', '9999999d']) {
    assert.equal(parseDuration(text), null, text);
  }
});

test('how long something took: a tenth below ten seconds, so that nothing ever took "0s"', () => {
  for (const [seconds, text] of [
    [0.043, '0.0s'],
    [0.37, '0.4s'],
    [9.94, '9.9s'],
    [9.96, '10s'],
    [64, '1m 4s'],
  ] as const)
    assert.equal(formatTook(seconds), text);
});

test('seconds for people: the two largest units', () => {
  const table: [number, string][] = [
    [0, '0s'],
    [45, '45s'],
    [3600, '1h'],
    [5400, '1h 30m'],
    [93_780, '1d 2h'],
    [86_460, '1d'],
    [Number.POSITIVE_INFINITY, 'forever'],
  ];
  for (const [seconds, text] of table) assert.equal(formatSeconds(seconds), text);
});

test('sizes in bytes, decimal and binary', () => {
  const table: [string, number][] = [
    ['500GB', 5e11],
    ['2 TB', 2e12],
    ['64MiB', 67_108_864],
    ['1.5KB', 1500],
    ['7B', 7],
  ];
  for (const [text, bytes] of table) assert.equal(parseSize(text), bytes, text);
  for (const text of ['', '5', '5 gigs', '5gb', '-5GB', '5  GB']) assert.equal(parseSize(text), null, text);
});

test('bytes for people', () => {
  const table: [number, string][] = [
    [0, '0 B'],
    [999, '999 B'],
    [1200, '1.2 KB'],
    [12_345, '12 KB'],
    [5e11, '500 GB'],
    [2.5e12, '2.5 TB'],
  ];
  for (const [bytes, text] of table) assert.equal(formatBytes(bytes), text);
});
