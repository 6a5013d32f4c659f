/**
 * When each manager said what was heard of it last, by its own clock: what has that time, or an earlier one, somebody sends
 * again. It is known for a while after the manager has gone, too.
 */

/** Twice as many as are kept in mind: managers that were restarted have another id. Not measured. */
const MAX_KNOWN = 2_000;

interface Heard {
  sentAt: number;
  heardAt: number;
}

export class HeardTimes {
  readonly #forgetAfterMs: number;
  /** Those heard last are last. */
  readonly #heard = new Map<string, Heard>();

  /** @param forgetAfterMs without news: a manager whose clock was set back says nothing new for as long as that */
  constructor(forgetAfterMs: number) {
    this.#forgetAfterMs = forgetAfterMs;
  }

  /**
   * Whether it is news, which is remembered.
   * @param sentAt milliseconds since 1970 by the sender's clock
   * @param now milliseconds of ours
   */
  isNews(peerId: string, sentAt: number, now: number): boolean {
    const heard = this.#heard.get(peerId);
    if (heard !== undefined && sentAt <= heard.sentAt && now - heard.heardAt <= this.#forgetAfterMs) return false;
    this.#heard.delete(peerId);
    this.#heard.set(peerId, { sentAt, heardAt: now });
    const [oldest] = this.#heard.keys();
    if (this.#heard.size > MAX_KNOWN && oldest !== undefined) this.#heard.delete(oldest);
    return true;
  }
}
