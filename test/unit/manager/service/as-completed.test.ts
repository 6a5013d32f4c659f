import { expect, test } from "vitest";
import { asCompleted } from "../../../../manager/service/as-completed.ts";

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of source) all.push(item);
  return all;
}

test("results come in the order in which they are done", async () => {
  const gates = [Promise.withResolvers<string>(), Promise.withResolvers<string>(), Promise.withResolvers<string>()];
  const results = asCompleted([0, 1, 2], 3, (index) => gates[index]?.promise ?? Promise.reject(new Error("no gate")));
  const first = results.next();
  gates[2]?.resolve("third");
  expect((await first).value).toBe("third");
  gates[0]?.resolve("first");
  gates[1]?.resolve("second");
  expect(await collect(results)).toEqual(["first", "second"]);
});

test("no more are worked on at once than allowed", async () => {
  let now = 0;
  let most = 0;
  await collect(
    asCompleted(
      Array.from({ length: 20 }, (_, index) => index),
      3,
      async (index) => {
        most = Math.max(most, (now += 1));
        await new Promise(setImmediate);
        now -= 1;
        return index;
      },
    ),
  );
  expect(most).toBe(3);
});

test("what the work rejects with reaches whoever reads", async () => {
  await expect(collect(asCompleted([1], 1, () => Promise.reject(new Error("no"))))).rejects.toThrow("no");
});

test("nothing more is begun when the reader has gone", async () => {
  const begun: number[] = [];
  const gates = Array.from({ length: 10 }, () => Promise.withResolvers<undefined>());
  const items = gates.map((_, index) => index);
  const work = async (index: number): Promise<void> => {
    begun.push(index);
    await gates[index]?.promise;
  };
  gates[0]?.resolve(undefined);
  const results = asCompleted(items, 2, work);
  await results.next();
  await results.return(undefined);
  const begunByThen = begun.length;
  for (const gate of gates) gate.resolve(undefined);
  await new Promise(setImmediate);
  expect(begun).toHaveLength(begunByThen);
  expect(begunByThen).toBeLessThan(items.length);
});

test("nothing more is begun when one of them failed", async () => {
  const begun: number[] = [];
  const gate = Promise.withResolvers<undefined>();
  const work = async (index: number): Promise<void> => {
    begun.push(index);
    if (index === 0) throw new Error("no");
    await gate.promise;
  };
  await expect(collect(asCompleted([0, 1, 2, 3], 2, work))).rejects.toThrow("no");
  gate.resolve(undefined);
  await new Promise(setImmediate);
  expect(begun).toEqual([0, 1]);
});
