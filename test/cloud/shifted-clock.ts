/**
 * Loaded by `--import` before a function or a task: its clock is off by so many milliseconds, and goes on. Files, servers
 * and the stand-ins keep the machine's.
 */
const shift = Number(process.env['HOLDFAST_TEST_CLOCK_SHIFT'] ?? '0');
if (!Number.isFinite(shift)) throw new Error('HOLDFAST_TEST_CLOCK_SHIFT wants milliseconds');

globalThis.Date = new Proxy(Date, {
  construct: (target, given, newTarget) =>
    Reflect.construct(target, given.length === 0 ? [target.now() + shift] : given, newTarget) as Date,
  get: (target, name, receiver) =>
    name === 'now' ? () => target.now() + shift : (Reflect.get(target, name, receiver) as unknown),
});
