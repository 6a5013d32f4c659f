/** What became of events, from what became of the messages that told of them. */
import type { Publication } from "../amqp/session.ts";
import type { Event } from "../events/event.ts";
import type { Outcome } from "./sink.ts";

/**
 * What a broker returns or refuses is no fault of the event's: its queue is full, or nobody has made it. The whole sink waits
 * then, as it does while the broker is away, so that nothing becomes a dead letter of what a consumer may yet make room for.
 */
export function outcomeOf(publication: Publication): Outcome {
  switch (publication.type) {
    case "confirmed":
      return { type: "delivered" };
    case "refused":
    case "unconfirmed":
      return { type: "unavailable", reason: publication.reason };
  }
}

/**
 * Holds what follows an event of its resource that was not delivered. A broker may have taken it already, since messages
 * are not published one by one; it is sent again with the same id, so that the last to arrive are in order.
 */
export function heldInOrder(events: readonly Event[], outcomes: readonly Outcome[]): Outcome[] {
  const undelivered = new Set<string>();
  return outcomes.map((outcome, index) => {
    const resource = events[index]?.resourceUUID ?? "";
    if (undelivered.has(resource)) return outcome.type === "unavailable" ? outcome : { type: "held" };
    if (outcome.type !== "delivered") undelivered.add(resource);
    return outcome;
  });
}
