/** That something has changed since it was looked at. */
import { aborted, pause } from "../../shared/abort.ts";

/** Whoever never stops changing keys is not waited for longer than so many times. */
const MAX_ROUNDS = 10;

/** At first there are news: what came before us is looked at too. */
export class News {
  #isThere = true;
  #wake: () => void = () => undefined;

  arrived(): void {
    this.#isThere = true;
    this.#wake();
  }

  /** Waits until there are news, and then until nothing more has come for so long, or too much has. */
  async settled(quietMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#isThere) await Promise.race([this.#next(), aborted(signal)]);
    for (let round = 0; round < MAX_ROUNDS && this.#isThere && !signal.aborted; round += 1) {
      this.#isThere = false;
      await pause(quietMs, signal);
    }
    this.#isThere = false;
  }

  #next(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
