/** Messages that were taken from the broker and are nobody's: counted, and told to the log once in a while. */
import type { Log } from "../../../shared/log.ts";
import { AtMostEvery } from "../../events/at-most-every.ts";
import type { RefusalReason } from "./seal.ts";

/** Whoever has a user at the broker can cause as many as it likes. */
const TELL_EVERY_MS = 60_000;

/** `misrouted`: an envelope that somebody had the broker copy into a queue that it is not for. */
export type RefusedKind = RefusalReason | "other-key" | "misrouted";

export class BrokerRefusals {
  readonly #log: Log;
  readonly #kinds = new Map<RefusedKind, { count: number; told: AtMostEvery }>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** How many there were of each kind that there was. */
  get counts(): Partial<Record<RefusedKind, number>> {
    return Object.fromEntries([...this.#kinds].map(([kind, { count }]) => [kind, count]));
  }

  /** @param fingerprint of the key that it was sealed with, where that is another one than ours */
  add(kind: RefusedKind, fingerprint?: string): void {
    const known = this.#kinds.get(kind) ?? { count: 0, told: new AtMostEvery(TELL_EVERY_MS) };
    this.#kinds.set(kind, known);
    known.count += 1;
    const news = known.told.take(Date.now());
    if (news === undefined) return;
    const fields = { reason: kind, ...(fingerprint !== undefined && { fingerprint }), ...news };
    this.#log.warn("peer-message-refused", fields);
  }
}
