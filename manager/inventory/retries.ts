/** How long to wait before something is tried again: twice as long each time, up to a bound. */
import { setTimeout as sleep } from "node:timers/promises";

const FIRST_MS = 500;
const MAX_MS = 15_000;

export class Retries {
  #delayMs = FIRST_MS;

  /** Settles when it is time, or when aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(2 * delayMs, MAX_MS);
    await sleep(delayMs, undefined, { signal }).catch(() => undefined);
  }

  /** It worked: the next wait is short again. */
  reset(): void {
    this.#delayMs = FIRST_MS;
  }
}
