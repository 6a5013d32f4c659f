/** A watch that goes on where it was when the agent was restarted, or when it was cut off for not being read. */
import { setTimeout as sleep } from "node:timers/promises";
import type { RevisionArgument } from "../shared/cli/arguments.ts";
import type { Cursor, NotificationParams } from "../shared/protocol/message.ts";
import type { Notification } from "../shared/protocol/session.ts";
import type { Guest } from "./guest.ts";

export type Changed = NotificationParams<"changed">;

/** Between the end of a watch and the next: a guest that ends each at once does not keep us busy. */
const RESUME_PAUSE_MS = 100;

export class Watch {
  readonly #prefix: string;
  readonly #onChanged: (changed: Changed) => void;
  readonly #failed = Promise.withResolvers<never>();
  #guest: Guest | undefined;
  #since: Cursor | undefined;
  #isStarting = false;

  constructor(prefix: string, onChanged: (changed: Changed) => void) {
    this.#prefix = prefix;
    this.#onChanged = onChanged;
    this.#failed.promise.catch(() => undefined);
  }

  /** Rejects when the watch cannot be resumed; never resolves. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  async start(guest: Guest, since?: RevisionArgument): Promise<void> {
    this.#guest = guest;
    if (since !== undefined) this.#since = { epoch: since.epoch ?? guest.greeting.epoch, revision: since.revision };
    await this.#subscribe(guest);
  }

  /** To be told that the agent was restarted. */
  readonly restarted = (): void => {
    void this.#resume();
  };

  /** To be told what the guest says. */
  readonly notified = ({ method, params }: Notification): void => {
    if (method === "watchEnded") void this.#resume();
    if (method !== "changed") return;
    if (!params.more) this.#since = { epoch: params.epoch, revision: params.revision };
    this.#onChanged(params);
  };

  async #resume(): Promise<void> {
    const guest = this.#guest;
    // Before the start, and while one is under way, the watch is asked for anyway.
    if (guest === undefined || this.#isStarting) return;
    this.#isStarting = true;
    await sleep(RESUME_PAUSE_MS);
    await this.#subscribe(guest).catch(this.#failed.reject);
  }

  async #subscribe(guest: Guest): Promise<void> {
    this.#isStarting = true;
    try {
      const since = this.#since;
      await guest.read("watch", { prefix: this.#prefix, ...(since !== undefined && { since }) });
    } finally {
      this.#isStarting = false;
    }
  }
}
