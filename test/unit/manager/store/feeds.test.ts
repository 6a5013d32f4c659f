import { describe, expect, test } from "vitest";
import type { Operations } from "../../../../manager/store/operations.ts";
import type { FeedProgress, FeedState, ParkedEvent, StoredAttempt } from "../../../../manager/store/store.ts";
import { DAY, NOW, openTables, resumed, web1, web2 } from "./tables.ts";

const state = (position: number, more: Partial<FeedState> = {}): FeedState => {
  const healthy = { failures: 0, failingSince: undefined, disabled: undefined, lastDeliveredAt: undefined };
  return { position, ...healthy, ...more };
};
const save = (tables: Operations, more: Partial<FeedProgress> = {}) => {
  tables.saveProgress([{ sink: "s", state: state(9), park: [], unpark: [], dead: [], attempts: [], ...more }]);
};
const parked = (position: number, more: Partial<ParkedEvent> = {}): ParkedEvent => {
  const when = { parkedAt: NOW, dueAt: NOW };
  return { position, resource: web1.id, attempts: 1, ...when, holdsOthers: true, error: "refused", ...more };
};
const attempt = (attempt: number, more: Partial<StoredAttempt> = {}): StoredAttempt => {
  const what = { eventId: "e", type: "VM.RUNNING", at: NOW, attempt, durationMs: 3 };
  return { ...what, outcome: "delivered", status: undefined, error: undefined, ...more };
};
const death = (position: number, error = "too often") => ({ position, attempts: 5, error, at: NOW });

/** Ten events, the even ones of web2. */
function tablesWithEvents() {
  const { tables } = openTables();
  const events = tables.appendEvents(Array.from({ length: 10 }, (_, index) => resumed(index % 2 === 0 ? web1 : web2)));
  const id = (position: number) => events[position - 1]?.id ?? "";
  return { tables, events, id };
}

describe("a feed", () => {
  test("is new until something is saved of it", () => {
    expect(openTables().tables.loadFeed("s")).toBeUndefined();
  });

  test("is loaded as it was saved last", () => {
    const { tables } = openTables();
    const failing = { failures: 3, failingSince: NOW, disabled: "410 Gone", lastDeliveredAt: NOW - 1 };
    save(tables, { state: state(4, failing) });
    expect(tables.loadFeed("s")).toEqual({ sink: "s", ...state(4, failing), parked: [], deadLetters: 0 });
    save(tables, { state: state(7) });
    expect(tables.loadFeed("s")).toEqual({ sink: "s", ...state(7), parked: [], deadLetters: 0 });
  });

  test("has what is parked in the order of the log, as it was parked last", () => {
    const { tables } = openTables();
    save(tables, { park: [parked(5), parked(2, { resource: web2.id, error: undefined }), parked(3)] });
    const again = parked(5, { attempts: 2, parkedAt: NOW + 1, dueAt: NOW + 5, holdsOthers: false });
    save(tables, { park: [again], unpark: [3, 99] });
    expect(tables.loadFeed("s")?.parked).toEqual([parked(2, { resource: web2.id, error: undefined }), again]);
  });

  test("is saved with others, each for itself", () => {
    const { tables } = openTables();
    const one = { park: [parked(1)], unpark: [], dead: [], attempts: [attempt(1)] };
    tables.saveProgress([
      { sink: "a", state: state(1), ...one },
      { sink: "b", state: state(2), ...one },
    ]);
    save(tables, { sink: "b", state: state(3), unpark: [1] });
    expect(tables.loadFeed("a")).toMatchObject({ position: 1, parked: [{ position: 1 }] });
    expect(tables.loadFeed("b")).toMatchObject({ position: 3, parked: [] });
    expect(tables.feedNames()).toEqual(["a", "b"]);
  });

  test("is removed with everything that is kept for it, and nothing of another's", () => {
    const { tables, database } = openTables();
    tables.appendEvents([resumed(), resumed()]);
    for (const sink of ["a", "b"]) save(tables, { sink, park: [parked(1)], dead: [death(2)], attempts: [attempt(1)] });
    tables.removeFeed("a");
    for (const table of ["feeds", "parked", "dead_letters", "attempts"]) {
      expect(database.prepare(`SELECT DISTINCT sink FROM ${table}`).all()).toEqual([{ sink: "b" }]);
    }
    expect(tables.loadFeed("a")).toBeUndefined();
    tables.removeFeed("a");
  });
});

describe("a dead letter", () => {
  test("is parked no more, and keeps its event for longer than the log", () => {
    const { tables, events } = tablesWithEvents();
    save(tables, { park: [parked(1)] });
    const at = NOW + 100 * DAY;
    save(tables, { dead: [death(1, "first"), death(2, "second")].map((letter) => ({ ...letter, at })) });
    expect(tables.loadFeed("s")).toMatchObject({ parked: [], deadLetters: 2 });
    while (tables.pruneSomeEvents(NOW + 100 * DAY).more);
    expect(tables.eventLog().first).toBe(11);
    const rest = { attempts: 5, at };
    expect(tables.deadLetters("s", 10)).toEqual([
      { event: events[1], error: "second", ...rest },
      { event: events[0], error: "first", ...rest },
    ]);
    expect(tables.deadLetters("s", 1)).toHaveLength(1);
  });

  test("of an event that is no longer kept is none", () => {
    const { tables } = openTables();
    save(tables, { dead: [death(77)] });
    expect(tables.loadFeed("s")?.deadLetters).toBe(0);
  });

  test("is one of the sink's newest thousand", () => {
    const { tables } = openTables();
    tables.appendEvents(Array.from({ length: 1010 }, () => resumed()));
    const all = Array.from({ length: 1010 }, (_, index) => death(index + 1));
    save(tables, { sink: "other", dead: all.slice(0, 5) });
    save(tables, { dead: all.slice(0, 1005) });
    save(tables, { dead: all.slice(1005) });
    const letters = tables.deadLetters("s", 2000);
    expect(letters.map(({ event }) => event.position)).toEqual(
      Array.from({ length: 1000 }, (_, index) => 1010 - index),
    );
    expect(tables.loadFeed("other")?.deadLetters).toBe(5);
  });
});

describe("dead letters", () => {
  test("are no more bytes than are kept for one sink, the newest", () => {
    const { tables } = openTables();
    const large = { ...resumed(), value: { value: "v".repeat(5 * 1024 * 1024) } };
    tables.appendEvents([large, large, large, large]);
    save(tables, { sink: "other", dead: [death(1)] });
    save(tables, { dead: [death(1), death(2), death(3)] });
    expect(tables.loadFeed("s")?.deadLetters).toBe(3);
    save(tables, { dead: [death(4)] });
    expect(tables.deadLetters("s", 9).map(({ event }) => event.position)).toEqual([4, 3, 2]);
    expect(tables.loadFeed("other")?.deadLetters).toBe(1);
  });

  test("are removed when they are as old as events may be", () => {
    const { tables } = tablesWithEvents();
    const late = Array.from({ length: 5 }, (_, index) => ({ ...death(index + 6), at: NOW + DAY }));
    save(tables, { dead: [death(1), death(2)] });
    save(tables, { sink: "other", dead: late });
    while (tables.pruneSomeEvents(NOW + 30 * DAY).more);
    expect(tables.loadFeed("s")?.deadLetters).toBe(2);
    while (tables.pruneSomeEvents(NOW + 30 * DAY + 1).more);
    expect(tables.loadFeed("s")?.deadLetters).toBe(0);
    expect(tables.loadFeed("other")?.deadLetters).toBe(5);
  });
});

describe("redelivery", () => {
  const again = (position: number, resource = web1.id): ParkedEvent => {
    const when = { parkedAt: NOW + 7, dueAt: NOW + 7 };
    return { position, resource, attempts: 0, ...when, holdsOthers: true, error: undefined };
  };

  test("parks all dead letters of the sink, due now", () => {
    const { tables } = tablesWithEvents();
    save(tables, { dead: [death(3), death(2)] });
    save(tables, { sink: "other", dead: [death(3)] });
    expect(tables.redeliver("s", undefined, NOW + 7)).toEqual([again(2, web2.id), again(3)]);
    expect(tables.loadFeed("s")).toMatchObject({ parked: [again(2, web2.id), again(3)], deadLetters: 0 });
    expect(tables.loadFeed("other")?.deadLetters).toBe(1);
    expect(tables.redeliver("s", undefined, NOW + 7)).toEqual([]);
  });

  test("parks certain events, dead letters or not, each once", () => {
    const { tables, id } = tablesWithEvents();
    save(tables, { dead: [death(3), death(5)], park: [parked(7)] });
    const events = [id(5), id(1), id(5), id(7)];
    expect(tables.redeliver("s", events, NOW + 7)).toEqual([again(1), again(5), again(7)]);
    expect(tables.loadFeed("s")).toMatchObject({ parked: [again(1), again(5), again(7)], deadLetters: 1 });
  });

  test("of what is not kept, or for a sink that is not there, is refused", () => {
    const { tables, id } = tablesWithEvents();
    save(tables);
    const failed = expect.objectContaining({ name: "CommandError", code: "failed" }) as Error;
    expect(() => tables.redeliver("s", [id(1), "unknown"], NOW)).toThrow(failed);
    expect(() => tables.redeliver("nobody", [id(1)], NOW)).toThrow(failed);
  });

  test("of a dead letter that the log lost still has its event, also when it dies again", () => {
    const { tables, events, id } = tablesWithEvents();
    save(tables, { dead: [{ ...death(1), at: NOW + 100 * DAY }] });
    while (tables.pruneSomeEvents(NOW + 100 * DAY).more);
    tables.redeliver("s", [id(1)], NOW);
    while (tables.pruneSomeEvents(NOW + 100 * DAY).more);
    expect(tables.eventsAt([1])).toEqual([events[0]]);
    save(tables, { park: [parked(1, { attempts: 2 })] });
    expect(tables.eventsAt([1])).toEqual([events[0]]);
    save(tables, { dead: [death(1, "again")] });
    expect(tables.deadLetters("s", 10)).toEqual([{ event: events[0], error: "again", attempts: 5, at: NOW }]);
    tables.redeliver("s", undefined, NOW);
    save(tables, { unpark: [1] });
    expect(tables.eventsAt([1])).toEqual([]);
  });
});

describe("attempts", () => {
  test("are told the newest first", () => {
    const { tables } = openTables();
    const failed = attempt(2, { outcome: "failed", status: 503, error: "busy" });
    save(tables, { attempts: [attempt(1), failed] });
    save(tables, { attempts: [attempt(3)] });
    expect(tables.attemptsAt("s", 10)).toEqual([attempt(3), failed, attempt(1)]);
    expect(tables.attemptsAt("s", 1)).toEqual([attempt(3)]);
    expect(tables.attemptsAt("other", 1)).toEqual([]);
  });

  test("are the sink's newest hundred, however they come", () => {
    const { tables } = openTables();
    const numbers = Array.from({ length: 430 }, (_, index) => index);
    save(tables, { sink: "other", attempts: [attempt(0)] });
    save(tables, { attempts: numbers.slice(0, 250).map((number) => attempt(number)) });
    for (const number of numbers.slice(250)) save(tables, { attempts: [attempt(number)] });
    const kept = tables.attemptsAt("s", 1000).map((one) => one.attempt);
    expect(kept).toEqual(numbers.slice(-100).reverse());
    expect(tables.attemptsAt("other", 10)).toHaveLength(1);
  });
});
