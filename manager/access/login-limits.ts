/** Slows down whoever guesses: so many failed logins for an address and for a user, and then none for a while. */
import { isIPv6 } from "node:net";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Log } from "../../shared/log.ts";
import { TooManyAttemptsError } from "./authenticator.ts";

const MAX_FAILURES = 10;
const WINDOW_S = 60;

/** Of a name that somebody tries: longer ones are nobody's. */
const MAX_NAME = 64;

export class LoginLimits {
  readonly #addresses = new RateLimiterMemory({ points: MAX_FAILURES, duration: WINDOW_S });
  readonly #users = new RateLimiterMemory({ points: MAX_FAILURES, duration: WINDOW_S });

  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * Counts an attempt as failed until {@link giveBack} says that it was not: many at once are counted before the first of
   * them is over. Rejects with TooManyAttemptsError.
   *
   * @param via as in Principal.via
   * @param user left out for keys and tokens: nobody guesses those, and nobody is to be shut out by them
   */
  async take(via: string, user?: string): Promise<void> {
    try {
      await this.#addresses.consume(networkOf(via));
      if (user !== undefined) await this.#users.consume(user.slice(0, MAX_NAME));
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      const isFirst = error.consumedPoints === MAX_FAILURES + 1;
      if (isFirst) this.#log.warn("logins-refused", { via, user: user?.slice(0, MAX_NAME), forMs: error.msBeforeNext });
      throw new TooManyAttemptsError(error.msBeforeNext);
    }
  }

  async giveBack(via: string, user: string): Promise<void> {
    await this.#addresses.reward(networkOf(via));
    await this.#users.reward(user.slice(0, MAX_NAME));
  }
}

/** Who has one IPv6 address has the 2^64 of its network (RFC 4291, section 2.5.4); other addresses stand for themselves. */
export function networkOf(via: string): string {
  const address = via.slice(via.indexOf(":") + 1).replace(/^::ffff:(?=\d+\.)/i, "");
  if (!isIPv6(address)) return address;
  const [head = "", tail] = address.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = Array.from({ length: Math.max(0, 8 - before.length - after.length) }, () => "0");
  const groups = tail === undefined ? before : [...before, ...zeros, ...after];
  return `${groups
    .slice(0, 4)
    .map((group) => group.toLowerCase().replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}
