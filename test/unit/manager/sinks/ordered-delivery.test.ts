import { describe, expect, test } from "vitest";
import type { Event } from "../../../../manager/events/event.ts";
import { OrderedDelivery } from "../../../../manager/sinks/ordered-delivery.ts";
import type { Outcome } from "../../../../manager/sinks/sink.ts";
import { aborted } from "../../../../shared/abort.ts";
import { nextEventOf, web1, web2 } from "./events.ts";

const delivered: Outcome = { type: "delivered" };
const failed: Outcome = { type: "failed", reason: "no" };
const never = new AbortController().signal;

/** A receiver with these answers by event; others are delivered. */
function receiver(
  answers: readonly [Event, Outcome][],
  resourcesAtOnce = 1,
): { delivery: OrderedDelivery; tried: Event[] } {
  const byEvent = new Map(answers);
  const tried: Event[] = [];
  const attempt = (event: Event): Promise<Outcome> => {
    tried.push(event);
    return Promise.resolve(byEvent.get(event) ?? delivered);
  };
  return { delivery: new OrderedDelivery({ resourcesAtOnce, attempt }), tried };
}

async function outcomes(delivery: OrderedDelivery, events: readonly Event[], signal = never): Promise<string[]> {
  return (await delivery.deliver(events, signal)).map(({ outcome }) => outcome.type);
}

describe("a delivery", () => {
  test("answers in the order of the events", async () => {
    const last = nextEventOf(web2);
    const events = [nextEventOf(web1), nextEventOf(web2), nextEventOf(web1), last];
    const { delivery, tried } = receiver([[last, failed]]);
    expect(await outcomes(delivery, events)).toEqual(["delivered", "delivered", "delivered", "failed"]);
    expect(tried.filter(({ resourceUUID }) => resourceUUID === web1.id)).toEqual([events[0], events[2]]);
  });

  test("goes on after one that is obsolete", async () => {
    const first = nextEventOf(web1);
    const { delivery, tried } = receiver([[first, { type: "obsolete", reason: "over" }]]);
    expect(await outcomes(delivery, [first, nextEventOf(web1)])).toEqual(["obsolete", "delivered"]);
    expect(tried).toHaveLength(2);
  });

  test("goes on after one that is postponed and holds no others", async () => {
    const first = nextEventOf(web1);
    const postponed: Outcome = { type: "postponed", reason: "soon", forMs: 1, holdsOthers: false };
    const { delivery } = receiver([[first, postponed]]);
    expect(await outcomes(delivery, [first, nextEventOf(web1)])).toEqual(["postponed", "delivered"]);
  });

  test.each([failed, { type: "rejected", reason: "no" }, { type: "postponed", reason: "soon", forMs: 1 }] as Outcome[])(
    "holds what comes after one that is $type, of its resource only",
    async (outcome) => {
      const first = nextEventOf(web1);
      const events = [first, nextEventOf(web1), nextEventOf(web2), nextEventOf(web1)];
      const { delivery, tried } = receiver([[first, outcome]]);
      expect(await outcomes(delivery, events)).toEqual([outcome.type, "held", "delivered", "held"]);
      expect(tried).toHaveLength(2);
    },
  );

  test.each([
    { type: "gone", reason: "no more" },
    { type: "unavailable", reason: "not now" },
  ] as Outcome[])("begins nothing more after one that is $type", async (outcome) => {
    const first = nextEventOf(web1);
    const events = [first, nextEventOf(web2)];
    const { delivery, tried } = receiver([[first, outcome]]);
    expect(await outcomes(delivery, events)).toEqual([outcome.type, "held"]);
    expect(tried).toHaveLength(1);
  });

  test("tries nothing when it is to stop", async () => {
    const { delivery, tried } = receiver([]);
    expect(await outcomes(delivery, [nextEventOf(web1)], AbortSignal.abort())).toEqual(["unavailable"]);
    expect(tried).toEqual([]);
  });

  test("that is closed stops what runs and waits for it, and may be closed again", async () => {
    let hasEnded = false;
    const attempt = async (_event: Event, signal: AbortSignal): Promise<Outcome> => {
      await aborted(signal);
      hasEnded = true;
      return { type: "unavailable", reason: "stops" };
    };
    const delivery = new OrderedDelivery({ resourcesAtOnce: 1, attempt });
    const delivering = outcomes(delivery, [nextEventOf(web1)]);
    await delivery.close();
    expect(hasEnded).toBe(true);
    expect(await delivering).toEqual(["unavailable"]);
    await delivery.close();
  });
});
