/** One who waits for news that comes by callback: told any number of times, it is heard once. */
export class News {
  #hasNews = false;
  #heard: () => void = () => undefined;
  readonly #signal: AbortSignal;

  /** @param signal ends all waiting */
  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  readonly tell = (): void => {
    this.#hasNews = true;
    this.#heard();
  };

  /** Settles when there is news since the last time, or when the signal is aborted. */
  async next(): Promise<void> {
    if (!this.#hasNews && !this.#signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#heard = () => {
        resolve(undefined);
      };
      this.#signal.addEventListener("abort", this.#heard);
      await promise;
      this.#signal.removeEventListener("abort", this.#heard);
    }
    this.#hasNews = false;
  }
}
