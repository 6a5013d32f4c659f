import { describe, expect, it } from "vitest";
import { vmEvent } from "../../../../manager/events/event.ts";
import { heldInOrder } from "../../../../manager/sinks/amqp-outcomes.ts";
import type { Outcome } from "../../../../manager/sinks/sink.ts";

const delivered: Outcome = { type: "delivered" };
const failed: Outcome = { type: "failed", reason: "returned" };
const unavailable: Outcome = { type: "unavailable", reason: "gone" };
const held: Outcome = { type: "held" };

describe("of events that were published together, by the VMs in their order", () => {
  it.each<[string, string, Outcome[], Outcome[]]>([
    ["all arrived", "aab", [delivered, delivered, delivered], [delivered, delivered, delivered]],
    ["later ones of a VM are held", "aab", [failed, delivered, delivered], [failed, held, delivered]],
    ["earlier ones are not", "aba", [delivered, delivered, failed], [delivered, delivered, failed]],
    ["a second failure is not another attempt", "aa", [failed, failed], [failed, held]],
    [
      "all wait when the connection is lost",
      "aab",
      [unavailable, delivered, unavailable],
      [unavailable, held, unavailable],
    ],
  ])("%s", (_, vms, outcomes, expected) => {
    const events = Array.from(vms, (id, sequence) => ({
      ...vmEvent("VM.RUNNING", { id, name: id }, 0),
      id: `e${sequence}`,
      sequence,
      position: sequence,
    }));
    expect(heldInOrder(events, outcomes)).toEqual(expected);
  });
});
