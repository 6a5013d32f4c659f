/** What became of events, from what became of the messages that told of them. */
import type { Event } from "../events/event.ts";
import type { Publication } from "./amqp-session.ts";
import type { Outcome } from "./sink.ts";

/**
 * When a message that a broker returned or refused is published again: soon, since a queue may have been full for a moment,
 * and for half an hour, in which somebody may make the queue. Not measured.
 */
export const AMQP_RETRY_SCHEDULE_MS: readonly number[] = [1_000, 5_000, 30_000, 300_000, 1_800_000];

export function outcomeOf(publication: Publication): Outcome {
  switch (publication.type) {
    case "confirmed":
      return { type: "delivered" };
    case "refused":
      return { type: "failed", reason: publication.reason };
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
