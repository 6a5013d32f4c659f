import { describe, expect, test } from "vitest";
import { managerEvent } from "../../../../manager/events/event.ts";
import { commitTogether } from "../../../../manager/store/commit-together.ts";
import type { StoreLimits } from "../../../../manager/store/limits.ts";
import type { Operations, Request } from "../../../../manager/store/operations.ts";
import type { FeedProgress } from "../../../../manager/store/store.ts";
import { DAY, message, NOW, openTables, resumed, SECOND, web1, web2 } from "./tables.ts";

const append = (...times: number[]): Request => {
  return { operation: "appendEvents", args: [times.map((time) => resumed(web1, time))] };
};
const positions = (tables: Operations) => tables.eventsAfter(0, 10_000).map(({ position }) => position);

describe("the log of events", () => {
  test("gives each event an id, its place, and the number of its resource", () => {
    const { tables } = openTables();
    const started = managerEvent("ALERT.STARTED", NOW, { about: "s", data: { n: 1 } });
    const appended = tables.appendEvents([resumed(web1), resumed(web2), started, resumed(web1)]);
    expect(appended.map(({ position, sequence }) => [position, sequence])).toEqual([
      [1, 1],
      [2, 1],
      [3, 1],
      [4, 2],
    ]);
    expect(new Set(appended.map(({ id }) => id)).size).toBe(4);
    expect(appended[2]).toMatchObject(started);
    expect(tables.appendEvents([resumed(web2)])).toMatchObject([{ position: 5, sequence: 2 }]);
  });

  test("is read as it was written, from any place, and by id", () => {
    const { tables } = openTables();
    const value = { base64: "/w==" };
    const appended = tables.appendEvents([resumed(web1), { ...resumed(web2), value, only: "s" }, resumed(web1)]);
    expect(tables.eventsAfter(0, 10)).toEqual(appended);
    expect(tables.eventsAfter(1, 1)).toEqual([appended[1]]);
    expect(tables.eventsAfter(3, 10)).toEqual([]);
    expect(tables.eventsAt([3, 1, 99])).toEqual([appended[0], appended[2]]);
    expect(tables.event(appended[1]?.id ?? "")).toEqual(appended[1]);
    expect(tables.event("unknown")).toBeUndefined();
  });

  test("answers no more at once than it should hold, and always something", () => {
    const { tables } = openTables();
    const large = { ...resumed(), value: { value: "v".repeat(150 * 1024) } };
    tables.appendEvents([large, large, large]);
    expect(tables.eventsAfter(0, 10)).toHaveLength(2);
    expect(tables.eventsAfter(2, 10)).toHaveLength(1);
  });

  test("has a name that no other has, and says from where to where it goes", () => {
    const { tables } = openTables();
    const { id } = tables.eventLog();
    expect(id).toMatch(/^[0-9a-f]{16}$/);
    expect(openTables().tables.eventLog().id).not.toBe(id);
    expect(tables.eventLog()).toEqual({ id, first: 1, last: 0 });
    tables.appendEvents([resumed(), resumed()]);
    expect(tables.eventLog()).toEqual({ id, first: 1, last: 2 });
  });

  test("keeps with events what they were made from", () => {
    const { tables } = openTables();
    tables.appendEvents([resumed()], [{ vmId: web1.id, lifecycle: { status: "Paused" } }]);
    tables.appendEvents([resumed()], [{ vmId: web1.id, lifecycle: { status: "Running" } }]);
    expect(tables.loadLifecycles()).toEqual([{ vmId: web1.id, lifecycle: { status: "Running" } }]);
  });
});

describe("a commit", () => {
  test("tells what it appended, in the order of the log, and nothing of a request that failed", () => {
    const { tables, ...transacting } = openTables();
    const fails: Request = { operation: "keepMessages", args: [[message("b"), { ...message("c"), queuedAt: NaN }]] };
    const halfDone: typeof tables.appendEvents = (events) => {
      tables.appendEvents(events);
      throw new Error("half-way");
    };
    const operations = { ...tables, addAudit: () => halfDone([resumed(), resumed()]) as never };
    const { answers, appended } = commitTogether({ ...transacting, operations }, [
      append(NOW),
      fails,
      { operation: "addAudit", args: [[]] },
      append(NOW + 1, NOW + 2),
    ]);
    expect(answers.map(({ type }) => type)).toEqual(["done", "failed", "failed", "done"]);
    expect(appended.map(({ time, position, sequence }) => [time, position, sequence])).toEqual([
      [NOW, 1, 1],
      [NOW + 1, 2, 2],
      [NOW + 2, 3, 3],
    ]);
    expect(tables.eventsAfter(0, 10)).toEqual(appended);
  });

  test("that fails appends nothing, and the next one leaves no gap", () => {
    const { tables, ...transacting } = openTables();
    const { database } = transacting;
    commitTogether(transacting, [append(NOW)]);
    // Checked only at the commit, as a full disk is.
    database.exec("CREATE TABLE late (user TEXT REFERENCES users (name) DEFERRABLE INITIALLY DEFERRED)");
    const addAudit = () => {
      database.exec("INSERT INTO late VALUES ('nobody')");
    };
    const failing = { ...transacting, operations: { ...tables, addAudit } };
    expect(() => commitTogether(failing, [append(NOW), { operation: "addAudit", args: [[]] }])).toThrow();
    const { appended } = commitTogether(transacting, [append(NOW)]);
    expect(appended).toMatchObject([{ position: 2, sequence: 2 }]);
    expect(tables.eventLog().last).toBe(2);
  });
});

const standing: FeedProgress["state"] = {
  position: 0,
  failures: 0,
  failingSince: undefined,
  disabled: undefined,
  lastDeliveredAt: undefined,
};
const progress = (position: number, more: Partial<FeedProgress> = {}): FeedProgress => {
  return { sink: "s", state: { ...standing, position }, park: [], unpark: [], dead: [], attempts: [], ...more };
};
const parked = (position: number) => {
  return { position, resource: web1.id, attempts: 1, parkedAt: NOW, dueAt: NOW, holdsOthers: true, error: "refused" };
};

function prune(tables: Operations, now = NOW): void {
  while (tables.pruneSomeEvents(now).more);
}

describe("the log loses", () => {
  const month = 30 * DAY;

  test("what is too old", () => {
    const { tables } = openTables();
    tables.appendEvents([NOW, NOW + 1, NOW + 2].map((time) => resumed(web1, time)));
    prune(tables, NOW + month);
    expect(positions(tables)).toEqual([1, 2, 3]);
    prune(tables, NOW + month + 1);
    expect(positions(tables)).toEqual([2, 3]);
    prune(tables, NOW + DAY + month);
    expect(tables.eventLog()).toMatchObject({ first: 4, last: 3 });
    expect(tables.appendEvents([resumed()])).toMatchObject([{ position: 4 }]);
  });

  test("nothing between events that stay, whatever their times are", () => {
    const { tables } = openTables();
    tables.appendEvents([NOW, NOW + DAY, NOW].map((time) => resumed(web1, time)));
    prune(tables, NOW + month + 1);
    expect(positions(tables)).toEqual([2, 3]);
  });

  test("the oldest of what is too much, in number and in bytes, in steps", () => {
    const events = Array.from({ length: 2500 }, () => resumed());
    const { database, tables: measured } = openTables();
    measured.appendEvents([resumed()]);
    const bytes = Number(database.prepare("SELECT bytes_so_far FROM events").get()?.["bytes_so_far"]);
    for (const limits of [{ eventCount: 1300 }, { eventBytes: 1300 * bytes }] satisfies Partial<StoreLimits>[]) {
      const { tables } = openTables({ ...limits });
      tables.appendEvents(events);
      expect(tables.pruneSomeEvents(NOW)).toEqual({ more: true });
      prune(tables);
      expect(tables.eventLog()).toMatchObject({ first: 1201, last: 2500 });
    }
  });

  test("what is twice too much as it comes, whoever needs it", () => {
    const { tables } = openTables({ eventCount: 500 });
    tables.saveProgress([progress(0)]);
    for (let index = 0; index < 5000; index += 1) tables.appendEvents([resumed()]);
    const { first, last } = tables.eventLog();
    expect(last).toBe(5000);
    expect(last - first).toBeGreaterThanOrEqual(999);
    expect(last - first).toBeLessThan(1500);
  });

  test("nothing that a sink has not come to, until it is twice too old or twice too much", () => {
    const { tables } = openTables({ eventCount: 4 });
    tables.saveProgress([progress(1), progress(9, { sink: "ahead" })]);
    tables.appendEvents([1, 2, 3].map(() => resumed()));
    prune(tables, NOW + 2 * month);
    expect(positions(tables)).toEqual([2, 3]);
    prune(tables, NOW + 2 * month + 1);
    expect(positions(tables)).toEqual([]);
    tables.appendEvents(Array.from({ length: 9 }, () => resumed()));
    prune(tables);
    expect(positions(tables)).toEqual([5, 6, 7, 8, 9, 10, 11, 12]);
    tables.removeFeed("s");
    prune(tables);
    expect(positions(tables)).toEqual([9, 10, 11, 12]);
  });

  test("nothing that is to be tried again, until it is twice too old; then it is not tried again", () => {
    const { tables } = openTables();
    tables.appendEvents([1, 2, 3].map(() => resumed()));
    tables.saveProgress([progress(3, { park: [parked(2)] })]);
    prune(tables, NOW + 2 * month);
    expect(positions(tables)).toEqual([2, 3]);
    expect(tables.loadFeed("s")?.parked).toHaveLength(1);
    prune(tables, NOW + 2 * month + 1);
    expect(positions(tables)).toEqual([]);
    expect(tables.loadFeed("s")?.parked).toEqual([]);
  });

  test("the numbers of what is no VM and has no event any more, and no others", () => {
    const { tables } = openTables({ eventCount: 1 });
    const running = { ...web1, status: "Running", host: "h1", channelPath: undefined } as const;
    tables.saveVms([{ vm: running, inventory: "i", statusSince: NOW }]);
    const all = [resumed(web1), resumed(web2), managerEvent("ALERT.STARTED", NOW), resumed(web1)];
    for (const event of all) tables.appendEvents([event]);
    prune(tables, NOW + SECOND);
    expect(tables.appendEvents(all).map(({ sequence }) => sequence)).toEqual([3, 1, 2, 4]);
  });
});
