/**
 * A state in memory that is never ahead of the disk. Changes that arrive while a write is under way share the next one.
 * Readers see what is on disk; a change is answered when it is; a write that fails takes back all that built on it.
 */
export class DurableState<S> {
  readonly #save: (state: S) => Promise<void>;
  #durable: S;
  #latest: S;
  #waiting: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  /** What is on its way to the disk. */
  #writing: S | undefined;
  #onCommitted: () => void = () => undefined;

  constructor(initial: S, save: (state: S) => Promise<void>) {
    this.#durable = initial;
    this.#latest = initial;
    this.#save = save;
  }

  /** What is on disk. */
  get current(): S {
    return this.#durable;
  }

  /** What will be on disk when the writes under way are done. */
  get latest(): S {
    return this.#latest;
  }

  /** Called after each write, before the changes in it are answered. */
  onCommitted(listener: () => void): void {
    this.#onCommitted = listener;
  }

  /**
   * Works out a new state from the latest one and settles when it is on disk. `work` must leave the state it is given
   * as it is; when it throws, nothing happened. Rejects with the disk's error when it could not be written.
   */
  async change<R>(work: (state: S) => { state: S; result: R }): Promise<R> {
    const { state, result } = work(this.#latest);
    this.#latest = state;
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (this.#writing === undefined) void this.#write();
    });
    return result;
  }

  /** Changes what is in memory at once, for what need not survive. */
  adjust(work: (state: S) => S): void {
    // Mostly these are one and the same, and the work is done to each once.
    const states = new Set([this.#durable, this.#writing ?? this.#durable, this.#latest]);
    const adjusted = new Map([...states].map((state) => [state, work(state)]));
    this.#durable = adjusted.get(this.#durable) ?? this.#durable;
    this.#latest = adjusted.get(this.#latest) ?? this.#latest;
    if (this.#writing !== undefined) this.#writing = adjusted.get(this.#writing);
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const round = this.#waiting;
      this.#waiting = [];
      this.#writing = this.#latest;
      try {
        await this.#save(this.#writing);
        this.#durable = this.#writing;
        this.#onCommitted();
        for (const { resolve } of round) resolve();
      } catch (error) {
        this.#latest = this.#durable;
        for (const { reject } of [...round, ...this.#waiting]) reject(error);
        this.#waiting = [];
      }
    }
    this.#writing = undefined;
  }
}
