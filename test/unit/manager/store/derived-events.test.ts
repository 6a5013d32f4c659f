import { describe, expect, test } from "vitest";
import type { Event } from "../../../../manager/events/event.ts";
import type { Operations } from "../../../../manager/store/operations.ts";
import type { MirrorChange, ReceivedFromGuest } from "../../../../manager/store/store.ts";
import type { WireEntry } from "../../../../shared/protocol/message.ts";
import {
  boxWithKey,
  DAY,
  delivered,
  entry,
  REVISION,
  message,
  mirrorChange,
  NOW,
  openTables,
  refused,
  reopen,
  SECOND,
  web1,
  web2,
} from "./tables.ts";

/** What came since it was asked last. */
function reader(tables: Operations): () => Event[] {
  let read = 0;
  return () => {
    const events = tables.eventsAfter(read, 1000);
    read = events.at(-1)?.position ?? read;
    return events;
  };
}

const states = (events: Event[]) => events.map(({ type, oldState, newState }) => [type, oldState, newState]);

describe("a message", () => {
  test("that is kept is told of once, together with all that are kept with it", () => {
    const { tables } = openTables();
    const read = reader(tables);
    tables.keepMessages([message("a"), message("a"), message("b", { vm: web2 })]);
    expect(read().map(({ type, resourceUUID, data }) => [type, resourceUUID, data["messageId"]])).toEqual([
      ["MESSAGE.SEND", web1.id, "a"],
      ["MESSAGE.QUEUED", web1.id, "a"],
      ["MESSAGE.SEND", web2.id, "b"],
      ["MESSAGE.QUEUED", web2.id, "b"],
    ]);
    tables.keepMessages([message("a"), message("b")]);
    expect(read()).toEqual([]);
  });

  test("that is over a limit is not told of", () => {
    const { tables } = openTables({ pendingPerVm: 0 });
    tables.keepMessages([message("a")]);
    expect(reader(tables)()).toEqual([]);
  });

  test("is told of at each step of its way, and not when nothing changes", () => {
    const { tables } = openTables();
    const read = reader(tables);
    const params = { messageId: "g", of: "m", key: "k", result: "done" };
    const acknowledge: ReceivedFromGuest = { vm: web1, receivedAt: NOW, messageId: "g", kind: "acknowledge", params };
    tables.keepMessages([message("m")]);
    read();
    for (const expected of [
      [
        ["MESSAGE.DELIVERED", "queued", "delivered"],
        ["MESSAGE.READ", "delivered", "read"],
        ["MESSAGE.ACKNOWLEDGED", "read", "acknowledged"],
      ],
      [],
    ]) {
      tables.settle("m", delivered, NOW + SECOND);
      tables.markRead(web1.id, ["m", "unknown"], NOW + 2 * SECOND);
      tables.keepReceived(acknowledge);
      expect(states(read())).toEqual(expected);
    }
    tables.keepReceived({ ...acknowledge, messageId: "another", params: { ...params, messageId: "another" } });
    tables.settle("m", refused, NOW);
    expect(read()).toEqual([]);
  });

  test("that is refused says why", () => {
    const { tables } = openTables();
    tables.keepMessages([message("m")]);
    tables.settle("m", refused, NOW);
    const [last] = tables.eventsAfter(2, 10);
    expect(last).toMatchObject({
      type: "MESSAGE.REFUSED",
      data: { refusal: { code: "over-limit", message: "no room" } },
    });
  });

  test("whose secret cannot be decrypted any more is refused", () => {
    const { tables, database } = openTables();
    tables.keepMessages([message("m", { entries: [{ key: "k", value: "v", secret: true }] })]);
    const withOtherKey = reopen(database, {}, boxWithKey(2));
    withOtherKey.nextMessage(web1.id, REVISION, NOW);
    expect(states(withOtherKey.eventsAfter(2, 10))).toEqual([["MESSAGE.REFUSED", "queued", "refused"]]);
  });

  test("that waited too long expired, unless a program has seen it", () => {
    const { tables } = openTables();
    const read = reader(tables);
    tables.keepMessages(["expired", "seen"].map((id) => message(id, { expiresAt: NOW + SECOND })));
    tables.nextMessage(web1.id, REVISION, NOW);
    tables.markRead(web1.id, ["seen"], NOW);
    read();
    tables.expireSome(NOW + DAY);
    const events = read();
    expect(states(events)).toEqual([
      ["MESSAGE.EXPIRED", "queued", "expired"],
      ["MESSAGE.DELIVERED", "read", "read"],
    ]);
    expect(events[0]).toMatchObject({ time: NOW + DAY, data: { messageId: "expired", isUnconfirmed: true } });
    tables.expireSome(NOW + DAY);
    expect(read()).toEqual([]);
  });
});

describe("what comes from a guest", () => {
  const event = (messageId: string, name = "BOOTED"): ReceivedFromGuest => {
    return { vm: web1, receivedAt: NOW, messageId, kind: "event", params: { messageId, event: name, data: { n: 1 } } };
  };

  test("is an event of its own, once", () => {
    const { tables } = openTables();
    tables.keepReceived(event("g1"));
    tables.keepReceived(event("g1"));
    tables.keepReceived(event("g2", "APP.READY"));
    expect(tables.eventsAfter(0, 10)).toMatchObject([
      { type: "GUEST.BOOTED", source: "guest", sequence: 1, data: { messageId: "g1", data: { n: 1 } } },
      { type: "GUEST.APP.READY", sequence: 2 },
    ]);
  });

  test("is none when it is a report, or acknowledges what is not there", () => {
    const { tables } = openTables();
    const head = { vm: web1, receivedAt: NOW };
    const report = { messageId: "g1", name: "load", data: {} };
    tables.keepReceived({ ...head, messageId: "g1", kind: "report", params: report });
    const acknowledge = { messageId: "g2", of: "unknown", key: "k" };
    tables.keepReceived({ ...head, messageId: "g2", kind: "acknowledge", params: acknowledge });
    expect(tables.eventsAfter(0, 10)).toEqual([]);
  });
});

describe("a mirror that is saved", () => {
  const save = (tables: Operations, { entries = [], ...more }: Partial<MirrorChange> & { entries?: WireEntry[] }) => {
    tables.saveMirrors([mirrorChange({ set: entries.map((one) => ({ entry: one, seenAt: NOW })), ...more })]);
  };
  const told = (events: Event[]) => events.map(({ type, data, isResync }) => [type, data["key"], isResync]);

  test("of a VM that was never seen sets all its keys", () => {
    const { tables } = openTables();
    save(tables, { isReset: true, entries: [entry("a"), entry("b")], asOf: NOW + 5 });
    const events = tables.eventsAfter(0, 10);
    expect(told(events)).toEqual([
      ["KEY.SET", "a", true],
      ["KEY.SET", "b", true],
    ]);
    expect(events[0]).toMatchObject({ time: NOW + 5, resourceName: "web1", value: { value: "v" } });
  });

  test("tells what changed, and nothing when it is told again, after an agent's start too", () => {
    const { tables } = openTables();
    const read = reader(tables);
    save(tables, { entries: [entry("a"), entry("b"), entry("c")] });
    read();
    save(tables, { entries: [entry("a", { read: true, ageMs: 5 })] });
    save(tables, { isReset: true, epoch: "f", entries: ["a", "b", "c"].map((key) => entry(key, { revision: 9 })) });
    expect(read()).toEqual([]);
    save(tables, { entries: [entry("a", { value: "w" })], deleted: ["b", "unknown"] });
    expect(told(read())).toEqual([
      ["KEY.DELETED", "b", false],
      ["KEY.SET", "a", false],
    ]);
    save(tables, { isReset: true, entries: [entry("a", { value: "w" }), entry("d")] });
    expect(told(read())).toEqual([
      ["KEY.DELETED", "c", true],
      ["KEY.SET", "d", true],
    ]);
  });

  test("compares with the VM's own keys only", () => {
    const { tables } = openTables();
    const read = reader(tables);
    save(tables, { entries: [entry("a")] });
    save(tables, { vmId: web2.id, vmName: web2.name, isReset: true, entries: [entry("a")] });
    expect(read().map(({ type, resourceUUID }) => [type, resourceUUID])).toEqual([
      ["KEY.SET", web1.id],
      ["KEY.SET", web2.id],
    ]);
  });

  test("tells of a secret its name, and when it is gone", () => {
    const { tables } = openTables();
    const read = reader(tables);
    const secret = entry("s", { secret: true, value: "hunter2" });
    save(tables, { entries: [secret] });
    save(tables, { entries: [secret] });
    save(tables, { isReset: true, entries: [entry("s", { secret: true, gone: true })] });
    const events = read();
    expect(told(events)).toEqual([
      ["KEY.SET", "s", false],
      ["KEY.GONE", "s", true],
    ]);
    expect(JSON.stringify(events)).not.toContain("hunter2");
  });

  test("of a VM that is forgotten leaves its events, and appends none", () => {
    const { tables } = openTables();
    save(tables, { entries: [entry("a")] });
    tables.forgetVm(web1.id);
    expect(told(tables.eventsAfter(0, 10))).toEqual([["KEY.SET", "a", false]]);
  });
});
