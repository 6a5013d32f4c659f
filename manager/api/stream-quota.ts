/** How many streams each principal has open, over all doors. */
import { HttpError } from "./problems.ts";

export class StreamQuota {
  readonly #limit: number;
  readonly #open = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Throws when the principal has all of theirs open; otherwise the stream counts until the signal is aborted. */
  take(principal: string, until: AbortSignal): void {
    until.throwIfAborted();
    const open = this.#open.get(principal) ?? 0;
    if (open >= this.#limit) {
      throw new HttpError(429, "over-limit", `${principal} has ${open} streams open, which is the limit; close one`);
    }
    this.#open.set(principal, open + 1);
    until.addEventListener(
      "abort",
      () => {
        this.#release(principal);
      },
      { once: true },
    );
  }

  #release(principal: string): void {
    const left = (this.#open.get(principal) ?? 1) - 1;
    if (left === 0) this.#open.delete(principal);
    else this.#open.set(principal, left);
  }
}
