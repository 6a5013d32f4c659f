/** Something that may happen any number of times and is told once in a while, with how often it was not. */
export class AtMostEvery {
  readonly #intervalMs: number;
  #toldAt = -Infinity;
  #suppressed = 0;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** How often it was not told since it last was, when it may be told now; undefined when not. A clock set back counts as time. */
  take(now: number): { suppressed: number } | undefined {
    const sinceMs = now - this.#toldAt;
    if (sinceMs >= 0 && sinceMs < this.#intervalMs) {
      this.#suppressed += 1;
      return undefined;
    }
    const suppressed = this.#suppressed;
    this.#toldAt = now;
    this.#suppressed = 0;
    return { suppressed };
  }
}
