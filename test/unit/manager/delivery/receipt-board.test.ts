import { describe, expect, test } from "vitest";
import { ReceiptBoard } from "../../../../manager/delivery/receipt-board.ts";
import type { MessageState, Receipt } from "../../../../shared/api/schemas.ts";

const receipt = (state: MessageState): Receipt => ({ messageId: "m", state }) as Receipt;

function wait(awaited: "delivered" | "acknowledged", { now = "queued" as MessageState, waitMs = 60_000 } = {}) {
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

  test("is not told of other messages", async () => {
    const { board, awaiting } = wait("delivered", { waitMs: 1 });
    board.publish({ ...receipt("delivered"), messageId: "other" });
    expect((await awaiting).state).toBe("queued");
  });
});
