/** Requests that were seen, so that none is executed twice: neither one that the broker repeats nor one that somebody replays. */
import type { WireRequest } from "../wire.ts";

/** About a hundred a second, as long as they may be ahead. Not measured. */
const MAX_KNOWN = 100_000;

/** Of clocks that are far ahead of ours, which fill this up as long as they are. */
const MAX_TOO_EARLY = 10_000;

/** No manager gives a request more time; one that seems to has another clock. */
const LONGEST_AHEAD_MS = 600_000;

/** To look at all costs milliseconds when there are many. */
const FORGET_INTERVAL_MS = 1_000;

/** `seen`: nothing is to be said of it. All but `new` and `seen` are refused: nothing was done, and nothing will be. */
export type Admission = { type: "new" | "seen" | "full" } | { type: "late" | "early"; byMs: number };

/**
 * An id is known until the request has expired. What was refused must not be executed by a replay either, whatever our clock
 * does meanwhile: it is known too, or nothing that expires as early is taken any more.
 */
export class IncomingIds {
  readonly #known = new Map<string, number>();
  readonly #tooEarly = new Map<string, number>();
  /** Whatever expires by then may have been seen, and forgotten. */
  #forgottenUpTo = -Infinity;
  #forgotAt = -Infinity;

  get size(): number {
    return this.#known.size;
  }

  /** @param now milliseconds since 1970, as in `expiresAt` */
  admit({ id, expiresAt }: Pick<WireRequest, "id" | "expiresAt">, now: number): Admission {
    this.#forgetExpired(now);
    if (this.#known.has(id) || this.#tooEarly.has(id)) return { type: "seen" };
    if (expiresAt <= Math.max(now, this.#forgottenUpTo)) return this.#refuse(expiresAt, now);
    if (expiresAt > now + LONGEST_AHEAD_MS) return this.#refuseEarly(id, expiresAt, now);
    if (this.#known.size >= MAX_KNOWN) return this.#refuse(expiresAt, now);
    this.#known.set(id, expiresAt);
    return { type: "new" };
  }

  #refuse(expiresAt: number, now: number): Admission {
    this.#forgottenUpTo = Math.max(this.#forgottenUpTo, expiresAt);
    return expiresAt <= now ? { type: "late", byMs: now - expiresAt } : { type: "full" };
  }

  /** One that cannot be remembered is not answered: a replay of it may be executed, and that it was not would not be true. */
  #refuseEarly(id: string, expiresAt: number, now: number): Admission {
    if (this.#tooEarly.size >= MAX_TOO_EARLY) return { type: "seen" };
    this.#tooEarly.set(id, expiresAt);
    return { type: "early", byMs: expiresAt - now };
  }

  /** A clock that was set back counts as time. */
  #forgetExpired(now: number): void {
    if (Math.abs(now - this.#forgotAt) < FORGET_INTERVAL_MS) return;
    this.#forgotAt = now;
    for (const ids of [this.#known, this.#tooEarly]) {
      for (const [id, expiresAt] of ids) {
        if (expiresAt > now) continue;
        ids.delete(id);
        this.#forgottenUpTo = Math.max(this.#forgottenUpTo, expiresAt);
      }
    }
  }
}
