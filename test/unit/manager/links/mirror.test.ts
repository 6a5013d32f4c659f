import { describe, expect, test } from "vitest";
import { Mirror } from "../../../../manager/links/mirror.ts";
import type { ChangedBatch } from "../../../../shared/api/schemas.ts";
import { RemoteProtocolError } from "../../../../shared/protocol/errors.ts";
import { MAX_CACHE_LIMIT, MAX_TOMBSTONES } from "../../../../shared/protocol/limits.ts";
import type { WireChange, WireEntry } from "../../../../shared/protocol/message.ts";

const epoch = "00000000000000aa";
const anyKey: (key: string) => boolean = () => true;

function entry(key: string, value: string, revision: number, more: Partial<WireEntry> = {}): WireEntry {
  return { key, value, setBy: "guest", setAt: "2026-11-21T00:00:00.000Z", ageMs: 1_000, revision, ...more };
}

function deletion(key: string, revision: number): WireChange {
  return { key, deleted: true, revision };
}

function batch(revision: number, changes: WireChange[], more: Partial<ChangedBatch> = {}): ChangedBatch {
  return { epoch, revision, more: false, resync: false, changes, ...more };
}

function snapshot(revision: number, changes: WireChange[], more: Partial<ChangedBatch> = {}): ChangedBatch {
  return batch(revision, changes, { resync: true, ...more });
}

function mirrorOf(...batches: ChangedBatch[]): Mirror {
  const mirror = new Mirror();
  for (const one of batches) mirror.apply(one, 0);
  return mirror;
}

const keysOf = (mirror: Mirror): string[] => mirror.list("", 0).map(({ key }) => key);

describe("a mirror", () => {
  test("holds what a snapshot and the changes after it say", () => {
    const mirror = mirrorOf(
      snapshot(2, [entry("a", "1", 1), entry("b", "1", 2)]),
      batch(4, [deletion("a", 3), entry("c", "1", 4)]),
    );
    expect(keysOf(mirror)).toEqual(["b", "c"]);
    expect(mirror.cursor).toEqual({ epoch, revision: 4 });
  });

  test("is as it was until a snapshot of several batches is whole", () => {
    const mirror = mirrorOf(snapshot(1, [entry("old", "1", 1)]), snapshot(1, [entry("a", "1", 1)], { more: true }));
    expect(keysOf(mirror)).toEqual(["old"]);
    mirror.apply(batch(2, [entry("b", "1", 2)]), 0);
    expect(keysOf(mirror)).toEqual(["a", "b"]);
  });

  test("lets its entries grow older", () => {
    const mirror = mirrorOf(snapshot(1, [entry("a", "1", 1, { ttlMs: 5_000 })]));
    expect(mirror.get("a", 2_000)).toMatchObject({ ageMs: 3_000, ttlMs: 3_000 });
    expect(mirror.get("a", 60_000)).toMatchObject({ ttlMs: 0 });
  });

  test("refuses more than any cache can hold, whole or bit by bit, and stays as it was", () => {
    const half = "x".repeat(MAX_CACHE_LIMIT / 2);
    const mirror = mirrorOf(snapshot(1, [entry("a", half, 1)]));
    expect(() => {
      mirror.apply(batch(2, [entry("b", half, 2)]), 0);
    }).toThrow(RemoteProtocolError);
    expect(() => {
      mirror.apply(snapshot(2, [entry("b", half, 2), entry("c", half, 2)], { more: true }), 0);
    }).toThrow(RemoteProtocolError);
    expect(keysOf(mirror)).toEqual(["a"]);
    mirror.apply(batch(2, [entry("a", half, 2)]), 0);
    expect(mirror.bytes).toBe(half.length + 8);
  });

  test("refuses more keys than it can hold, however short they are", () => {
    const keys = Array.from({ length: 32_769 }, (_, index) => entry(`k${index}`, "", 1));
    expect(() => mirrorOf(snapshot(1, keys))).toThrow(RemoteProtocolError);
  });

  test("forgets what came of a snapshot when another watch begins", () => {
    const mirror = mirrorOf(snapshot(1, [entry("old", "1", 1)]), snapshot(2, [entry("a", "1", 2)], { more: true }));
    mirror.abandonSnapshot();
    mirror.apply(batch(3, [entry("b", "1", 3)]), 0);
    expect(keysOf(mirror)).toEqual(["b", "old"]);
  });

  test("refuses changes of an epoch it has no snapshot of", () => {
    const mirror = mirrorOf(snapshot(1, []));
    expect(() => {
      mirror.apply(batch(2, [], { epoch: "00000000000000bb" }), 0);
    }).toThrow(RemoteProtocolError);
  });

  test("gives what is to be saved once: keys that changed, or everything after a snapshot", () => {
    const mirror = mirrorOf(snapshot(2, [entry("a", "1", 1), entry("b", "1", 2)]));
    expect(mirror.takeUnsaved()).toMatchObject({ isReset: true, set: [{}, {}], deleted: [] });
    expect(mirror.takeUnsaved()).toBeUndefined();
    mirror.apply(batch(4, [deletion("a", 3), entry("b", "2", 4)]), 0);
    expect(mirror.takeUnsaved()).toMatchObject({ isReset: false, set: [{ entry: { key: "b" } }], deleted: ["a"] });
  });

  test("that was saved goes on where it was, with its watch", () => {
    const agent = undefined as never;
    const entries = [{ entry: entry("a", "1", 7), seenAt: 0 }];
    const mirror = Mirror.load({ vmId: "", epoch, revision: 7, limitBytes: 8192, asOf: 0, agent, entries });
    expect(mirror.resumeFrom).toEqual({ epoch, revision: 7 });
    expect(mirror.get("a", 0)?.value).toBe("1");
    expect(new Mirror().resumeFrom).toBeUndefined();
  });
});

describe("a watcher of a mirror", () => {
  const read = (mirror: Mirror, place: ReturnType<Mirror["startWatch"]>, prefix = "", maySee = anyKey) => {
    const next = mirror.nextBatch(place, prefix, maySee, 0);
    return next && { resync: next.resync, keys: next.changes.map(({ key }) => key), revision: next.revision };
  };

  test("gets a snapshot first, then changes, then nothing", () => {
    const mirror = mirrorOf(snapshot(2, [entry("a", "1", 1), entry("b", "1", 2)]));
    const place = mirror.startWatch(undefined);
    expect(read(mirror, place)).toEqual({ resync: true, keys: ["a", "b"], revision: 2 });
    expect(read(mirror, place)).toBeUndefined();
    mirror.apply(batch(3, [deletion("a", 3)]), 0);
    expect(read(mirror, place)).toEqual({ resync: false, keys: ["a"], revision: 3 });
  });

  test("resumes after a revision of the same epoch, and is given a snapshot for another one", () => {
    const mirror = mirrorOf(snapshot(1, []), batch(2, [entry("a", "1", 2)]), batch(3, [entry("b", "1", 3)]));
    expect(read(mirror, mirror.startWatch({ epoch, revision: 2 }))).toEqual({
      resync: false,
      keys: ["b"],
      revision: 3,
    });
    const other = mirror.startWatch({ epoch: "00000000000000bb", revision: 2 });
    expect(read(mirror, other)).toMatchObject({ resync: true, keys: ["a", "b"] });
  });

  test("that resumes from before what is remembered of deletions gets a snapshot", () => {
    const mirror = mirrorOf(snapshot(5, [entry("a", "1", 5)]));
    expect(read(mirror, mirror.startWatch({ epoch, revision: 4 }))?.resync).toBe(true);
  });

  describe("that knows more than was saved before a crash of the manager", () => {
    const saved = (): Mirror => {
      const agent = undefined as never;
      const entries = [{ entry: entry("a", "1", 7), seenAt: 0 }];
      return Mirror.load({ vmId: "", epoch, revision: 7, limitBytes: 8192, asOf: 0, agent, entries });
    };

    test("is told of nothing older, and goes on when the guest was heard", () => {
      const mirror = saved();
      const place = mirror.startWatch({ epoch, revision: 9 });
      expect(read(mirror, place)).toBeUndefined();
      mirror.apply(batch(8, [entry("b", "1", 8)], { more: true }), 0);
      expect(read(mirror, place)).toBeUndefined();
      mirror.apply(batch(10, [entry("a", "2", 9), entry("c", "1", 10)]), 0);
      expect(read(mirror, place)).toEqual({ resync: false, keys: ["c"], revision: 10 });
    });

    test("gets a snapshot when the guest does not know of it either", () => {
      const heard = saved();
      const place = heard.startWatch({ epoch, revision: 9 });
      heard.apply(batch(8, [entry("b", "1", 8)]), 0);
      expect(read(heard, place)).toEqual({ resync: true, keys: ["a", "b"], revision: 8 });
      const unchanged = saved();
      const other = unchanged.startWatch({ epoch, revision: 9 });
      unchanged.guestIsAt({ epoch, revision: 7 });
      expect(read(unchanged, other)).toEqual({ resync: true, keys: ["a"], revision: 7 });
    });

    test("gets a snapshot when the guest began a new epoch", () => {
      const mirror = saved();
      const place = mirror.startWatch({ epoch, revision: 9 });
      mirror.apply(snapshot(1, [entry("n", "1", 1)], { epoch: "00000000000000bb" }), 0);
      expect(read(mirror, place)).toEqual({ resync: true, keys: ["n"], revision: 1 });
    });
  });

  test("that slept through more deletions than are remembered gets a snapshot", () => {
    const mirror = mirrorOf(snapshot(1, [entry("kept", "1", 1)]));
    const place = mirror.startWatch(undefined);
    read(mirror, place);
    for (let index = 0; index <= MAX_TOMBSTONES; index += 1) {
      mirror.apply(batch(2 + index, [deletion(`gone-${index}`, 2 + index)]), 0);
    }
    expect(read(mirror, place)?.resync).toBe(true);
  });

  test("is told to forget everything when the guest began a new epoch", () => {
    const mirror = mirrorOf(snapshot(1, [entry("a", "1", 1)]));
    const place = mirror.startWatch(undefined);
    read(mirror, place);
    mirror.apply(snapshot(1, [entry("b", "1", 1)], { epoch: "00000000000000bb" }), 0);
    expect(read(mirror, place)).toEqual({ resync: true, keys: ["b"], revision: 1 });
  });

  test("sees only keys with its prefix that it may see", () => {
    const mirror = mirrorOf(snapshot(3, [entry("app.a", "1", 1), entry("app.b", "1", 2), entry("other", "1", 3)]));
    expect(read(mirror, mirror.startWatch(undefined), "app.", (key) => key !== "app.b")?.keys).toEqual(["app.a"]);
  });

  test("of a large mirror gets it in pages, each key once", () => {
    const value = "x".repeat(30_000);
    const mirror = mirrorOf(
      snapshot(
        20,
        Array.from({ length: 20 }, (_, index) => entry(`k${index}`, value, index + 1)),
      ),
    );
    const place = mirror.startWatch(undefined);
    const seen: string[] = [];
    for (let page = read(mirror, place); page !== undefined; page = read(mirror, place)) seen.push(...page.keys);
    expect(seen).toHaveLength(20);
    expect(new Set(seen).size).toBe(20);
  });
});
