/** Deletes keys when their TTL is over: a change like any other. */
import type { Machine } from "../machine.ts";
import type { Log } from "../../shared/log.ts";
import type { CacheStore } from "./cache-store.ts";

/** Timers run on a clock that stops while the machine is suspended, so look again now and then. */
const LONGEST_SLEEP_MS = 60_000;

/** When the disk refuses the deletion, try again after this. */
const RETRY_MS = 1_000;

export class Expiry {
  readonly #store: CacheStore;
  readonly #machine: Machine;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;

  constructor(store: CacheStore, machine: Machine, log: Log) {
    this.#store = store;
    this.#machine = machine;
    this.#log = log;
  }

  /** The cache changed, or the time has come: delete what is over and sleep until the next. */
  update(): void {
    clearTimeout(this.#timer);
    const nextMs = this.#store.cache.nextExpiryMs(this.#machine.now());
    if (nextMs === undefined) return;
    if (nextMs === 0) void this.#expire();
    else this.#sleep(Math.min(nextMs, LONGEST_SLEEP_MS));
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  async #expire(): Promise<void> {
    try {
      await this.#store.change((cache) => cache.expire(this.#machine.now()));
    } catch (error) {
      this.#log.error("expiry-failed", { error });
      this.#sleep(RETRY_MS);
    }
  }

  #sleep(ms: number): void {
    this.#timer = setTimeout(() => {
      this.update();
    }, ms);
  }
}
