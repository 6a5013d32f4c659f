import { describe, expect, test } from "vitest";
import type { EventPage } from "../../../../shared/api/event-schemas.ts";
import type { Event } from "../../../../manager/events/event.ts";
import { EventLog } from "../../../../manager/events/event-log.ts";
import { EventReader } from "../../../../manager/events/reader.ts";
import { aVmEvent, EventsInMemory, LOG_ID } from "./event-makers.ts";

const everything = { wants: () => true, since: undefined, values: false };

function logOf(events: number): EventsInMemory {
  const store = new EventsInMemory();
  store.append(...Array.from({ length: events }, (_, index) => aVmEvent(`vm${index % 2}`)));
  return store;
}

describe("a page of events", () => {
  test("without a cursor has the newest, the oldest first", async () => {
    const page = await new EventReader(logOf(10).log).page(everything, 3);
    expect(page.events.map(({ cursor }) => cursor)).toEqual([8, 9, 10].map((at) => `${LOG_ID}:${at}`));
    expect(page).toMatchObject({ next: `${LOG_ID}:10`, more: false, missed: false });
  });

  test("finds the newest that are wanted however far back they are", async () => {
    const store = new EventsInMemory();
    store.append(aVmEvent("rare"), ...Array.from({ length: 3_000 }, () => aVmEvent("other")));
    const page = await new EventReader(store.log).page({ ...everything, wants: (e) => e.resourceUUID === "rare" }, 5);
    expect(page.events.map(({ resourceUUID }) => resourceUUID)).toEqual(["rare"]);
  });

  test("after a cursor goes on where it ends, also when few are wanted", async () => {
    const reader = new EventReader(logOf(2_000).log);
    const seen: string[] = [];
    let since = `${LOG_ID}:0`;
    for (let more = true; more;) {
      const page = await reader.page({ ...everything, since, wants: (e) => e.resourceUUID === "vm1" }, 300);
      seen.push(...page.events.map(({ cursor }) => cursor));
      ({ next: since, more } = page);
    }
    expect(seen).toHaveLength(1_000);
    expect(new Set(seen).size).toBe(1_000);
  });

  test("says when events that were asked for are no longer kept", async () => {
    const store = logOf(5_000);
    store.prune(400);
    const page = await new EventReader(store.log).page({ ...everything, since: `${LOG_ID}:100` }, 2);
    expect(page.missed).toBe(true);
    expect(page.events.map(({ cursor }) => cursor)).toEqual([`${LOG_ID}:401`, `${LOG_ID}:402`]);
  });

  test.each([
    ["of another log", "ffffffffffffffff:1", "conflict"],
    ["from the future", `${LOG_ID}:11`, "conflict"],
    ["that is none", "yesterday", "usage"],
  ])("refuses a cursor %s", async (_, since, code) => {
    await expect(new EventReader(logOf(10).log).page({ ...everything, since }, 1)).rejects.toMatchObject({ code });
  });

  test("has values only when they are asked for", async () => {
    const store = new EventsInMemory();
    store.append(aVmEvent("a", { type: "KEY.SET", data: { key: "k" }, value: { value: "blue" } }));
    const reader = new EventReader(store.log);
    expect((await reader.page(everything, 1)).events[0]?.data).toEqual({ key: "k" });
    expect((await reader.page({ ...everything, values: true }, 1)).events[0]?.data).toEqual({
      key: "k",
      value: "blue",
    });
  });
});

describe("the newest events of a log that answers a few at a time", () => {
  /** As the store: so many events at once at most, none of them in memory. */
  function pagedLog(events: readonly Event[], atOnce: number): EventLog {
    const eventsAfter = (after: number, limit: number) => {
      return Promise.resolve(events.slice(after, after + Math.min(limit, atOnce)));
    };
    return new EventLog({ eventsAfter }, { id: LOG_ID, last: events.length });
  }
  const cursorsOf = (page: EventPage) => page.events.map(({ cursor }) => Number(cursor.split(":")[1]));

  test("are the newest all the same", async () => {
    const log = pagedLog(logOf(1_200).events, 7);
    const page = await new EventReader(log).page(everything, 600);
    expect(cursorsOf(page)).toEqual(Array.from({ length: 600 }, (_, index) => 601 + index));
  });

  test("are as many of the newest as a page holds", async () => {
    const store = new EventsInMemory();
    const data = { said: "x".repeat(1024 * 1024) };
    store.append(...Array.from({ length: 10 }, () => aVmEvent("a", { type: "GUEST.EVENT", source: "guest", data })));
    store.append(aVmEvent("b"));
    const page = await new EventReader(pagedLog(store.events, 1)).page(everything, 100);
    expect(cursorsOf(page)).toEqual([7, 8, 9, 10, 11]);
  });
});

describe("a stream of events", () => {
  test("has what comes, ends when it is aborted, and says what it missed", async () => {
    const store = logOf(5_000);
    store.prune(10);
    const stop = new AbortController();
    const stream = new EventReader(store.log).follow({ ...everything, since: `${LOG_ID}:5` }, stop.signal);
    expect((await stream.next()).value).toEqual({ type: "position", next: `${LOG_ID}:5` });
    expect((await stream.next()).value).toEqual({ type: "missed", next: `${LOG_ID}:10` });
    for (let at = 11; at <= 5_000; at += 1) {
      expect((await stream.next()).value).toMatchObject({ event: { cursor: `${LOG_ID}:${at}` } });
    }
    const next = stream.next();
    store.append(aVmEvent("late"));
    expect((await next).value).toMatchObject({ type: "event", event: { resourceUUID: "late" } });
    const last = stream.next();
    stop.abort();
    expect((await last).done).toBe(true);
  });

  test("without a cursor begins with the next event", async () => {
    const store = logOf(3);
    const stream = new EventReader(store.log).follow(everything, new AbortController().signal);
    expect((await stream.next()).value).toEqual({ type: "position", next: `${LOG_ID}:3` });
    const next = stream.next();
    store.append(aVmEvent("new"));
    expect((await next).value).toMatchObject({ event: { resourceUUID: "new" } });
  });
});
