import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Operations } from "../../../../manager/store/operations.ts";
import type { MessageToKeep } from "../../../../manager/store/store.ts";
import {
  REVISION,
  boxWithKey,
  DAY,
  delivered,
  message,
  NOW,
  openTables,
  refused,
  reopen,
  SECOND,
  web1,
  web2,
} from "./tables.ts";

const types = (tables: Operations, ...messages: MessageToKeep[]) =>
  tables.keepMessages(messages).map(({ type }) => type);
const nextId = (tables: Operations, now = NOW) => tables.nextMessage(web1.id, REVISION, now).next?.messageId;
const state = (tables: Operations, messageId: string) => tables.receipt(messageId)?.state;

describe("keeping a message", () => {
  test("answers its receipt", () => {
    const { tables } = openTables();
    const entries = [
      { key: "a", value: "1" },
      { key: "b", base64: "/w==" },
    ];
    const [kept] = tables.keepMessages([message("m", { entries, expiresAt: NOW + SECOND })]);
    const receipt = {
      messageId: "m",
      vm: web1,
      method: "set",
      keys: ["a", "b"],
      state: "queued",
      by: "alice",
      queuedAt: "2026-01-15T12:00:00.000Z",
      expiresAt: "2026-01-15T12:00:01.000Z",
    };
    expect(kept).toEqual({ type: "new", receipt });
    expect(tables.receipt("m")).toEqual(receipt);
  });

  test("again, however its members are ordered, has no second effect", () => {
    const { tables } = openTables();
    const [first] = tables.keepMessages([message("m", { entries: [{ key: "k", value: "v", ttlMs: 5 }] })]);
    const [second] = tables.keepMessages([
      message("m", { entries: [{ ttlMs: 5, value: "v", key: "k" }], queuedAt: NOW + 1 }),
    ]);
    expect(second).toEqual({ ...first, type: "known" });
    expect(tables.pendingCounts()).toEqual({ [web1.id]: 1 });
  });

  test("again in the same request has no second effect", () => {
    expect(types(openTables().tables, message("m"), message("m"))).toEqual(["new", "known"]);
  });

  test("again after it was settled gives its receipt as it is now", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    const receipt = tables.settle("m", delivered, NOW);
    expect(tables.keepMessages([message("m")])).toEqual([{ type: "known", receipt }]);
    expect(nextId(tables)).toBeUndefined();
  });

  test.each([
    ["other values", message("m", { entries: [{ key: "k", value: "other" }] })],
    ["another VM", message("m", { vm: web2 })],
    ["another condition", { ...message("m"), change: { method: "clear", params: { messageId: "m" } } } as const],
    ["a secret", message("m", { entries: [{ key: "k", value: "v", secret: true }] })],
  ])("under the id of another one is a conflict: %s", (_, other) => {
    const { tables } = openTables();
    expect(types(tables, message("m"), other)).toEqual(["new", "conflict"]);
    expect(tables.receiptsOf(web2.id, 10)).toEqual([]);
  });

  test("has limits for a VM and for all of them, in messages and bytes; what is over changes nothing", () => {
    const bytes = Buffer.byteLength(JSON.stringify(message("m1").change.params));
    for (const limits of [{ pendingPerVm: 2 }, { pendingBytesPerVm: 2 * bytes }]) {
      const { tables } = openTables(limits);
      expect(types(tables, message("m1"), message("m2"), message("m3"))).toEqual(["new", "new", "over-limit"]);
      expect(types(tables, message("m4", { vm: web2 }))).toEqual(["new"]);
      expect(tables.receipt("m3")).toBeUndefined();
    }
    for (const limits of [{ pendingTotal: 2 }, { pendingBytesTotal: 2 * bytes }]) {
      const { tables } = openTables(limits);
      const messages = [message("m1"), message("m2", { vm: web2 }), message("m3")];
      expect(types(tables, ...messages)).toEqual(["new", "new", "over-limit"]);
    }
  });

  test("has room again for each that was settled, expired or forgotten", () => {
    const { tables } = openTables({ pendingTotal: 1 });
    const isTaken = (messageId: string) => types(tables, message(messageId, { expiresAt: NOW + 1 }))[0] === "new";
    expect([isTaken("m1"), isTaken("m2")]).toEqual([true, false]);
    tables.settle("m1", refused, NOW);
    expect([isTaken("m2"), isTaken("m3")]).toEqual([true, false]);
    tables.expireSome(NOW + 1);
    expect([isTaken("m3"), isTaken("m4")]).toEqual([true, false]);
    tables.forgetVm(web1.id);
    expect([isTaken("m4"), isTaken("m5")]).toEqual([true, false]);
  });

  test("says which limit it is over", () => {
    const [kept] = openTables({ pendingPerVm: 0 }).tables.keepMessages([message("m")]);
    expect(kept).toEqual({
      type: "over-limit",
      message: "0 messages may wait for VM web1, and no more; nothing was kept",
      limit: 0,
    });
  });

  test("takes any text", () => {
    const text = fc.string({ unit: "binary" });
    fc.assert(
      fc.property(text, text, text, (key, value, by) => {
        const { tables } = openTables();
        tables.keepMessages([message("m", { entries: [{ key, value }], by, vm: { ...web1, name: key } })]);
        expect(tables.nextMessage(web1.id, REVISION, NOW).next?.change.params).toEqual({
          messageId: "m",
          entries: [{ key, value }],
        });
      }),
      { numRuns: 50 },
    );
    const loneSurrogate = "\ud800'; DROP TABLE messages; --\u0000";
    const { tables } = openTables();
    tables.keepMessages([message("m", { entries: [{ key: loneSurrogate, value: loneSurrogate }], by: loneSurrogate })]);
    expect(tables.receipt("m")?.keys).toEqual([loneSurrogate]);
  });
});

describe("the next message", () => {
  test("is the first that was kept and is not settled, with what it carries", () => {
    const { tables } = openTables();
    tables.keepMessages([message("z"), message("other", { vm: web2 }), message("a")]);
    const { change, expiresAt } = message("z");
    expect(tables.nextMessage(web1.id, REVISION, NOW)).toEqual({
      next: { messageId: "z", change, queuedAt: NOW, expiresAt, mayBeDone: false },
      settled: [],
    });
    tables.settle("z", delivered, NOW);
    expect(nextId(tables)).toBe("a");
    tables.settle("a", refused, NOW);
    expect(nextId(tables)).toBeUndefined();
  });

  test("is never one that is over", () => {
    const { tables } = openTables();
    tables.keepMessages([message("short", { expiresAt: NOW + SECOND }), message("long")]);
    expect(nextId(tables, NOW + SECOND - 1)).toBe("short");
    expect(nextId(tables, NOW + SECOND)).toBe("long");
  });

  test("whose secret cannot be decrypted any more is refused, and the one behind it is next", () => {
    const { tables, database } = openTables();
    tables.keepMessages([message("s", { entries: [{ key: "k", value: "v", secret: true }] }), message("m")]);
    const withOtherKey = reopen(database, {}, boxWithKey(2));
    const { next, settled } = withOtherKey.nextMessage(web1.id, REVISION, NOW);
    expect(next?.messageId).toBe("m");
    expect(settled.map(({ messageId, refusal }) => [messageId, refusal?.code])).toEqual([["s", "failed"]]);
    expect(withOtherKey.receipt("s")?.refusal?.message).toContain("secrets.key was lost or replaced");
  });
});

describe("a message with a secret", () => {
  const secret = message("s", {
    entries: [
      { key: "open", value: "1" },
      { key: "k", value: "hunter2", secret: true },
    ],
  });

  test("is in the database only encrypted, and is delivered as it was", () => {
    const { tables, database } = openTables();
    tables.keepMessages([secret]);
    const row = database.prepare("SELECT * FROM messages").get();
    expect(JSON.stringify(row)).not.toContain("hunter2");
    expect(row).toMatchObject({ params: null });
    expect(tables.nextMessage(web1.id, REVISION, NOW).next?.change).toEqual(secret.change);
  });

  test("has a digest that nobody without the key can compare a guess with", () => {
    const digestWith = (key: number) => {
      const { database } = openTables();
      reopen(database, {}, boxWithKey(key)).keepMessages([secret]);
      return database.prepare("SELECT digest FROM messages").get()?.["digest"];
    };
    expect(digestWith(1)).toEqual(digestWith(1));
    expect(digestWith(1)).not.toEqual(digestWith(2));
  });

  test("is known again, and with another value a conflict", () => {
    const { tables } = openTables();
    const other = message("s", {
      entries: [
        { key: "open", value: "1" },
        { key: "k", value: "guess", secret: true },
      ],
    });
    expect(types(tables, secret, secret, other)).toEqual(["new", "known", "conflict"]);
  });
});

describe("settling", () => {
  test("notes the guest's result and erases what the message carried", () => {
    const { tables, database } = openTables();
    tables.keepMessages([message("m")]);
    const receipt = tables.settle("m", delivered, NOW + SECOND);
    expect(receipt).toMatchObject({
      state: "delivered",
      deliveredAt: "2026-01-15T12:00:01.000Z",
      result: delivered.result,
    });
    expect(receipt).not.toHaveProperty("endedAt");
    expect(database.prepare("SELECT params, sealed_params FROM messages").get()).toEqual({
      params: null,
      sealed_params: null,
    });
  });

  test("notes a refusal", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    const receipt = tables.settle("m", refused, NOW + SECOND);
    expect(receipt).toMatchObject({ state: "refused", endedAt: "2026-01-15T12:00:01.000Z", refusal: refused.refusal });
    expect(receipt).not.toHaveProperty("deliveredAt");
  });

  test("a second time changes nothing", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    const first = tables.settle("m", delivered, NOW);
    expect(tables.settle("m", refused, NOW + SECOND)).toBeUndefined();
    expect(tables.settle("m", { type: "expired" }, NOW + SECOND)).toBeUndefined();
    expect(tables.receipt("m")).toEqual(first);
  });

  test("what is gone is passed over", () => {
    const { tables } = openTables();
    expect(tables.settle("m", delivered, NOW)).toBeUndefined();
    expect(tables.eventsAfter(0, 10)).toEqual([]);
  });
});

describe("expiry", () => {
  test("of a message that was handed over waits for its answer, and says that none came", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m", { expiresAt: NOW + SECOND })]);
    expect(nextId(tables)).toBe("m");
    expect(nextId(tables, NOW + SECOND)).toBeUndefined();
    expect(tables.expireSome(NOW + SECOND).expired).toEqual([]);
    expect(tables.expireSome(NOW + 60 * SECOND).expired).toMatchObject([{ state: "expired", isUnconfirmed: true }]);
  });

  test("of a message whose answer comes late leaves it delivered", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m", { expiresAt: NOW + SECOND })]);
    nextId(tables);
    tables.expireSome(NOW + 2 * SECOND);
    expect(tables.settle("m", delivered, NOW + 2 * SECOND)).toMatchObject({ state: "delivered" });
    expect(tables.expireSome(NOW + DAY).expired).toEqual([]);
  });

  test("of a message that never was handed over says no more than that", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m", { expiresAt: NOW + SECOND })]);
    expect(tables.expireSome(NOW + SECOND).expired[0]).not.toHaveProperty("isUnconfirmed");
  });

  test("settles what is over, in the order of keeping, and nothing else", () => {
    const { tables } = openTables();
    const over = { expiresAt: NOW };
    tables.keepMessages([
      message("b", over),
      message("a", over),
      message("later", { expiresAt: NOW + 1 }),
      message("never"),
    ]);
    const { expired, more } = tables.expireSome(NOW);
    expect(expired.map(({ messageId, state, endedAt }) => [messageId, state, endedAt])).toEqual([
      ["b", "expired", "2026-01-15T12:00:00.000Z"],
      ["a", "expired", "2026-01-15T12:00:00.000Z"],
    ]);
    expect(more).toBe(false);
    expect(nextId(tables)).toBe("later");
    expect(tables.expireSome(NOW).expired).toEqual([]);
  });

  test("of what a program in the guest has seen leaves it delivered, though no answer said so", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m", { expiresAt: NOW + SECOND })]);
    nextId(tables);
    tables.markRead(web1.id, ["m"], NOW);
    expect(tables.expireSome(NOW + 2 * SECOND).expired).toEqual([]);
    const [receipt] = tables.expireSome(NOW + DAY).expired;
    expect(receipt).toMatchObject({ state: "read", deliveredAt: expect.any(String) as string });
    expect(receipt).not.toHaveProperty("isUnconfirmed");
    expect(nextId(tables, NOW + DAY)).toBeUndefined();
  });
});

describe("a message that is read", () => {
  test("is so once, for the VM it went to, and for ids that are known", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m"), message("n")]);
    tables.settle("m", delivered, NOW);
    expect(tables.markRead(web2.id, ["m"], NOW)).toEqual([]);
    const [receipt, ...others] = tables.markRead(web1.id, ["unknown", "m"], NOW + SECOND);
    expect(receipt).toMatchObject({ messageId: "m", state: "read", readAt: "2026-01-15T12:00:01.000Z" });
    expect(others).toEqual([]);
    expect(tables.markRead(web1.id, ["m"], NOW + DAY)).toEqual([]);
  });
});

describe("an acknowledgement", () => {
  const acknowledge = (tables: Operations, vm = web1, messageId = "g1", result = "done") =>
    tables.keepReceived({
      vm,
      receivedAt: NOW + SECOND,
      messageId,
      kind: "acknowledge",
      params: { messageId, of: "m", key: "k", result },
    });

  test("is noted at the message it is of", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    tables.settle("m", delivered, NOW);
    const { isNew, acknowledged } = acknowledge(tables);
    expect(isNew).toBe(true);
    expect(acknowledged).toMatchObject({
      state: "acknowledged",
      acknowledgedAt: "2026-01-15T12:00:01.000Z",
      acknowledgement: { key: "k", result: "done" },
    });
    expect(tables.receipt("m")).toEqual(acknowledged);
  });

  test("may come before the answer to the change: acknowledged, and still to be settled", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    acknowledge(tables);
    expect(state(tables, "m")).toBe("acknowledged");
    expect(nextId(tables)).toBe("m");
    expect(tables.settle("m", delivered, NOW)).toMatchObject({ state: "acknowledged", result: delivered.result });
    expect(nextId(tables)).toBeUndefined();
  });

  test("counts once, and a later read does not take it back", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    acknowledge(tables);
    expect(acknowledge(tables)).toEqual({ isNew: false, acknowledged: undefined });
    expect(acknowledge(tables, web1, "g2", "other")).toEqual({ isNew: true, acknowledged: undefined });
    tables.markRead(web1.id, ["m"], NOW);
    expect(tables.receipt("m")).toMatchObject({ state: "acknowledged", acknowledgement: { key: "k", result: "done" } });
  });

  test("by another VM is kept, and acknowledges nothing", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    expect(acknowledge(tables, web2)).toEqual({ isNew: true, acknowledged: undefined });
    expect(state(tables, "m")).toBe("queued");
  });

  test("of nothing is kept", () => {
    const { tables } = openTables();
    const params = { messageId: "g", key: "k" };
    const received = { vm: web1, receivedAt: NOW, messageId: "g", kind: "acknowledge", params } as const;
    expect(tables.keepReceived(received)).toEqual({ isNew: true, acknowledged: undefined });
  });
});

describe("lists and counts", () => {
  test("of a VM's messages: receipts the newest first, what waits in the order of delivery", () => {
    const { tables } = openTables();
    tables.keepMessages([message("a"), message("b"), message("c"), message("d", { vm: web2 })]);
    tables.settle("b", delivered, NOW);
    expect(tables.receiptsOf(web1.id, 2).map(({ messageId }) => messageId)).toEqual(["c", "b"]);
    expect(tables.pendingOf(web1.id)).toEqual([
      { messageId: "a", method: "set", keys: ["k"], queuedAt: NOW },
      { messageId: "c", method: "set", keys: ["k"], queuedAt: NOW },
    ]);
    expect(tables.pendingCounts()).toEqual({ [web1.id]: 2, [web2.id]: 1 });
  });

  test("stay true whatever happens to messages", () => {
    const step = fc.record({ id: fc.integer({ min: 0, max: 8 }), what: fc.integer({ min: 0, max: 7 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const { tables, database } = openTables({ receiptsPerVm: 2 });
        for (const { id, what } of steps) happen(tables, `m${id}`, what);
        const rows = database.prepare("SELECT vm_id, state, settled_at FROM messages").all();
        const counts = Object.entries(tables.countsByState()).filter(([, messages]) => messages > 0);
        expect(Object.fromEntries(counts)).toEqual(countBy(rows.map((row) => row["state"])));
        const waiting = rows.filter((row) => row["settled_at"] === null);
        expect(tables.pendingCounts()).toEqual(countBy(waiting.map((row) => row["vm_id"])));
      }),
      { numRuns: 100 },
    );
  });
});

function happen(tables: Operations, messageId: string, what: number): void {
  const isKnown = tables.receipt(messageId) !== undefined;
  const steps: (() => unknown)[] = [
    () => tables.keepMessages([message(messageId)]),
    () => tables.keepMessages([message(messageId, { vm: web2, expiresAt: NOW })]),
    () => isKnown && tables.settle(messageId, delivered, NOW),
    () => isKnown && tables.settle(messageId, refused, NOW),
    () => tables.expireSome(NOW),
    () => tables.markRead(web1.id, [messageId], NOW),
    () => {
      const params = { messageId: `g${messageId}`, of: messageId, key: "k" };
      return tables.keepReceived({
        vm: web1,
        receivedAt: NOW,
        messageId: params.messageId,
        kind: "acknowledge",
        params,
      });
    },
    () => tables.pruneVmAfter("", NOW),
  ];
  steps[what]?.();
}

function countBy(names: unknown[]): Record<string, number> {
  const groups = Map.groupBy(names, String);
  return Object.fromEntries([...groups].map(([name, members]) => [name, members.length]));
}

describe("pruning", () => {
  test("keeps the newest receipts of each VM, and all that waits", () => {
    const { tables } = openTables({ receiptsPerVm: 2 });
    tables.keepMessages(["a", "b", "c", "d", "waits"].map((id) => message(id)));
    for (const id of ["a", "b", "c", "d"]) tables.settle(id, delivered, NOW);
    tables.keepMessages([message("other", { vm: web2 })]);
    tables.settle("other", delivered, NOW);
    expect(tables.pruneVmAfter("", NOW)).toBe(web1.id);
    expect(tables.pruneVmAfter(web1.id, NOW)).toBe(web2.id);
    expect(tables.pruneVmAfter(web2.id, NOW)).toBeUndefined();
    expect(tables.receiptsOf(web1.id, 10).map(({ messageId }) => messageId)).toEqual(["waits", "d", "c"]);
    expect(tables.receiptsOf(web2.id, 10)).toHaveLength(1);
  });

  test("removes receipts that are old, and no message that waits", () => {
    const { tables } = openTables();
    tables.keepMessages([message("old"), message("new"), message("waits")]);
    tables.settle("old", delivered, NOW);
    tables.settle("new", delivered, NOW + DAY);
    tables.pruneVmAfter("", NOW + 30 * DAY + 1);
    expect(tables.receiptsOf(web1.id, 10).map(({ messageId }) => messageId)).toEqual(["waits", "new"]);
  });
});
