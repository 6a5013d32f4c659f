/** Works on many things at once, so many at a time, and yields each result as it comes. Begins nothing more when nobody reads on. */
export async function* asCompleted<T, R>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const done: R[] = [];
  const left = items.values();
  let isWanted = true;
  let news = Promise.withResolvers<undefined>();
  const worker = async (): Promise<void> => {
    while (isWanted) {
      const next = left.next();
      if (next.done === true) return;
      done.push(await work(next.value));
      news.resolve(undefined);
    }
  };
  const all = Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  // Awaited at the end; what it rejects with in between must not count as unhandled.
  all.catch(() => undefined);
  try {
    let toCome = items.length;
    while (toCome > 0) {
      while (done.length === 0) {
        news = Promise.withResolvers();
        await Promise.race([news.promise, all]);
      }
      toCome -= 1;
      yield done.shift() as R;
    }
    await all;
  } finally {
    isWanted = false;
  }
}
