/** How long to wait before something is tried again: twice as long each time, up to a bound. */
import { pause } from "../shared/abort.ts";

export class Retries {
  readonly #firstMs: number;
  readonly #longestMs: number;
  #delayMs: number;

  constructor({ firstMs, longestMs }: { firstMs: number; longestMs: number }) {
    this.#firstMs = firstMs;
    this.#longestMs = longestMs;
    this.#delayMs = firstMs;
  }

  /** Settles when it is time, or when aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(2 * delayMs, this.#longestMs);
    await pause(delayMs, signal);
  }

  /** It worked: the next wait is short again. */
  reset(): void {
    this.#delayMs = this.#firstMs;
  }
}
