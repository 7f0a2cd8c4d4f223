/**
 * How much more processor time a work takes of `large` things than of `small` ones. On a slow or busy machine both are
 * slower, so what is asserted of it holds anywhere: times themselves are measured by `npm run bench`.
 */
export function growth<T>(make: (count: number) => T, work: (things: T) => void, small: number, large: number): number {
  const [few, many] = [make(small), make(large)];
  const least = (things: T): number =>
    Math.min(
      ...[1, 2].map(() => {
        const began = process.cpuUsage();
        work(things);
        const { user, system } = process.cpuUsage(began);
        return user + system;
      }),
    );
  least(few);
  return least(many) / least(few);
}
