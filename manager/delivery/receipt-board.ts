/** Where those who wait for a message's fate hear of it. */
import type { Receipt } from "../../shared/api/schemas.ts";

export type AwaitedState = "delivered" | "acknowledged";

export class ReceiptBoard {
  readonly #waiting = new Map<string, Set<(receipt: Receipt) => void>>();

  /** A receipt changed. */
  publish(receipt: Receipt): void {
    for (const listener of this.#waiting.get(receipt.messageId) ?? []) listener(receipt);
  }

  /**
   * Settles with the receipt when it says what is awaited, or that it never will; with the last one known when the time is
   * up or the signal is aborted. `current` is read after listening began, so that nothing is missed between.
   */
  async until(
    messageId: string,
    awaited: AwaitedState,
    { current, waitMs, signal }: { current: () => Promise<Receipt>; waitMs: number; signal?: AbortSignal | undefined },
  ): Promise<Receipt> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    let latest: Receipt | undefined;
    const listener = (receipt: Receipt): void => {
      latest = receipt;
      if (isFinal(receipt, awaited)) resolve(undefined);
    };
    const giveUp = (): void => {
      resolve(undefined);
    };
    const timer = setTimeout(giveUp, waitMs);
    signal?.addEventListener("abort", giveUp);
    this.#listen(messageId, listener);
    try {
      const first = await current();
      if (latest === undefined) listener(first);
      if (signal?.aborted !== true) await promise;
      return latest ?? first;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", giveUp);
      this.#forget(messageId, listener);
    }
  }

  #listen(messageId: string, listener: (receipt: Receipt) => void): void {
    const listeners = this.#waiting.get(messageId) ?? new Set();
    this.#waiting.set(messageId, listeners.add(listener));
  }

  #forget(messageId: string, listener: (receipt: Receipt) => void): void {
    const listeners = this.#waiting.get(messageId);
    listeners?.delete(listener);
    if (listeners?.size === 0) this.#waiting.delete(messageId);
  }
}

/**
 * Nothing that is awaited can change it any more. A program in the guest can be faster with its word than the agent with
 * the answer to the change: whoever waits for the delivery waits for that answer.
 */
export function isFinal({ state, deliveredAt }: Receipt, awaited: AwaitedState): boolean {
  switch (state) {
    case "queued":
      return false;
    case "delivered":
    case "read":
      return awaited === "delivered" && deliveredAt !== undefined;
    case "acknowledged":
      return awaited === "acknowledged" || deliveredAt !== undefined;
    case "expired":
    case "refused":
      return true;
  }
}
