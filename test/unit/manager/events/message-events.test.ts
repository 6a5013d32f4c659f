import { describe, expect, test } from "vitest";
import type { Receipt } from "../../../../shared/api/schemas.ts";
import {
  acknowledgedEvent,
  guestEvent,
  keptEvents,
  readEvent,
  settledEvent,
} from "../../../../manager/events/message-events.ts";

const web1 = { id: "11111111-1111-4111-8111-111111111111", name: "web1" };
const at = (second: number) => `2026-01-15T12:00:0${second}.000Z`;
const ms = (second: number) => Date.parse(at(second));

const data = { messageId: "m", method: "set" as const, keys: ["a", "b"], by: "alice" };
const receipt = (more: Partial<Receipt> = {}): Receipt => {
  return { ...data, vm: web1, state: "queued", queuedAt: at(0), ...more };
};

test("a message that was kept was sent by somebody, and waits", () => {
  expect(keptEvents(receipt())).toMatchObject([
    { type: "MESSAGE.SEND", category: "ActionEvent", time: ms(0), newState: undefined, data },
    {
      type: "MESSAGE.QUEUED",
      category: "ResourceStateEvent",
      time: ms(0),
      resourceUUID: web1.id,
      resourceName: "web1",
      oldState: undefined,
      newState: "queued",
      data,
    },
  ]);
});

describe("a message that is settled", () => {
  test("was delivered", () => {
    const event = settledEvent(receipt({ state: "delivered", deliveredAt: at(1) }));
    expect(event).toMatchObject({ type: "MESSAGE.DELIVERED", time: ms(1), oldState: "queued", newState: "delivered" });
    expect(event.data).toEqual(data);
  });

  test("and was read or acknowledged before stays so", () => {
    const read = receipt({ state: "read", deliveredAt: at(3), readAt: at(1) });
    expect(settledEvent(read)).toMatchObject({ type: "MESSAGE.DELIVERED", oldState: "read", newState: "read" });
    const acknowledged = receipt({ state: "acknowledged", deliveredAt: at(3), readAt: at(1), acknowledgedAt: at(2) });
    expect(settledEvent(acknowledged)).toMatchObject({ oldState: "acknowledged", newState: "acknowledged" });
  });

  test("was refused, and why; what else the guest said is left out", () => {
    const refusal = { code: "over-limit", message: "no room", details: { free: 1 } } as const;
    const event = settledEvent(receipt({ state: "refused", endedAt: at(1), refusal }));
    expect(event).toMatchObject({ type: "MESSAGE.REFUSED", time: ms(1), oldState: "queued", newState: "refused" });
    expect(event.data).toEqual({ ...data, refusal: { code: "over-limit", message: "no room" } });
  });

  test("expired, and whether that is all that is known", () => {
    const event = settledEvent(receipt({ state: "expired", endedAt: at(1), isUnconfirmed: true }));
    expect(event).toMatchObject({ type: "MESSAGE.EXPIRED", time: ms(1), oldState: "queued", newState: "expired" });
    expect(event.data).toEqual({ ...data, isUnconfirmed: true });
  });
});

test.each<[string, Partial<Receipt>, string, string]>([
  ["was delivered", { state: "read", deliveredAt: at(0) }, "delivered", "read"],
  ["its guest did not answer for yet", { state: "read" }, "queued", "read"],
  ["was acknowledged before", { state: "acknowledged", acknowledgedAt: at(0) }, "acknowledged", "acknowledged"],
  ["expired", { state: "expired", endedAt: at(0) }, "expired", "expired"],
])("a message that %s is read", (_, more, oldState, newState) => {
  const event = readEvent(receipt({ readAt: at(1), ...more }));
  expect(event).toMatchObject({ type: "MESSAGE.READ", time: ms(1), oldState, newState, data });
});

test.each<[string, Partial<Receipt>, string, string]>([
  ["was delivered", { state: "acknowledged", deliveredAt: at(0) }, "delivered", "acknowledged"],
  ["was read", { state: "acknowledged", deliveredAt: at(0), readAt: at(0) }, "read", "acknowledged"],
  ["its guest did not answer for yet", { state: "acknowledged" }, "queued", "acknowledged"],
  ["was refused", { state: "refused", endedAt: at(0) }, "refused", "refused"],
])("a message that %s is acknowledged", (_, more, oldState, newState) => {
  const acknowledgement = { key: "a", result: "done" };
  const event = acknowledgedEvent(receipt({ acknowledgedAt: at(1), acknowledgement, ...more }));
  expect(event).toMatchObject({ type: "MESSAGE.ACKNOWLEDGED", time: ms(1), oldState, newState });
  expect(event.data).toMatchObject({ ...data, acknowledgement });
});

describe("what a guest said", () => {
  test("is an action of the guest's, whatever its data claims", () => {
    const forged = { messageId: "other", source: "management-server", resourceUUID: "other" };
    const event = guestEvent(web1, { messageId: "g", event: "VM.STOPPED", data: forged }, ms(1));
    expect(event).toMatchObject({
      type: "GUEST.VM.STOPPED",
      category: "ActionEvent",
      source: "guest",
      time: ms(1),
      resourceUUID: web1.id,
      data: { messageId: "g", data: forged },
    });
  });

  test("without data has none", () => {
    expect(guestEvent(web1, { messageId: "g", event: "BOOTED" }, ms(1)).data).toEqual({ messageId: "g" });
  });
});
