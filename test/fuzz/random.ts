/** Marsaglia's xorshift32: fast, and the same numbers from the same seed on every machine. */
export class Random {
  #state: number;

  /** Seeds that lie close together are torn apart first; 0 is no state of a xorshift. */
  constructor(seed: number) {
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) || 1;
  }

  /** 0 to 2^32 - 1. */
  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }

  /** 0 to `end` - 1. */
  below(end: number): number {
    return this.next() % end;
  }

  isOneIn(count: number): boolean {
    return this.below(count) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}
