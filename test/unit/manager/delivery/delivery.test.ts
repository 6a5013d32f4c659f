import { describe, expect, test, vi } from "vitest";
import { Delivery } from "../../../../manager/delivery/delivery.ts";
import type { Settlement, WaitingMessage } from "../../../../manager/store/store.ts";
import type { Receipt } from "../../../../shared/api/schemas.ts";
import { NoAnswerError } from "../../../../shared/peer.ts";
import { RequestError } from "../../../../shared/protocol/errors.ts";

/** A queue in memory, a guest that answers as told, and the delivery between them. */
function deliveryOf(...ids: string[]) {
  const queue = ids.map((messageId): WaitingMessage => {
    const change = { method: "clear" as const, params: { messageId } };
    return { messageId, change, queuedAt: 0, expiresAt: undefined, mayBeDone: false };
  });
  const settled: [string, Settlement["type"]][] = [];
  const attempts: string[] = [];
  const told: string[] = [];
  /** Messages that are gone when their answer comes. */
  const gone = new Set<string>();
  const state = {
    isUp: true,
    answer: (): Promise<unknown> => Promise.resolve({ epoch: "e", revision: 1, deleted: [] }),
    answersSince: () => Promise.resolve(0),
  };
  const delivery = new Delivery({
    vmId: "vm",
    store: {
      nextMessage: () => Promise.resolve(queue[0]),
      settle: (messageId, { type }) => {
        queue.shift();
        if (gone.has(messageId)) return Promise.resolve(undefined);
        settled.push([messageId, type]);
        return Promise.resolve({ messageId, state: type } as Receipt);
      },
      settleForgotten: (messageId, answersSince) => {
        if (answersSince === 0) return Promise.resolve(undefined);
        queue.shift();
        settled.push([messageId, "expired"]);
        return Promise.resolve({ messageId, state: "expired" } as Receipt);
      },
    },
    send: (_method, { messageId }) => {
      attempts.push(messageId);
      return state.answer() as Promise<never>;
    },
    revision: () => 1,
    answersSince: () => state.answersSince(),
    isLinkUp: () => state.isUp,
    settled: ({ messageId }) => {
      told.push(messageId);
    },
    failed: (error) => {
      throw error;
    },
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });
  return { delivery, queue, settled, attempts, told, gone, state };
}

describe("delivery", () => {
  test("hands messages over in order, each once", async () => {
    const { delivery, settled, attempts } = deliveryOf("1", "2", "3");
    delivery.wake();
    await vi.waitFor(() => {
      expect(settled).toHaveLength(3);
    });
    expect(attempts).toEqual(["1", "2", "3"]);
  });

  test("waits for the link", async () => {
    const { delivery, settled, state } = deliveryOf("1");
    state.isUp = false;
    delivery.wake();
    await new Promise(setImmediate);
    expect(settled).toEqual([]);
    state.isUp = true;
    delivery.wake();
    await vi.waitFor(() => {
      expect(settled).toEqual([["1", "delivered"]]);
    });
  });

  test("keeps a message whose answer was lost at the head, and sends it again under the same id", async () => {
    const { delivery, settled, attempts, state } = deliveryOf("1", "2");
    const { answer } = state;
    state.answer = () => {
      state.isUp = false;
      return Promise.reject(new NoAnswerError("lost"));
    };
    delivery.wake();
    await vi.waitFor(() => {
      expect(attempts).toEqual(["1"]);
    });
    Object.assign(state, { isUp: true, answer });
    delivery.wake();
    await vi.waitFor(() => {
      expect(settled).toHaveLength(2);
    });
    expect(attempts).toEqual(["1", "1", "2"]);
  });

  test("asks the guest what it remembers before it hands over again what may be done", async () => {
    const { delivery, queue, settled, attempts, told, state } = deliveryOf("may-be-done", "known", "new");
    for (const message of queue.slice(0, 2)) message.mayBeDone = true;
    const asked: string[] = [];
    state.answersSince = () => {
      asked.push(queue[0]?.messageId ?? "");
      if (asked.length === 1) return Promise.reject(new NoAnswerError("lost"));
      return Promise.resolve(asked.length === 2 ? 9 : 0);
    };
    delivery.wake();
    await vi.waitFor(() => {
      expect(settled).toEqual([
        ["may-be-done", "expired"],
        ["known", "delivered"],
        ["new", "delivered"],
      ]);
    });
    expect(asked).toEqual(["may-be-done", "may-be-done", "known"]);
    expect(attempts).toEqual(["known", "new"]);
    expect(told).toEqual(["may-be-done", "known", "new"]);
  });

  test("settles what the guest refuses with the guest's reason, and goes on with the next", async () => {
    const { delivery, settled, state } = deliveryOf("1", "2");
    const { answer } = state;
    state.answer = () => {
      state.answer = answer;
      return Promise.reject(new RequestError("conflict", "the key exists"));
    };
    delivery.wake();
    await vi.waitFor(() => {
      expect(settled).toEqual([
        ["1", "refused"],
        ["2", "delivered"],
      ]);
    });
  });

  test("takes a refusal that is not about the message for none", async () => {
    const { delivery, settled, attempts, state } = deliveryOf("1");
    const { answer } = state;
    state.answer = () => {
      state.answer = answer;
      return Promise.reject(new RequestError("busy", "later"));
    };
    delivery.wake();
    await vi.waitFor(() => {
      expect(attempts).toEqual(["1"]);
    });
    delivery.wake();
    await vi.waitFor(() => {
      expect(settled).toEqual([["1", "delivered"]]);
    });
  });

  test("passes over a message that was settled or moved while the guest did it, and goes on with the next", async () => {
    const { delivery, told, gone, attempts } = deliveryOf("1", "2");
    gone.add("1");
    delivery.wake();
    await vi.waitFor(() => {
      expect(told).toEqual(["2"]);
    });
    expect(attempts).toEqual(["1", "2"]);
  });

  test("that is stopped lets the message under way end and begins no other", async () => {
    const { delivery, settled, state } = deliveryOf("1", "2");
    const gate = Promise.withResolvers<unknown>();
    state.answer = () => gate.promise;
    delivery.wake();
    const stopped = delivery.stop();
    gate.resolve({ epoch: "e", revision: 1, deleted: [] });
    await stopped;
    expect(settled).toEqual([["1", "delivered"]]);
  });
});
