/** A watch that goes on where it was when the agent was restarted, or when it was cut off for not being read. */
import { setTimeout as sleep } from "node:timers/promises";
import type { RevisionArgument } from "../../shared/cli/arguments.ts";
import type { Cursor } from "../../shared/protocol/message.ts";
import type { Notification } from "../../shared/protocol/session.ts";
import type { Changed } from "../guest.ts";
import type { GreetedAgent } from "./greeted-agent.ts";

/** Between the end of a watch and the next: a guest that ends each at once does not keep us busy. */
const RESUME_PAUSE_MS = 100;

export class Watch {
  readonly #prefix: string;
  readonly #onChanged: (changed: Changed) => void;
  readonly #failed = Promise.withResolvers<never>();
  #agent: GreetedAgent | undefined;
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

  async start(agent: GreetedAgent, since?: RevisionArgument): Promise<void> {
    this.#agent = agent;
    if (since !== undefined) this.#since = { epoch: since.epoch ?? agent.greeting.epoch, revision: since.revision };
    await this.#subscribe(agent);
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
    const agent = this.#agent;
    // Before the start, and while one is under way, the watch is asked for anyway.
    if (agent === undefined || this.#isStarting) return;
    this.#isStarting = true;
    await sleep(RESUME_PAUSE_MS);
    await this.#subscribe(agent).catch(this.#failed.reject);
  }

  async #subscribe(agent: GreetedAgent): Promise<void> {
    this.#isStarting = true;
    try {
      const since = this.#since;
      await agent.read("watch", { prefix: this.#prefix, ...(since !== undefined && { since }) });
    } finally {
      this.#isStarting = false;
    }
  }
}
