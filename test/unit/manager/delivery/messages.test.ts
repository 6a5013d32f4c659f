import { expect, test } from "vitest";
import { receiptOf, type Sending } from "../../../../manager/delivery/messages.ts";

test("a message that another manager has is unconfirmed, with the id by which it is found there", () => {
  const kept = { type: "unconfirmed", message: "messageId m went to the manager on host2" } as const;
  const sending = { messageId: "m", kept } as Sending;
  expect(() => receiptOf(sending)).toThrow(
    expect.objectContaining({ code: "unconfirmed", message: kept.message, details: { messageId: "m" } }),
  );
});
