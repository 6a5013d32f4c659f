import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Event, managerEvent } from "../../../../../manager/events/event.ts";
import {
  Dispatcher,
  type DispatcherOptions,
  type SinkOptions,
} from "../../../../../manager/events/outbox/dispatcher.ts";
import { MAX_LANE, MAX_PARKED } from "../../../../../manager/events/outbox/feed.ts";
import type { Outcome } from "../../../../../manager/sinks/sink.ts";
import { KEPT_DEAD_LETTERS } from "../../../../../manager/store/limits.ts";
import { aVmEvent, EventsInMemory } from "../event-makers.ts";
import { letsOthersGoOn, ScriptedSink } from "./scripted-sink.ts";

const nobody = { info: () => undefined, warn: () => undefined, error: () => undefined };

function dispatcherOver(
  store: EventsInMemory,
  attempted: DispatcherOptions["attempted"] = () => undefined,
): Dispatcher {
  return new Dispatcher({
    store,
    log: store.log,
    logger: nobody,
    attempted,
    failed: (error) => {
      throw error;
    },
    random: () => 0,
  });
}

const options = (sink: ScriptedSink, more: Partial<SinkOptions> = {}): SinkOptions => {
  return { id: "s", sink, wants: () => true, carriesValues: false, tellWhenDisabled: [], ...more };
};

/** Everything that can happen without time going by. */
async function settled(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
});

afterEach(() => {
  vi.useRealTimers();
});

describe("a sink", () => {
  test("has what happens after it was added, and only what it wants", async () => {
    const store = new EventsInMemory();
    store.append(aVmEvent("a"));
    const sink = new ScriptedSink();
    await dispatcherOver(store).add(options(sink, { wants: ({ type }) => type === "VM.STOPPED" }));
    store.append(aVmEvent("a"), aVmEvent("a", { type: "VM.STOPPED" }), aVmEvent("b", { type: "VM.STOPPED" }));
    await settled();
    expect(sink.deliveredPositions).toEqual([3, 4]);
  });

  test("has values only when it asked for them", async () => {
    const store = new EventsInMemory();
    const [without, withValues] = [new ScriptedSink(), new ScriptedSink()];
    const dispatcher = dispatcherOver(store);
    await dispatcher.add(options(without, { id: "without" }));
    await dispatcher.add(options(withValues, { id: "with", carriesValues: true }));
    store.append(aVmEvent("a", { value: { value: "blue" } }));
    await settled();
    expect(without.delivered[0]?.value).toBeUndefined();
    expect(withValues.delivered[0]?.value).toEqual({ value: "blue" });
  });

  test("is not told of its own trouble, and has what is for it alone whatever it wants", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    await dispatcherOver(store).add(options(sink, { wants: () => false }));
    store.append(
      aVmEvent("a", { about: "s", also: ["s"] }),
      aVmEvent("a", { only: "s" }),
      aVmEvent("a", { only: "other" }),
    );
    store.append(aVmEvent("a", { also: ["s"] }));
    await settled();
    expect(sink.deliveredPositions).toEqual([2, 4]);
  });

  test("gets a failed event again on its schedule, and the later ones of that VM after it; other VMs go on", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = ({ position }) => (position === 1 ? { type: "failed", reason: "500" } : { type: "delivered" });
    const dispatcher = dispatcherOver(store);
    const feed = await dispatcher.add(options(sink));
    store.append(aVmEvent("a"), aVmEvent("b"), aVmEvent("a"), aVmEvent("b"));
    await settled();
    expect(sink.deliveredPositions).toEqual([2, 4]);
    store.append(aVmEvent("a"));
    await settled();
    expect(feed.retrying).toBe(3);

    sink.answer = () => ({ type: "delivered" });
    await vi.advanceTimersByTimeAsync(999);
    expect(sink.deliveredPositions).toEqual([2, 4]);
    await vi.advanceTimersByTimeAsync(1);
    expect(sink.deliveredPositions).toEqual([2, 4, 1, 3, 5]);
    expect(feed.retrying).toBe(0);
  });

  test("waits as long as its receiver asks", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = () => ({ type: "failed", reason: "503", retryAfterMs: 60_000 });
    await dispatcherOver(store).add(options(sink));
    store.append(aVmEvent("a"));
    await vi.advanceTimersByTimeAsync(59_999);
    expect(sink.tried).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(sink.tried).toHaveLength(2);
  });

  test("tries what it postponed when the time has come, with nothing counted, and the later ones of that VM after it", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = ({ position }) =>
      position === 1 ? { type: "postponed", reason: "too early", forMs: 7_000 } : { type: "delivered" };
    const dispatcher = dispatcherOver(store);
    const feed = await dispatcher.add(options(sink));
    store.append(aVmEvent("a"), aVmEvent("a"), aVmEvent("b"));
    await vi.advanceTimersByTimeAsync(6_999);
    expect(sink.deliveredPositions).toEqual([3]);
    expect(feed).toMatchObject({ retrying: 2, deadLetters: 0 });
    expect(feed.state).toMatchObject({ failures: 0 });
    expect(store.feeds.get("s")?.parked[0]).toMatchObject({ position: 1, attempts: 0, error: "too early" });

    sink.answer = () => ({ type: "failed", reason: "500" });
    await vi.advanceTimersByTimeAsync(1);
    // It has all of its schedule still.
    await vi.advanceTimersByTimeAsync(1_000);
    sink.answer = () => ({ type: "delivered" });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(sink.tried.map(({ position }) => position)).toEqual([1, 3, 1, 1, 1, 2]);
    expect(feed).toMatchObject({ retrying: 0, deadLetters: 0 });
  });

  test("keeps what it postponed over a restart of the manager, and the time", async () => {
    const store = new EventsInMemory();
    const [before, after] = [new ScriptedSink(), new ScriptedSink()];
    before.answer = () => ({ type: "postponed", reason: "too early", forMs: 7_000 });
    const first = dispatcherOver(store);
    await first.add(options(before));
    store.append(aVmEvent("a"));
    await settled();
    await first.close();
    await dispatcherOver(store).add(options(after));
    await vi.advanceTimersByTimeAsync(6_999);
    expect(after.tried).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(after.deliveredPositions).toEqual([1]);
  });

  /** That it is to wait for so long, and no other for it. */
  const aside = (forMs: number): Outcome => ({ type: "postponed", reason: "too early", forMs, holdsOthers: false });

  test("goes on with the later ones of a VM while one waits that holds nobody, after a restart too", async () => {
    const store = new EventsInMemory();
    const [before, after] = [new ScriptedSink(), new ScriptedSink()];
    before.answer = ({ position }) => (position === 1 ? aside(7_000) : { type: "delivered" });
    const first = dispatcherOver(store);
    const feed = await first.add(options(before));
    store.append(aVmEvent("a"), aVmEvent("a"));
    await settled();
    expect(before.deliveredPositions).toEqual([2]);
    expect(feed).toMatchObject({ retrying: 1, deadLetters: 0 });
    await first.close();

    await dispatcherOver(store).add(options(after));
    store.append(aVmEvent("a"));
    await settled();
    expect(after.deliveredPositions).toEqual([3, 1]);
  });

  test("asks again for what holds nobody when a later one of its VM comes, and otherwise when its time has come", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = () => aside(7_000);
    const feed = await dispatcherOver(store).add(options(sink));
    store.append(aVmEvent("a"), aVmEvent("b"));
    await vi.advanceTimersByTimeAsync(1_000);
    store.append(aVmEvent("a"));
    await settled();
    expect(sink.tried.map(({ position }) => position)).toEqual([1, 2, 3, 1]);
    sink.answer = ({ position }) => (position === 1 ? { type: "obsolete", reason: "over" } : aside(7_000));
    store.append(aVmEvent("a"));
    await settled();
    expect(feed.retrying).toBe(3);
    sink.answer = () => ({ type: "delivered" });
    await vi.advanceTimersByTimeAsync(6_000);
    expect(sink.deliveredPositions).toEqual([2]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sink.deliveredPositions).toEqual([2, 3, 4]);
  });

  test("lets no more of one VM's events wait than of others', though they hold nobody", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = () => aside(3_600_000);
    const feed = await dispatcherOver(store).add(options(sink, { wants: ({ type }) => type.startsWith("VM.") }));
    for (let count = 0; count < MAX_LANE + 5; count += 1) {
      store.append(aVmEvent("evil"));
      await settled();
    }
    expect(feed).toMatchObject({ retrying: MAX_LANE, deadLetters: 5 });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(store.dead.map(({ position }) => position)).toEqual([1, 2, 3, 4, 5]);
  });

  test("tries what failed, and what was postponed, at once when the clock was set back since", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = ({ resourceUUID }) =>
      resourceUUID === "a"
        ? { type: "failed", reason: "500" }
        : { type: "postponed", reason: "too early", forMs: 60_000 };
    const first = dispatcherOver(store);
    await first.add(options(sink));
    store.append(aVmEvent("a"), aVmEvent("b"));
    await settled();
    vi.setSystemTime(Date.now() - 3_600_000);
    sink.answer = () => ({ type: "delivered" });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sink.deliveredPositions).toEqual([1, 2]);

    // Of a restart as well.
    sink.answer = () => ({ type: "failed", reason: "500" });
    store.append(aVmEvent("a"));
    await settled();
    await first.close();
    vi.setSystemTime(Date.now() - 3_600_000);
    const after = new ScriptedSink();
    await dispatcherOver(store).add(options(after));
    await settled();
    expect(after.deliveredPositions).toEqual([3]);
  });

  test("is done with what is obsolete, new or waiting, which is counted and written down as such", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = ({ position }) =>
      position === 1 ? { type: "failed", reason: "500" } : { type: "obsolete", reason: "over" };
    const outcomes: string[] = [];
    const dispatcher = dispatcherOver(store, (_, became) => outcomes.push(became));
    const feed = await dispatcher.add(options(sink));
    store.append(aVmEvent("a"), aVmEvent("b"));
    await settled();
    expect(outcomes).toEqual(["failed", "obsolete"]);
    sink.answer = () => ({ type: "obsolete", reason: "over" });
    await vi.advanceTimersByTimeAsync(2_000);
    expect(outcomes).toEqual(["failed", "obsolete", "obsolete"]);
    expect(feed).toMatchObject({ retrying: 0, deadLetters: 0, backlog: 0 });
    expect(feed.state).toMatchObject({ lastDeliveredAt: undefined, failures: 1 });
    expect(store.attempts.map(({ eventId, outcome, error }) => [eventId, outcome, error])).toEqual([
      ["event-1", "failed", "500"],
      ["event-2", "obsolete", "over"],
      ["event-1", "obsolete", "over"],
    ]);
    expect(store.feeds.get("s")?.parked).toEqual([]);
  });

  test("gives an event up after its schedule; it is a dead letter, said as an event, and the next goes on", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = ({ position }) => (position === 1 ? { type: "failed", reason: "500" } : { type: "delivered" });
    const feed = await dispatcherOver(store).add(options(sink, { wants: ({ type }) => type.startsWith("VM.") }));
    store.append(aVmEvent("a"), aVmEvent("a"));
    await vi.advanceTimersByTimeAsync(11_000);
    expect(sink.tried.map(({ position }) => position)).toEqual([1, 1, 1, 2]);
    expect(feed.deadLetters).toBe(1);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(store.dead).toEqual([{ sink: "s", position: 1, error: "500" }]);
    expect(store.events.at(-1)).toMatchObject({ type: "SINK.DEAD-LETTER", about: "s", data: { event: "event-1" } });
  });

  test("gets dead letters again when somebody asks", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = () => ({ type: "rejected", reason: "never" });
    const dispatcher = dispatcherOver(store);
    const feed = await dispatcher.add(options(sink, { wants: ({ type }) => type.startsWith("VM.") }));
    store.append(aVmEvent("a"), aVmEvent("b"));
    await settled();
    expect(feed.deadLetters).toBe(2);
    sink.answer = () => ({ type: "delivered" });
    expect(await dispatcher.redeliver("s", undefined)).toBe(2);
    await settled();
    expect(sink.deliveredPositions.sort()).toEqual([1, 2]);
    expect(feed.deadLetters).toBe(0);
  });

  test("that cannot be reached keeps its place, is tried less and less often, and misses nothing", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    let isAway = true;
    sink.answer = () => (isAway ? { type: "unavailable", reason: "refused" } : { type: "delivered" });
    const feed = await dispatcherOver(store).add(options(sink));
    store.append(...Array.from({ length: 10 }, (_, index) => aVmEvent(`vm${index % 3}`)));
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(feed.trouble).toBe("refused");
    expect(feed.backlog).toBe(10);
    expect(feed.deadLetters).toBe(0);
    // At most every 30 s in that hour, 4 or fewer VMs at a time.
    expect(sink.tried.length).toBeLessThan(4 * (120 + 10));
    isAway = false;
    await vi.advanceTimersByTimeAsync(30_000);
    expect(sink.deliveredPositions).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(feed.trouble).toBeUndefined();
  });

  test("that fails too often for too long is disabled, its owner's other sinks hear of it, and it goes on when enabled", async () => {
    const store = new EventsInMemory();
    const [sink, contact] = [new ScriptedSink(), new ScriptedSink()];
    sink.disableAfter = { failures: 3, durationMs: 5_000 };
    sink.answer = () => ({ type: "failed", reason: "500" });
    const dispatcher = dispatcherOver(store);
    const feed = await dispatcher.add(
      options(sink, { tellWhenDisabled: ["contact"], wants: (event) => event.type.startsWith("VM.") }),
    );
    await dispatcher.add(options(contact, { id: "contact", wants: () => false }));
    store.append(aVmEvent("a"), aVmEvent("b"), aVmEvent("c"));
    await settled();
    expect(feed.state.disabled).toBeUndefined();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(feed.state.disabled).toMatch(/^it failed \d+ times: 500$/);
    expect(contact.delivered.map(({ type, data }) => [type, data["sink"]])).toEqual([["SINK.DISABLED", "s"]]);

    store.append(aVmEvent("d"));
    await vi.advanceTimersByTimeAsync(86_400_000);
    expect(sink.delivered).toEqual([]);
    sink.answer = () => ({ type: "delivered" });
    feed.enable();
    await settled();
    expect(sink.delivered.map(({ resourceUUID }) => resourceUUID)).toContain("d");
  });

  test("whose receiver wants no more is disabled at once, and the event it refused is the first when it is enabled", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = () => ({ type: "gone", reason: "410 Gone", status: 410 });
    const feed = await dispatcherOver(store).add(options(sink, { wants: ({ type }) => type.startsWith("VM.") }));
    store.append(aVmEvent("a"));
    await settled();
    expect(feed.state.disabled).toBe("it wants no more events: 410 Gone");
    sink.answer = () => ({ type: "delivered" });
    feed.enable();
    await settled();
    expect(sink.deliveredPositions).toEqual([1]);
  });

  test("takes nothing new while too many wait for another attempt", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.batchSize = 100;
    sink.retryScheduleMs = [3_600_000];
    sink.answer = () => ({ type: "failed", reason: "500" });
    const feed = await dispatcherOver(store).add(options(sink));
    store.append(...Array.from({ length: 2 * MAX_PARKED }, (_, index) => aVmEvent(`vm${index}`)));
    await settled();
    expect(feed.retrying).toBeGreaterThanOrEqual(MAX_PARKED);
    expect(feed.retrying).toBeLessThan(MAX_PARKED + sink.batchSize);
    expect(feed.backlog).toBeGreaterThan(0);
  });

  test("that was away for longer than events are kept is told so, and goes on with what is there", async () => {
    const store = new EventsInMemory();
    const first = dispatcherOver(store);
    await first.add(options(new ScriptedSink()));
    await first.close();
    store.append(...Array.from({ length: 5_000 }, () => aVmEvent("a")));
    store.prune(4_990);
    const sink = new ScriptedSink();
    await dispatcherOver(store).add(options(sink, { wants: ({ type }) => type.startsWith("VM.") }));
    // The tail of the log is in memory all the same: only what is not there either is missed.
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sink.deliveredPositions.at(-1)).toBe(5_000);
    expect(store.events.at(-1)).toMatchObject({ type: "SINK.MISSED", data: { sink: "s" } });
  });

  test("goes on where it was after a restart", async () => {
    const store = new EventsInMemory();
    const first = dispatcherOver(store);
    const before = new ScriptedSink();
    await first.add(options(before));
    store.append(aVmEvent("a"), aVmEvent("a"));
    await settled();
    await first.close();
    expect(before.isClosed).toBe(true);
    store.append(aVmEvent("a"));
    const after = new ScriptedSink();
    await dispatcherOver(store).add(options(after));
    await settled();
    expect(after.deliveredPositions).toEqual([3]);
  });

  test("can be tried: the test event goes to it alone, and what became of it is answered", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = () => ({ type: "failed", reason: "certificate expired" });
    const feed = await dispatcherOver(store).add(options(sink, { wants: () => false }));
    const tested = feed.tested("t1", new AbortController().signal);
    store.append(aVmEvent("a", { type: "SINK.TEST", only: "s", data: { test: "t1" } }));
    await settled();
    expect(await tested).toMatchObject({ outcome: "failed", error: "certificate expired", attempt: 1 });
  });

  test.each<Outcome>([
    { type: "failed", reason: "500" },
    { type: "rejected", reason: "never" },
    { type: "unavailable", reason: "refused" },
    { type: "gone", reason: "410 Gone" },
  ])("that fails a test with '$type' has had it once, and nothing else comes of it", async (outcome) => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.disableAfter = { failures: 1, durationMs: 0 };
    sink.answer = () => outcome;
    const feed = await dispatcherOver(store).add(options(sink, { wants: () => false }));
    store.append(managerEvent("SINK.TEST", 1, { only: "s" }));
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(sink.tried).toHaveLength(1);
    expect(feed).toMatchObject({ retrying: 0, deadLetters: 0, backlog: 0 });
    expect(feed.state).toMatchObject({ failures: 0, disabled: undefined });
  });

  test("that fails what the manager says of itself goes on with the rest of it, and with a test alone", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.answer = ({ position }) => (position === 1 ? { type: "failed", reason: "500" } : { type: "delivered" });
    const feed = await dispatcherOver(store).add(options(sink));
    const said = (): ReturnType<typeof managerEvent> => managerEvent("SINK.MISSED", 1);
    store.append(said(), said(), aVmEvent("a"), managerEvent("SINK.TEST", 1, { only: "s" }), said());
    await settled();
    expect([...sink.deliveredPositions].sort()).toEqual([2, 3, 4, 5]);
    expect(feed.retrying).toBe(1);
    sink.answer = () => ({ type: "delivered" });
    await vi.advanceTimersByTimeAsync(1_000);
    expect([...sink.deliveredPositions].sort()).toEqual([1, 2, 3, 4, 5]);
  });

  test("that fails events of one VM without end gives up the first for the later ones, and other VMs go on", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.retryScheduleMs = [3_600_000];
    sink.answer = ({ position }) => (position === 1 ? { type: "failed", reason: "413" } : { type: "delivered" });
    const feed = await dispatcherOver(store).add(options(sink, { wants: ({ type }) => type.startsWith("VM.") }));
    store.append(...Array.from({ length: MAX_LANE }, () => aVmEvent("evil")), aVmEvent("good"));
    await settled();
    expect(feed.retrying).toBe(MAX_LANE);
    expect(sink.deliveredPositions).toEqual([MAX_LANE + 1]);

    store.append(aVmEvent("evil"));
    await settled();
    expect(sink.deliveredPositions).toHaveLength(MAX_LANE + 1);
    expect(feed).toMatchObject({ retrying: 0, deadLetters: 1 });
    await vi.advanceTimersByTimeAsync(1_000);
    const error = `given up because ${MAX_LANE} later events of its resource wait behind it`;
    expect(store.dead).toEqual([{ sink: "s", position: 1, error }]);
    expect(store.events.at(-1)).toMatchObject({ type: "SINK.DEAD-LETTER", data: { event: "event-1" } });
  });

  test("tries at once what failed when somebody enables it", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.retryScheduleMs = [3_600_000];
    sink.answer = () => ({ type: "failed", reason: "500" });
    const feed = await dispatcherOver(store).add(options(sink));
    store.append(aVmEvent("a"), aVmEvent("a"), aVmEvent("b"));
    await settled();
    sink.answer = () => ({ type: "delivered" });
    feed.enable();
    await settled();
    expect([...sink.deliveredPositions].sort()).toEqual([1, 2, 3]);
  });

  test("that is new begins at its place, and otherwise where the log was when it was asked for", async () => {
    const store = new EventsInMemory();
    const [placed, other] = [new ScriptedSink(), new ScriptedSink()];
    const dispatcher = dispatcherOver(store);
    store.append(aVmEvent("a"), aVmEvent("a"));
    const adding = [
      dispatcher.add(options(placed, { id: "placed", from: 1 })),
      dispatcher.add(options(other, { id: "other" })),
    ];
    store.append(aVmEvent("a"));
    await Promise.all(adding);
    await settled();
    expect(placed.deliveredPositions).toEqual([2, 3]);
    expect(other.deliveredPositions).toEqual([3]);
  });

  test("has no event any more that its owner may not have, at whichever attempt, but what is meant for it", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    const allowed = new Set(["a", "b"]);
    sink.answer = ({ resourceUUID }) =>
      resourceUUID === "a" ? { type: "failed", reason: "500" } : { type: "rejected", reason: "never" };
    const dispatcher = dispatcherOver(store);
    const mayHave = ({ resourceUUID }: Event): boolean => allowed.has(resourceUUID);
    const wants = ({ type }: Event): boolean => type.startsWith("VM.");
    const feed = await dispatcher.add(options(sink, { wants, mayHave }));
    store.append(aVmEvent("a"), aVmEvent("b"), aVmEvent("c"));
    await settled();
    expect(feed).toMatchObject({ retrying: 1, deadLetters: 1 });

    allowed.clear();
    sink.answer = () => ({ type: "delivered" });
    await dispatcher.redeliver("s", undefined);
    store.append(aVmEvent("a"), aVmEvent("c", { also: ["s"] }), aVmEvent("c", { only: "s" }));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sink.delivered.map(({ resourceUUID }) => resourceUUID)).toEqual(["c", "c"]);
    expect(feed).toMatchObject({ retrying: 0, deadLetters: 0, backlog: 0 });
    expect(store.feeds.get("s")?.parked).toEqual([]);
  });

  test("that is changed while dead letters are to be delivered again has all of them", async () => {
    const store = new EventsInMemory();
    const [before, after] = [new ScriptedSink(), new ScriptedSink()];
    before.answer = () => ({ type: "rejected", reason: "never" });
    const dispatcher = dispatcherOver(store);
    const wants = ({ type }: Event): boolean => type.startsWith("VM.");
    await dispatcher.add(options(before, { wants }));
    store.append(aVmEvent("a"));
    await settled();
    before.answer = () => ({ type: "delivered" });
    const parking = Promise.withResolvers<undefined>();
    const redeliver = store.redeliver.bind(store);
    store.redeliver = (...args) => parking.promise.then(() => redeliver(...args));
    const redelivering = dispatcher.redeliver("s", undefined);
    const changing = dispatcher.add(options(after, { wants }));
    await settled();
    parking.resolve(undefined);
    expect(await redelivering).toBe(1);
    await changing;
    await settled();
    expect([...before.deliveredPositions, ...after.deliveredPositions]).toEqual([1]);
  });

  test("counts no more dead letters than are kept", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.batchSize = 100;
    sink.answer = () => ({ type: "rejected", reason: "never" });
    const feed = await dispatcherOver(store).add(options(sink, { wants: ({ type }) => type.startsWith("VM.") }));
    store.append(...Array.from({ length: KEPT_DEAD_LETTERS + 5 }, (_, index) => aVmEvent(`vm${index}`)));
    await settled();
    expect(sink.tried).toHaveLength(KEPT_DEAD_LETTERS + 5);
    expect(feed.deadLetters).toBe(KEPT_DEAD_LETTERS);
  });

  test("whose broker goes away in the middle of many events of one VM loses none, and repeats none that was taken", async () => {
    const store = new EventsInMemory();
    const sink = new ScriptedSink();
    sink.batchSize = 500;
    let isAway = true;
    sink.answer = ({ resourceUUID }) => {
      return isAway && resourceUUID === "a" ? { type: "unavailable", reason: "reset" } : { type: "delivered" };
    };
    const feed = await dispatcherOver(store).add(options(sink));
    store.append(...Array.from({ length: 200 }, () => aVmEvent("a")), aVmEvent("b"));
    await settled();
    expect(sink.deliveredPositions).toEqual([201]);
    isAway = false;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(feed.deadLetters).toBe(0);
    expect(sink.deliveredPositions).toEqual([201, ...Array.from({ length: 200 }, (_, index) => index + 1)]);
  });
});

/** What a sink can do with an event at one attempt. */
const outcome = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Outcome>({ type: "delivered" }) },
  { weight: 2, arbitrary: fc.constant<Outcome>({ type: "failed", reason: "500" }) },
  { weight: 1, arbitrary: fc.constant<Outcome>({ type: "unavailable", reason: "refused" }) },
  {
    weight: 2,
    arbitrary: fc
      .record({ forMs: fc.integer({ min: 1, max: 5_000 }), holdsOthers: fc.boolean() })
      .map((waits): Outcome => ({ type: "postponed", reason: "", ...waits })),
  },
  { weight: 1, arbitrary: fc.constant<Outcome>({ type: "obsolete", reason: "over" }) },
);

describe("whatever a sink does, and however often the manager is killed,", () => {
  test("every event is delivered or obsolete, once where nothing was killed, and those of one VM in their order but what was let by", async () => {
    const vms = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 6 });
    const append = fc.record({ type: fc.constant("append" as const), vms });
    const time = fc.record({ type: fc.constant("time" as const), ms: fc.integer({ min: 1, max: 5_000 }) });
    const restart = fc.constant({ type: "restart" as const });
    const kill = fc.constant({ type: "kill" as const });
    const peaceful = fc.oneof({ weight: 6, arbitrary: append }, { weight: 3, arbitrary: time }, restart);
    const steps = fc.oneof(
      fc.array(peaceful, { maxLength: 40 }),
      fc.array(fc.oneof({ weight: 10, arbitrary: peaceful }, kill), { maxLength: 40 }),
    );
    const scripts = fc.tuple(steps, fc.infiniteStream(outcome));
    await fc.assert(
      fc.asyncProperty(scripts, async ([steps, outcomes]) => {
        const store = new EventsInMemory();
        const settledEvents: Event[] = [];
        const letBy = new Set<number>();
        let mayFail = true;
        const newSink = (): ScriptedSink => {
          const sink = new ScriptedSink();
          // Longer than any script: nothing becomes a dead letter.
          sink.retryScheduleMs = Array.from({ length: 1_000 }, () => 700);
          sink.answer = (event) => {
            const next = mayFail ? (outcomes.next().value as Outcome) : ({ type: "delivered" } as const);
            if (next.type === "delivered" || next.type === "obsolete") settledEvents.push(event);
            if (letsOthersGoOn(next)) letBy.add(event.position);
            return next;
          };
          return sink;
        };
        let alive = { isKilled: false };
        const start = async (): Promise<Dispatcher> => {
          const mine = { isKilled: false };
          alive = mine;
          // A process that was killed writes nothing more.
          const own = Object.assign(Object.create(store) as EventsInMemory, {
            saveProgress: (...args: Parameters<EventsInMemory["saveProgress"]>) =>
              mine.isKilled ? new Promise<void>(() => undefined) : store.saveProgress(...args),
          });
          const dispatcher = dispatcherOver(own);
          await dispatcher.add(options(newSink()));
          return dispatcher;
        };
        let dispatcher = await start();
        for (const one of steps) {
          if (one.type === "append") store.append(...one.vms.map((vm) => aVmEvent(vm)));
          else if (one.type === "time") await vi.advanceTimersByTimeAsync(one.ms);
          else if (one.type === "kill") {
            alive.isKilled = true;
            void dispatcher.close();
            dispatcher = await start();
          } else {
            const closing = dispatcher.close();
            await vi.advanceTimersByTimeAsync(1_000);
            await closing;
            dispatcher = await start();
          }
          await settled();
        }
        mayFail = false;
        await vi.advanceTimersByTimeAsync(120_000);
        expect(new Set(settledEvents.map(({ position }) => position)).size).toBe(store.events.length);
        if (!steps.some(({ type }) => type === "kill")) expect(settledEvents).toHaveLength(store.events.length);
        for (const vm of ["a", "b", "c"]) {
          const ofVm = settledEvents.filter(({ resourceUUID }) => resourceUUID === vm);
          const firsts = [...new Set(ofVm.map(({ position }) => position))].filter((position) => !letBy.has(position));
          expect(firsts).toEqual([...firsts].sort((one, other) => one - other));
        }
        void dispatcher.close();
      }),
      { numRuns: 150 },
    );
  });
});
