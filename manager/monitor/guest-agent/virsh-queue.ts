/** Who may start a virsh: whoever waits longest, within what this host and libvirtd can spare. */

/**
 * virsh processes at a time. Behind each is one of libvirtd's workers, for some seconds when the guest hangs: it has twenty
 * (`max_workers`), and others need it too.
 */
const MAX_AT_ONCE = 8;

/** Each is a process and a connection, some 50 ms of a processor. Where all guests are well, this is what holds. Not measured. */
const MAX_STARTS_PER_SECOND = 10;

/** Bounded by who waits: each VM takes one place at a time. */
export class VirshQueue {
  readonly #waiting = new Set<() => void>();
  /** Of the last starts, up to a second's most; the oldest first, by performance.now(). */
  readonly #startedAt: number[] = [];
  #running = 0;
  #timer: NodeJS.Timeout | undefined;

  /** Settles as the work does; with undefined when it was given up before its turn came. */
  take<T>(work: () => Promise<T>, givenUp: AbortSignal): Promise<T | undefined> {
    const { promise, resolve } = Promise.withResolvers<T | undefined>();
    const begin = (): void => {
      givenUp.removeEventListener("abort", leave);
      resolve(this.#run(work));
    };
    const leave = (): void => {
      this.#waiting.delete(begin);
      resolve(undefined);
      this.#callNext();
    };
    givenUp.addEventListener("abort", leave, { once: true });
    this.#waiting.add(begin);
    if (givenUp.aborted) leave();
    else this.#callNext();
    return promise;
  }

  #callNext(): void {
    clearTimeout(this.#timer);
    for (const begin of this.#waiting) {
      if (this.#running >= MAX_AT_ONCE) return;
      const waitMs = this.#waitMs();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => {
          this.#callNext();
        }, Math.ceil(waitMs));
        return;
      }
      this.#waiting.delete(begin);
      begin();
    }
  }

  /** Until one more is within what a second may have. */
  #waitMs(): number {
    const [oldest = -Infinity] = this.#startedAt;
    return this.#startedAt.length < MAX_STARTS_PER_SECOND ? 0 : oldest + 1_000 - performance.now();
  }

  async #run<T>(work: () => Promise<T>): Promise<T> {
    this.#running += 1;
    this.#startedAt.push(performance.now());
    if (this.#startedAt.length > MAX_STARTS_PER_SECOND) this.#startedAt.shift();
    try {
      return await work();
    } finally {
      this.#running -= 1;
      this.#callNext();
    }
  }
}
