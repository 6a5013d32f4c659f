import { describe, expect, test, vi } from "vitest";
import type { CacheStore } from "../../../agent/daemon/cache-store.ts";
import { Watches, type WatchSink } from "../../../agent/daemon/watches.ts";
import { Cache, type Caller } from "../../../shared/protocol/cache.ts";
import { MAX_TOMBSTONES } from "../../../shared/protocol/limits.ts";

const now = { wallMs: 1_000, uptimeMs: 1_000 };
const machine = { uuid: null, bootId: null, now: () => now };
const host: Caller = { setBy: "host", mayChange: () => true };
type Batch = Parameters<WatchSink["changed"]>[0];

/** Watches of a cache whose reader takes a batch only when told to. */
function slowReader() {
  const store = { cache: new Cache({ epoch: "00000000000000e0", limit: 1024 * 1024 }) };
  const batches: Batch[] = [];
  let take: () => void = () => undefined;
  const sink: WatchSink = {
    changed: (batch) => {
      batches.push(batch);
      return new Promise((resolve) => (take = resolve));
    },
    watchEnded: () => Promise.resolve(),
  };
  const watches = new Watches({ store: store as unknown as CacheStore, machine, maySee: () => true, sink });
  let changes = 0;
  const change = (work: (cache: Cache, messageId: string) => void): void => {
    const next = store.cache.clone();
    changes += 1;
    work(next, `m${changes}`);
    store.cache = next;
    watches.update();
  };
  const batchSent = () => vi.waitUntil(() => batches.length > 0);
  const takeBatch = async (): Promise<Batch | undefined> => {
    await batchSent();
    take();
    return batches.shift();
  };
  return { watches, change, batchSent, takeBatch };
}

function set(...keys: string[]) {
  return (cache: Cache, messageId: string): void => {
    cache.set({ messageId, entries: keys.map((key) => ({ key, value: "x" })) }, host, now);
  };
}

describe("a watch", () => {
  test("sends what is there, then what changes, and a key that changed twice once", async () => {
    const { watches, change, batchSent, takeBatch } = slowReader();
    change(set("a"));
    watches.add({});
    const first = await takeBatch();
    expect(first).toMatchObject({ resync: true, more: false, revision: 1, changes: [{ key: "a" }] });
    change(set("b"));
    await batchSent();
    change(set("c"));
    change(set("c"));
    const [second, third] = [await takeBatch(), await takeBatch()];
    expect(second?.changes).toMatchObject([{ key: "b", revision: 2 }]);
    expect(third?.changes).toMatchObject([{ key: "c", revision: 4 }]);
  });

  test("begins anew when more was deleted during one slow batch than is remembered", async () => {
    const { watches, change, batchSent, takeBatch } = slowReader();
    const keys = Array.from({ length: MAX_TOMBSTONES + 100 }, (_, index) => `k${index}`);
    change(set(...keys.slice(0, 1000)));
    change(set(...keys.slice(1000), "kept"));
    watches.add({});
    const mirror = new Set<string>();
    let batch: Batch | undefined;
    do {
      batch = await takeBatch();
      for (const { key } of batch?.changes ?? []) mirror.add(key);
    } while (batch?.more === true);
    change(set("pending"));
    await batchSent();
    for (const half of [keys.slice(0, 1000), keys.slice(1000)]) {
      change((cache, messageId) => cache.delete({ messageId, keys: half }, host));
    }
    await takeBatch();
    const anew = await takeBatch();
    expect(anew).toMatchObject({ resync: true });
    expect(
      anew?.changes
        .filter((entry) => !("deleted" in entry))
        .map(({ key }) => key)
        .sort(),
    ).toEqual(["kept", "pending"]);
  });
});
