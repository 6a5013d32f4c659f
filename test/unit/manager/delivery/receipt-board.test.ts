import { describe, expect, test } from "vitest";
import { ReceiptBoard } from "../../../../manager/delivery/receipt-board.ts";
import type { MessageState, Receipt } from "../../../../shared/api/schemas.ts";

const deliveredAt = "2026-11-21T00:00:00.000Z";

const receipt = (state: MessageState): Receipt => {
  return { messageId: "m", state, ...(state !== "queued" && { deliveredAt }) } as Receipt;
};

function wait(awaited: "delivered" | "acknowledged", options: { now?: MessageState; waitMs?: number } = {}) {
  const { now = "queued", waitMs = 60_000 } = options;
  const board = new ReceiptBoard();
  const awaiting = board.until("m", awaited, { current: () => Promise.resolve(receipt(now)), waitMs });
  return { board, awaiting };
}

describe("whoever waits for a message", () => {
  test("hears when it is delivered", async () => {
    const { board, awaiting } = wait("delivered");
    board.publish(receipt("delivered"));
    expect((await awaiting).state).toBe("delivered");
  });

  test("hears at once what is so already", async () => {
    expect((await wait("delivered", { now: "read" }).awaiting).state).toBe("read");
  });

  test("waits on for an acknowledgement through the states before it", async () => {
    const { board, awaiting } = wait("acknowledged");
    for (const state of ["delivered", "read", "acknowledged"] as const) board.publish(receipt(state));
    expect((await awaiting).state).toBe("acknowledged");
  });

  test.each(["refused", "expired"] as const)("does not wait on when it was %s", async (state) => {
    const { board, awaiting } = wait("acknowledged");
    board.publish(receipt(state));
    expect((await awaiting).state).toBe(state);
  });

  test("gets it as it is when the time is up", async () => {
    expect((await wait("acknowledged", { now: "delivered", waitMs: 1 }).awaiting).state).toBe("delivered");
  });

  test("for the delivery waits for its answer, which an acknowledgement can overtake", async () => {
    const { board, awaiting } = wait("delivered");
    board.publish({ messageId: "m", state: "acknowledged" } as Receipt);
    board.publish(receipt("acknowledged"));
    expect((await awaiting).deliveredAt).toBe(deliveredAt);
  });

  test("is not told of other messages", async () => {
    const { board, awaiting } = wait("delivered", { waitMs: 1 });
    board.publish({ ...receipt("delivered"), messageId: "other" });
    expect((await awaiting).state).toBe("queued");
  });
});
