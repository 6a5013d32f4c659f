import { describe, expect, it } from "vitest";
import { Cache, type Caller, type Position } from "../../../shared/protocol/cache.ts";
import { encodeFrame } from "../../../shared/protocol/frame.ts";
import {
  MAX_CACHE_LIMIT,
  MAX_ENTRIES_PER_CHANGE,
  MAX_PAYLOAD,
  MAX_TOMBSTONES,
  MAX_VALUE,
  REMEMBERED_ANSWERS,
} from "../../../shared/protocol/limits.ts";
import {
  type NewEntry,
  notifications,
  requests,
  type Result,
  type WireChange,
  type WireEntry,
} from "../../../shared/protocol/message.ts";
import { at, BOOTED_AT_MS, GUEST, HOST, KeptCache, refusal } from "./caches.ts";
import { EPOCH } from "./sessions.ts";

const OTHER_EPOCH = "0000000000000000";
const LONGEST_ID = "x".repeat(64);

/** The most expensive entries: every byte of key and value escaped, every flag set. */
function costlyEntries(count: number, valueBytes: number): NewEntry[] {
  return Array.from({ length: count }, (_, index) => {
    const key = `${'"'.repeat(250)}${index.toString().padStart(6, "0")}`;
    return { key, value: "\u0001".repeat(valueBytes), ttlMs: Number.MAX_SAFE_INTEGER, readOnly: true };
  });
}

function fillWith(entries: NewEntry[], limit = MAX_CACHE_LIMIT): KeptCache {
  const kept = new KeptCache({ limit });
  for (let first = 0; first < entries.length; first += MAX_ENTRIES_PER_CHANGE) {
    const messageId = `${first}`.padStart(LONGEST_ID.length, "x");
    const some = entries.slice(first, first + MAX_ENTRIES_PER_CHANGE);
    kept.change((cache) => cache.set({ messageId, entries: some }, HOST, at(0)));
  }
  for (const { key } of entries) kept.current.markRead(key);
  return kept;
}

function frameOfList(result: Result<"list">): number {
  return encodeFrame({ jsonrpc: "2.0", id: "h1111111111111111.9007199254740991", result }).length;
}

function allPages(cache: Cache): { pages: number; entries: WireEntry[]; largest: number } {
  const entries: WireEntry[] = [];
  let after: string | undefined;
  for (let pages = 1, largest = 0; ; pages += 1) {
    const page = cache.list(after === undefined ? {} : { after }, at(0));
    expect(requests.list.result.safeParse(page).success).toBe(true);
    entries.push(...page.entries);
    largest = Math.max(largest, frameOfList(page));
    if (page.next === undefined) return { pages, entries, largest };
    after = page.next;
  }
}

function allBatches(cache: Cache, since = 0): { changes: WireChange[]; batches: number; largest: number } {
  const changes: WireChange[] = [];
  let position: Position = { revision: since };
  for (let batches = 1, largest = 0; ; batches += 1) {
    const batch = cache.changesAfter(position, "", at(0));
    const { revision } = batch.reached;
    const params = { session: EPOCH, watch: 9999, epoch: EPOCH, revision, more: batch.more, resync: true };
    const full = { ...params, changes: batch.changes };
    expect(notifications.changed.safeParse(full).success).toBe(true);
    largest = Math.max(largest, encodeFrame({ jsonrpc: "2.0", method: "changed", params: full }).length);
    changes.push(...batch.changes);
    if (!batch.more) return { changes, batches, largest };
    position = batch.reached;
  }
}

function keysOf(changes: readonly { key: string }[]): string[] {
  return changes.map(({ key }) => key);
}

describe("the limit", () => {
  it("is what the lines of all entries may count together, to the byte", () => {
    const kept = new KeptCache();
    kept.set({ a: "x".repeat(4000), b: "x".repeat(8192 - 8 - 8 - 4000) });
    expect(kept.current.usedBytes).toBe(8192);
    const refused = refusal(() => kept.set({ c: "" }));
    expect(refused).toMatchObject({ code: "over-limit", needed: 8, free: 0, limit: 8192 });
    expect(refused.message).toBe("over the limit of the cache: 8 bytes needed, 0 free, limit 8192");
    expect(kept.keys()).toEqual(["a", "b"]);
    expect(kept.current.cursor.revision).toBe(1);
  });

  it("counts a secret with its value, and a lost one still", () => {
    const kept = new KeptCache();
    kept.set([{ key: "token", value: "s3cret", secret: true }]);
    const used = kept.current.usedBytes;
    expect(used).toBe('{"token":"s3cret"}'.length);
    const contents = kept.current.contents();
    const lost = { ...contents, entries: contents.entries.map((entry) => ({ ...entry, value: null })) };
    expect(new Cache({ epoch: OTHER_EPOCH, contents: lost }).usedBytes).toBe(used);
  });

  it("stays right over many changes of all kinds", () => {
    const kept = new KeptCache();
    kept.set({ a: "1", b: "22", c: "333" });
    kept.set({ b: "4444", d: "" });
    kept.set([{ key: "e", value: "x", ttlMs: 10 }]);
    kept.delete("a", "nothing");
    kept.change((cache) => cache.expire(at(10)));
    const counted = [...kept.current.entries()].reduce((sum, { bytes }) => sum + bytes, 0);
    expect(kept.current.usedBytes).toBe(counted);
    expect(kept.current.usedBytes).toBe('{"b":"4444"}{"c":"333"}{"d":""}'.length);
  });

  it("of a socket's quota counts only the keys it may change", () => {
    const kept = new KeptCache();
    kept.set({ other: "x".repeat(1000) });
    const caller: Caller = { setBy: "guest", mayChange: (key) => key.startsWith("app."), quota: 30 };
    kept.set({ "app.a": "1234567" }, { caller });
    expect(refusal(() => kept.set({ "app.b": "12345678" }, { caller })).message).toContain("quota of this socket");
    kept.set({ "app.a": "x".repeat(18) }, { caller });
  });
});

describe("a change", () => {
  it("that is refused leaves no trace in the cache it was cloned from", () => {
    const kept = new KeptCache({ limit: 100 });
    kept.set({ a: "1", b: "2" });
    const before = JSON.stringify(kept.current.contents());
    const messageId = kept.newMessageId();
    const entries = [
      { key: "a", value: "3" },
      { key: "c", value: "x".repeat(100) },
    ];
    refusal(() => kept.change((cache) => cache.set({ messageId, entries }, HOST, at(0))));
    refusal(() => kept.change((cache) => cache.set({ messageId, entries, ifAbsent: true }, HOST, at(0))));
    expect(JSON.stringify(kept.current.contents())).toBe(before);
  });

  it("can be repeated with its messageId until a few hundred others came", () => {
    const kept = new KeptCache();
    const params = { messageId: "first", entries: [{ key: "a", value: "1" }] };
    const setFirst = (): Result<"set"> => kept.change((cache) => cache.set(params, HOST, at(0)));
    const answer = setFirst();
    for (let count = 1; count < REMEMBERED_ANSWERS; count += 1) kept.set({ a: `${count}` });
    expect(setFirst()).toEqual(answer);
    kept.set({ a: "last" });
    expect(setFirst().revision).toBe(REMEMBERED_ANSWERS + 2);
  });

  it("is known to be remembered when it was answered after the revision that the cache names", () => {
    const kept = new KeptCache();
    const since = (): number[] => [kept.current.answersSince("host"), kept.current.answersSince("guest")];
    for (let count = 1; count < REMEMBERED_ANSWERS; count += 1) kept.set({ a: `${count}` });
    kept.set({ b: "1" }, { caller: GUEST });
    expect(since()).toEqual([0, 0]);
    kept.set({ a: "the first that may be followed by one too many" });
    expect(since()).toEqual([1, 0]);
    for (let count = 0; count < 3; count += 1) kept.set({ a: `last ${count}` });
    expect(since()).toEqual([3, 0]);
    const restarted = new KeptCache({ epoch: OTHER_EPOCH, contents: kept.current.contents() });
    expect(restarted.current.answersSince("host")).toBe(3);
  });

  it("that found nothing to change pushes out others, but none that was made later", () => {
    const kept = new KeptCache();
    for (let count = 0; count < 10; count += 1) kept.set({ a: `${count}` });
    for (let count = 0; count < REMEMBERED_ANSWERS; count += 1) kept.delete("nothing");
    expect([kept.current.cursor.revision, kept.current.answersSince("host")]).toEqual([10, 9]);
  });

  it("can be repeated after the agent was restarted in between", () => {
    const kept = new KeptCache();
    const params = { messageId: "m", entries: [{ key: "a", value: "1" }] };
    const answer = kept.change((cache) => cache.set(params, HOST, at(0)));
    const restarted = new KeptCache({ epoch: OTHER_EPOCH, contents: kept.current.contents() });
    expect(restarted.change((cache) => cache.set(params, HOST, at(5)))).toEqual(answer);
    expect(restarted.current.cursor).toEqual({ epoch: OTHER_EPOCH, revision: 1 });
  });

  it("of many deleted keys names as many of them as an answer has room for", () => {
    const entries = costlyEntries(1900, 0);
    const kept = fillWith(entries);
    const result = kept.change((cache) => cache.clear({ messageId: LONGEST_ID }, HOST));
    expect(kept.current.size).toBe(0);
    expect(result.more).toBe(true);
    expect(requests.clear.result.safeParse(result).success).toBe(true);
    expect(encodeFrame({ jsonrpc: "2.0", id: "h1111111111111111.1", result }).length).toBeLessThan(MAX_PAYLOAD);
  });

  it("of a default cache's worth of shortest keys names them all", () => {
    const kept = new KeptCache();
    const entries = Array.from({ length: 744 }, (_, index) => ({ key: index.toString(36), value: "" }));
    kept.set(entries.slice(0, 700));
    const result = kept.change((cache) => cache.clear({ messageId: "c" }, HOST));
    expect(result.deleted).toHaveLength(700);
    expect(result).not.toHaveProperty("more");
  });
});

describe("conditions after a restart", () => {
  it("refuse what may have been deleted before it, and accept what is known", () => {
    const kept = new KeptCache();
    kept.set({ a: "1" });
    kept.set({ b: "1" });
    kept.delete("b");
    const restarted = new KeptCache({ epoch: OTHER_EPOCH, contents: kept.current.contents() });
    const setIf = (key: string, ifRevision: number): unknown => {
      const params = { messageId: restarted.newMessageId(), entries: [{ key, value: "2" }], ifRevision };
      return restarted.change((cache) => cache.set(params, HOST, at(0)));
    };
    expect(refusal(() => setIf("b", 2)).code).toBe("conflict");
    expect(refusal(() => setIf("a", 0)).code).toBe("conflict");
    setIf("a", 1);
    setIf("b", 3);
  });
});

describe("time", () => {
  it("that steps on the wall clock ages nothing", () => {
    const kept = new KeptCache();
    kept.set([{ key: "a", value: "1", ttlMs: 1000 }], { now: at(0) });
    for (const wallMs of [0, BOOTED_AT_MS + 10 ** 9, BOOTED_AT_MS - 10 ** 9]) {
      const now = { wallMs, uptimeMs: 400 };
      expect(kept.current.nextExpiryMs(now)).toBe(600);
      expect(kept.current.list({}, now).entries).toMatchObject([{ ageMs: 400, ttlMs: 600 }]);
      expect(kept.change((cache) => cache.expire(now))).toEqual([]);
    }
  });

  it("that is over leaves 0, never less", () => {
    const kept = new KeptCache();
    kept.set([{ key: "a", value: "1", ttlMs: 1000 }]);
    expect(kept.current.nextExpiryMs(at(5000))).toBe(0);
    expect(kept.current.list({}, at(5000)).entries).toMatchObject([{ ttlMs: 0 }]);
  });

  it("does not matter without TTLs", () => {
    const kept = new KeptCache();
    kept.set({ a: "1" });
    expect(kept.current.nextExpiryMs(at(0))).toBeUndefined();
    expect(kept.change((cache) => cache.expire(at(10 ** 12)))).toEqual([]);
    expect(kept.current.cursor.revision).toBe(1);
  });

  it("that ran out is a change like any other", () => {
    const kept = new KeptCache();
    kept.set([
      { key: "a", value: "1", ttlMs: 10 },
      { key: "b", value: "1", ttlMs: 20 },
    ]);
    expect(kept.change((cache) => cache.expire(at(20)))).toEqual(["a", "b"]);
    expect(kept.current.cursor.revision).toBe(2);
    const { changes } = kept.current.changesAfter({ revision: 1 }, "", at(20));
    expect(changes).toEqual([
      { key: "a", deleted: true, revision: 2 },
      { key: "b", deleted: true, revision: 2 },
    ]);
  });
});

describe("a list", () => {
  it("of the most and most costly entries comes in pages that fit a frame", () => {
    const entries = costlyEntries(1300, 0);
    const listed = allPages(fillWith(entries).current);
    expect(keysOf(listed.entries)).toEqual(keysOf(entries).sort());
    expect(listed.pages).toBeGreaterThan(2);
    expect(listed.largest).toBeLessThanOrEqual(MAX_PAYLOAD);
  });

  it("of the largest values has one or more a page", () => {
    const listed = allPages(fillWith(costlyEntries(5, MAX_VALUE)).current);
    expect(listed.entries).toHaveLength(5);
    expect(listed.largest).toBeLessThanOrEqual(MAX_PAYLOAD);
  });

  it("of a full default cache of shortest keys fits in one or two", () => {
    const kept = new KeptCache();
    const letters = Array.from("0123456789abcdefghijklmnopqrstuvwxyz");
    const keys = letters.flatMap((first) => letters.map((second) => first + second)).slice(0, 910);
    kept.set(keys.map((key) => ({ key, value: "" })));
    expect(8192 - kept.current.usedBytes).toBeLessThan(9);
    expect(keysOf(allPages(kept.current).entries)).toEqual([...keys].sort());
  });

  it("shows only what may be seen", () => {
    const kept = new KeptCache();
    kept.set({ "app.a": "1", other: "2" });
    const listed = kept.current.list({}, at(0), (key) => key.startsWith("app."));
    expect(keysOf(listed.entries)).toEqual(["app.a"]);
    expect(listed).not.toHaveProperty("next");
  });
});

describe("a watcher", () => {
  it("gets even one revision of 1,024 entries in batches that fit a frame, each key once and in order", () => {
    const entries = costlyEntries(MAX_ENTRIES_PER_CHANGE, 0);
    const watched = allBatches(fillWith(entries).current);
    expect(keysOf(watched.changes)).toEqual(keysOf(entries).sort());
    expect(watched.batches).toBeGreaterThan(2);
    expect(watched.largest).toBeLessThanOrEqual(MAX_PAYLOAD);
  });

  it("gets deletions of the longest keys in batches that fit a frame", () => {
    const kept = fillWith(costlyEntries(MAX_TOMBSTONES, 0));
    kept.change((cache) => cache.clear({ messageId: "c" }, HOST));
    const watched = allBatches(kept.current);
    expect(watched.changes).toHaveLength(MAX_TOMBSTONES);
    expect(watched.largest).toBeLessThanOrEqual(MAX_PAYLOAD);
  });

  it("between two batches misses nothing of what changes meanwhile", () => {
    const kept = fillWith(costlyEntries(MAX_ENTRIES_PER_CHANGE, 0));
    const first = kept.current.changesAfter({ revision: 0 }, "", at(0));
    expect(first.more).toBe(true);
    const [seen, unseen] = [first.changes[0]?.key ?? "", costlyEntries(MAX_ENTRIES_PER_CHANGE, 0).at(-1)?.key ?? ""];
    kept.set({ [seen]: "new" });
    kept.delete(unseen);
    const rest: WireChange[] = [];
    for (let position = first.reached, more = true; more;) {
      const batch = kept.current.changesAfter(position, "", at(0));
      rest.push(...batch.changes);
      ({ reached: position, more } = batch);
    }
    expect(rest.filter(({ key }) => key === seen)).toMatchObject([{ value: "new" }]);
    expect(rest.filter(({ key }) => key === unseen)).toMatchObject([{ deleted: true }]);
    const told = new Set([...keysOf(first.changes), ...keysOf(rest)]);
    expect(told.size).toBe(MAX_ENTRIES_PER_CHANGE);
  });

  it("that is up to date gets an empty batch", () => {
    const kept = new KeptCache();
    kept.set({ a: "1" });
    expect(kept.current.changesAfter({ revision: 1 }, "", at(0))).toEqual({
      changes: [],
      reached: { revision: 1 },
      more: false,
    });
  });

  it("can resume within the epoch from any revision whose deletions are remembered", () => {
    const kept = new KeptCache();
    kept.set({ a: "1" });
    expect(kept.current.canResume({ epoch: EPOCH, revision: 0 })).toBe(true);
    expect(kept.current.canResume({ epoch: EPOCH, revision: 1 })).toBe(true);
    expect(kept.current.canResume({ epoch: EPOCH, revision: 2 })).toBe(false);
    expect(kept.current.canResume({ epoch: OTHER_EPOCH, revision: 1 })).toBe(false);
  });

  it("needs a snapshot once a deletion that it may not know was forgotten", () => {
    const kept = new KeptCache({ limit: MAX_CACHE_LIMIT });
    for (let count = 0; count <= MAX_TOMBSTONES; count += 1) {
      kept.set({ [`key${count}`]: "" });
      kept.delete(`key${count}`);
    }
    expect(kept.current.canResume({ epoch: EPOCH, revision: 0 })).toBe(false);
    expect(kept.current.canResume({ epoch: EPOCH, revision: 1 })).toBe(false);
    // The first deletion, revision 2, is the one that was forgotten.
    expect(kept.current.canResume({ epoch: EPOCH, revision: 2 })).toBe(true);
    expect(allBatches(kept.current, 2).changes).toHaveLength(MAX_TOMBSTONES);
  });

  it("needs a snapshot in a new epoch, in which revisions go on counting", () => {
    const kept = new KeptCache();
    kept.set({ a: "1" });
    kept.delete("a");
    kept.current = kept.current.clone(OTHER_EPOCH);
    expect(kept.current.cursor).toEqual({ epoch: OTHER_EPOCH, revision: 2 });
    expect(kept.current.canResume({ epoch: EPOCH, revision: 2 })).toBe(false);
    expect(kept.current.canResume({ epoch: OTHER_EPOCH, revision: 2 })).toBe(true);
    expect(kept.current.canResume({ epoch: OTHER_EPOCH, revision: 1 })).toBe(false);
  });
});

describe("a secret", () => {
  it("shows its value to get alone", () => {
    const kept = new KeptCache();
    kept.set([{ key: "token", value: "s3cret", secret: true }]);
    expect(kept.current.get("token").value).toBe("s3cret");
    expect(JSON.stringify(kept.current.list({}, at(0)))).not.toContain("s3cret");
    expect(JSON.stringify(kept.current.changesAfter({ revision: 0 }, "", at(0)))).not.toContain("s3cret");
  });

  it("that was lost says so", () => {
    const kept = new KeptCache();
    kept.set([{ key: "token", value: "s3cret", secret: true }]);
    const contents = kept.current.contents();
    const entries = contents.entries.map((entry) => ({ ...entry, value: null }));
    const booted = new KeptCache({ epoch: OTHER_EPOCH, contents: { ...contents, entries } });
    expect(refusal(() => booted.current.get("token"))).toMatchObject({ code: "no-such-key", gone: true });
    expect(booted.current.list({}, at(0)).entries).toMatchObject([{ key: "token", secret: true, gone: true }]);
    booted.set({ token: "again" });
    expect(booted.current.get("token").value).toBe("again");
  });
});

describe("the mark that a value was read", () => {
  it("is set once for what the host set, and not for the guest's own", () => {
    const kept = new KeptCache();
    kept.set({ a: "1" });
    kept.set({ b: "1" }, { caller: GUEST });
    expect(kept.current.markRead("a")).toBe(true);
    expect(kept.current.markRead("a")).toBe(false);
    expect(kept.current.markRead("b")).toBe(false);
    expect(kept.current.markRead("nothing")).toBe(false);
    expect(kept.current.list({}, at(0)).entries).toMatchObject([{ key: "a", read: true }, { key: "b" }]);
  });

  it("is gone when the host sets the key anew", () => {
    const kept = new KeptCache();
    kept.set({ a: "1" });
    kept.current.markRead("a");
    kept.set({ a: "2" });
    expect(kept.current.markRead("a")).toBe(true);
  });
});

describe("a clone", () => {
  it("and its original do not see each other's changes", () => {
    const kept = new KeptCache();
    kept.set({ a: "1" });
    const copy = kept.current.clone();
    copy.delete({ messageId: "d", keys: ["a"] }, HOST);
    expect(kept.current.find("a")?.value).toBe("1");
    kept.set({ b: "1" });
    expect(copy.find("b")).toBeUndefined();
    expect(copy.changesAfter({ revision: 1 }, "", at(0)).changes).toMatchObject([{ key: "a", deleted: true }]);
    expect(kept.current.changesAfter({ revision: 1 }, "", at(0)).changes).toMatchObject([{ key: "b" }]);
  });
});
