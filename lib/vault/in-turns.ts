/**
 * Does the work for each item, so many at a time, in the order given. The first failure is thrown once what had begun
 * has ended; nothing further is begun then.
 */
export async function inTurns<T>(items: Iterable<T>, atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const waiting = items[Symbol.iterator]();
  let failed: { readonly error: unknown } | null = null;
  const worker = async (): Promise<void> => {
    for (let next = waiting.next(); !next.done && !failed; next = waiting.next()) {
      try {
        await work(next.value);
      } catch (error) {
        failed ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (failed) throw (failed as { readonly error: unknown }).error;
}
