/**
 * Loaded by `--import` before a function or a task: its clock is off by so many milliseconds, and goes on. Files, servers
 * and the stand-ins keep the machine's. Long waits are shorter: of half a minute is left a second and a half.
 */
const shift = (): number => Number(process.env['HOLDFAST_TEST_CLOCK_SHIFT'] ?? '0');
if (!Number.isFinite(shift())) throw new Error('HOLDFAST_TEST_CLOCK_SHIFT wants milliseconds');
const LONG_MILLISECONDS = 10_000;
const SHORTER = 20;

globalThis.Date = new Proxy(Date, {
  construct: (target, given, newTarget) =>
    Reflect.construct(target, given.length === 0 ? [target.now() + shift()] : given, newTarget) as Date,
  get: (target, name, receiver) =>
    name === 'now' ? () => target.now() + shift() : (Reflect.get(target, name, receiver) as unknown),
});

globalThis.setTimeout = new Proxy(setTimeout, {
  apply: (target, self, [act, milliseconds, ...more]: Parameters<typeof setTimeout>) =>
    Reflect.apply(target, self, [
      act,
      (milliseconds ?? 0) < LONG_MILLISECONDS ? milliseconds : Number(milliseconds) / SHORTER,
      ...more,
    ]) as NodeJS.Timeout,
});
