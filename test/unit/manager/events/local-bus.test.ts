import { describe, expect, test, vi } from "vitest";
import type { Event } from "../../../../manager/events/event.ts";
import { LocalEventBus } from "../../../../manager/events/local-bus.ts";
import { aVmEvent, EventsInMemory } from "./event-makers.ts";

const stopped = aVmEvent("a", { type: "VM.STOPPED" });
const running = aVmEvent("a");

describe("the event bus", () => {
  test("gives each subscriber the events of their topic, in order, from the subscription to its end", async () => {
    const store = new EventsInMemory();
    const bus = new LocalEventBus(store, store.log, () => undefined);
    await bus.publish([stopped]);
    const [all, some]: [Event[], Event[]] = [[], []];
    const everything = await bus.subscribe({}, (event) => void all.push(event));
    await bus.subscribe({ eventType: "VM.STOPPED", resourceUUID: "a" }, (event) => void some.push(event));
    await bus.publish([running, stopped, aVmEvent("b", { type: "VM.STOPPED" })]);
    await vi.waitUntil(() => all.length === 3);
    expect(all.map(({ position }) => position)).toEqual([2, 3, 4]);
    await vi.waitUntil(() => some.length > 0);
    expect(some.map(({ position }) => position)).toEqual([3]);

    await bus.unsubscribe(everything);
    await bus.unsubscribe(everything);
    await bus.publish([stopped]);
    await vi.waitUntil(() => some.length === 2);
    expect(all).toHaveLength(3);
  });

  test("waits for a handler before the next event, and goes on after one that fails", async () => {
    const store = new EventsInMemory();
    const failures: unknown[] = [];
    const bus = new LocalEventBus(store, store.log, (error) => failures.push(error));
    const gate = Promise.withResolvers<undefined>();
    const begun: number[] = [];
    await bus.subscribe({}, async ({ position }) => {
      begun.push(position);
      if (position > 1) return;
      await gate.promise;
      throw new Error("broken");
    });
    await bus.publish([running, stopped]);
    await vi.waitUntil(() => begun.length === 1);
    gate.resolve(undefined);
    await vi.waitUntil(() => begun.length === 2);
    expect(failures).toEqual([new Error("broken")]);
  });
});
