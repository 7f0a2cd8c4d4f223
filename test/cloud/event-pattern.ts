/**
 * As EventBridge matches: each field of the pattern must be in the event, each list says what its value may be, and of a
 * list in the event one is enough. Throws for what a pattern of ours has never said: a test must not guess.
 */
export function matchesPattern(pattern: unknown, event: unknown): boolean {
  if (Array.isArray(pattern)) {
    const values = Array.isArray(event) ? (event as unknown[]) : [event];
    return pattern.some((one) => values.some((value) => matchesOne(one, value)));
  }
  if (pattern === null || typeof pattern !== 'object')
    throw new Error(`a pattern wants a list for ${JSON.stringify(pattern)}`);
  return Object.entries(pattern).every(([key, inner]) => {
    if (key === '$or') throw new Error('the pattern says $or, which is not known here');
    // A list of objects matches when one of them does.
    const inside = Array.isArray(event) ? (event as unknown[]) : [event];
    return inside.some((one) => matchesPattern(inner, (one as Record<string, unknown> | null | undefined)?.[key]));
  });
}

function matchesOne(wanted: unknown, value: unknown): boolean {
  if (wanted === null || typeof wanted !== 'object') return wanted === value;
  const [[operator, argument] = [], ...more] = Object.entries(wanted);
  if (more.length > 0) throw new Error(`want one operator, got ${JSON.stringify(wanted)}`);
  switch (operator) {
    case 'exists':
      return (value !== undefined) === argument;
    case 'prefix':
      return typeof value === 'string' && value.startsWith(String(argument));
    case 'suffix':
      return typeof value === 'string' && value.endsWith(String(argument));
    case 'anything-but':
      return value !== undefined && ![argument].flat().includes(value);
    default:
      throw new Error(`the pattern says ${JSON.stringify(wanted)}, which is not known here`);
  }
}
