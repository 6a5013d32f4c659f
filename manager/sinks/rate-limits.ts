/** How often somebody is sent something: a VM that restarts all the time fills no mailbox and no telephone. */

const SECOND_MS = 1_000;
const HOUR_MS = 3_600 * SECOND_MS;

/** More than people read. Not measured. */
export const MAX_MAILS_PER_HOUR = 60;

/** They cost money too. Not measured. */
export const MAX_TEXTS_PER_HOUR = 60;

/** A program of some 100 ms that does nothing else. Not measured. */
export const MAX_RUNS_PER_SECOND = 10;

/** Receivers that are remembered: with more, the one that was longest without anything is forgotten. */
const MAX_RECEIVERS = 10_000;

/** `giveBack`: it came to nothing, and does not count. `freeAt`: when there is room again, ms since 1970. */
export type Turn = { type: "taken"; giveBack: () => void } | { type: "over"; freeAt: number };

/** At most so many for each receiver within any such time. */
export class RateLimit {
  readonly #count: number;
  readonly #windowMs: number;
  /** The times of each receiver's last ones, the oldest first; the receiver of the latest last. */
  readonly #takenAt = new Map<string, number[]>();

  constructor(options: { count: number; windowMs: number }) {
    this.#count = options.count;
    this.#windowMs = options.windowMs;
  }

  /** For all of these receivers or, when one has had its share, for none. @param now ms since 1970 */
  take(receivers: readonly string[], now: number): Turn {
    const waits = receivers.flatMap((receiver) => this.#freeAt(receiver, now) ?? []);
    if (waits.length > 0) return { type: "over", freeAt: Math.max(...waits) };
    for (const receiver of receivers) this.#put(receiver, [...this.#recent(receiver, now), now]);
    const giveBack = (): void => {
      for (const receiver of receivers) this.#remove(receiver, now);
    };
    return { type: "taken", giveBack };
  }

  /** Undefined when there is room. */
  #freeAt(receiver: string, now: number): number | undefined {
    const recent = this.#recent(receiver, now);
    const [oldest = now] = recent;
    return recent.length < this.#count ? undefined : oldest + this.#windowMs;
  }

  /** A clock that was set back counts as time. */
  #recent(receiver: string, now: number): number[] {
    const times = this.#takenAt.get(receiver) ?? [];
    return times.filter((at) => at <= now && at > now - this.#windowMs);
  }

  #put(receiver: string, times: number[]): void {
    this.#takenAt.delete(receiver);
    this.#takenAt.set(receiver, times);
    const [oldest] = this.#takenAt.keys();
    if (this.#takenAt.size > MAX_RECEIVERS && oldest !== undefined) this.#takenAt.delete(oldest);
  }

  #remove(receiver: string, at: number): void {
    const times = this.#takenAt.get(receiver) ?? [];
    const index = times.indexOf(at);
    if (index !== -1) times.splice(index, 1);
    if (times.length === 0) this.#takenAt.delete(receiver);
  }
}

/** Shared by all sinks that users made: nobody gets more by being named in many subscriptions. */
export interface RateLimits {
  /** By address. */
  mails: RateLimit;
  /** By number. */
  texts: RateLimit;
  /** By the command's name. */
  runs: RateLimit;
}

export function newRateLimits(): RateLimits {
  return {
    mails: new RateLimit({ count: MAX_MAILS_PER_HOUR, windowMs: HOUR_MS }),
    texts: new RateLimit({ count: MAX_TEXTS_PER_HOUR, windowMs: HOUR_MS }),
    runs: new RateLimit({ count: MAX_RUNS_PER_SECOND, windowMs: SECOND_MS }),
  };
}
