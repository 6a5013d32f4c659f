/** Works on many things at once, so many at a time, and yields each result as it comes. */
export async function* asCompleted<T, R>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const done: R[] = [];
  const { length } = items;
  let next = 0;
  let news = Promise.withResolvers<undefined>();
  const worker = async (): Promise<void> => {
    for (let item = items[next]; item !== undefined; item = items[next]) {
      next += 1;
      done.push(await work(item));
      news.resolve(undefined);
    }
  };
  const all = Promise.all(Array.from({ length: Math.min(atOnce, length) }, worker));
  // Awaited at the end; what it rejects with in between must not count as unhandled.
  all.catch(() => undefined);
  for (let yielded = 0; yielded < length; yielded += 1) {
    while (done.length === 0) {
      news = Promise.withResolvers();
      await Promise.race([news.promise, all]);
    }
    yield done.shift() as R;
  }
  await all;
}
