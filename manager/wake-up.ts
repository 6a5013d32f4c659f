/** Wakes the one who waits. A call while nobody waits is kept for the next who does; many are as good as one. */
export class WakeUp {
  #isDue = false;
  #wake: (() => void) | undefined;

  call(): void {
    this.#isDue = true;
    this.#wake?.();
  }

  /** Settles when called, after `timeoutMs` (which may be Infinity), or when aborted. True when it was called. */
  async wait(timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#isDue && !signal.aborted) await this.#sleep(timeoutMs, signal);
    const wasCalled = this.#isDue;
    this.#isDue = false;
    return wasCalled;
  }

  async #sleep(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const wake = (): void => {
      resolve(undefined);
    };
    const timer = timeoutMs === Infinity ? undefined : setTimeout(wake, timeoutMs);
    signal.addEventListener("abort", wake);
    this.#wake = wake;
    try {
      await promise;
    } finally {
      this.#wake = undefined;
      clearTimeout(timer);
      signal.removeEventListener("abort", wake);
    }
  }
}
