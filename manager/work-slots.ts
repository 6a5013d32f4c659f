/** Runs a few expensive pieces of work at once; some more wait their turn, and beyond that none is taken. */
export class WorkSlots {
  #free: number;
  readonly #maxWaiting: number;
  readonly #waiting: (() => void)[] = [];

  constructor({ slots, maxWaiting }: { slots: number; maxWaiting: number }) {
    this.#free = slots;
    this.#maxWaiting = maxWaiting;
  }

  get isFull(): boolean {
    return this.#free === 0 && this.#waiting.length >= this.#maxWaiting;
  }

  /** Settles as the work does. Where the waiting are bounded, the caller has asked {@link isFull} first. */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    await this.#enter();
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  async #enter(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    const turn = Promise.withResolvers<undefined>();
    this.#waiting.push(() => {
      turn.resolve(undefined);
    });
    await turn.promise;
  }

  /** Hands the slot to who waits longest. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}
