/**
 * What several sources give, as it comes; each is asked for its next when the one before was taken. Throws what the first of
 * them throws.
 */
export async function* merged<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<T> {
  const arrived: { item: T; taken: PromiseWithResolvers<undefined> }[] = [];
  let news = Promise.withResolvers<undefined>();
  let giving = sources.length;
  const pass = async (source: AsyncIterable<T>): Promise<void> => {
    for await (const item of source) {
      if (giving === 0) return;
      const taken = Promise.withResolvers<undefined>();
      arrived.push({ item, taken });
      news.resolve(undefined);
      await taken.promise;
    }
  };
  const all = Promise.all(sources.map(pass));
  const end = (): void => {
    giving = 0;
    news.resolve(undefined);
  };
  all.then(end, end);
  try {
    while (giving > 0 || arrived.length > 0) {
      const next = arrived.shift();
      if (next === undefined) {
        await news.promise;
        news = Promise.withResolvers();
      } else {
        yield next.item;
        next.taken.resolve(undefined);
      }
    }
    await all;
  } finally {
    giving = 0;
    for (const { taken } of arrived) taken.resolve(undefined);
  }
}
