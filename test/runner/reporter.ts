import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

/** One line of JSON that a test file's process writes for the runner. */
export type Line =
  | { readonly kind: 'began'; readonly title: string }
  | { readonly kind: 'passed' | 'skipped'; readonly title: string }
  | { readonly kind: 'failed'; readonly title: string; readonly error: string }
  | { readonly kind: 'end' };

/** Node's test events as lines; `end` is written only when the file's tests all came to their ends. */
export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const path: string[] = [];
  for await (const event of events) {
    const line = lineOf(event, path);
    if (line) yield `${JSON.stringify(line)}\n`;
  }
}

function lineOf(event: TestEvent, path: string[]): Line | null {
  switch (event.type) {
    case 'test:start':
      path.length = event.data.nesting;
      path.push(event.data.name);
      return null;
    case 'test:dequeue':
      return { kind: 'began', title: event.data.name };
    case 'test:pass': {
      const { skip, todo, details } = event.data;
      if (skip !== undefined || todo !== undefined) return { kind: 'skipped', title: titleOf(event.data, path) };
      return details.type === 'suite' ? null : { kind: 'passed', title: titleOf(event.data, path) };
    }
    case 'test:fail': {
      const { error } = event.data.details;
      // The subtest itself has been told.
      if (failureType(error) === 'subtestsFailed') return null;
      return { kind: 'failed', title: titleOf(event.data, path), error: inspect(error.cause ?? error, { depth: 6 }) };
    }
    case 'test:diagnostic':
      // Node's way of saying that something was thrown or rejected outside of every test.
      if (!event.data.message.startsWith('Error: ')) return null;
      return { kind: 'failed', title: 'outside of the tests', error: event.data.message };
    case 'test:summary':
      return { kind: 'end' };
    default:
      return null;
  }
}

function titleOf(data: { readonly name: string; readonly nesting: number }, path: readonly string[]): string {
  return [...path.slice(0, data.nesting), data.name].join(' › ');
}

function failureType(error: unknown): unknown {
  return (error as { readonly failureType?: unknown }).failureType;
}
