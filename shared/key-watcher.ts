/** Follows the keys with a prefix, on over restarts of the agent: what was missed comes as a batch or as a snapshot. */
import type { Channel } from "./channel.ts";
import { Client, type ClientOptions } from "./client.ts";
import type { Cursor, NotificationParams } from "./protocol/message.ts";
import type { Notification } from "./protocol/session.ts";

export type KeyBatch = NotificationParams<"changed">;

export interface KeyWatcherOptions extends Pick<ClientOptions, "role" | "timeoutMs"> {
  prefix: string;
  /** Go on after this; without an epoch, the present one is meant. All keys come first when absent. */
  since?: { revision: number; epoch: string | undefined } | undefined;
  onBatch: (batch: KeyBatch) => void;
}

export class KeyWatcher {
  readonly client: Client;
  readonly #options: KeyWatcherOptions;
  #cursor: Cursor | undefined;
  #fail: (error: unknown) => void = () => undefined;
  readonly #failed: Promise<never>;

  constructor(channel: Channel, options: KeyWatcherOptions) {
    this.#options = options;
    this.#failed = new Promise((_resolve, reject) => {
      this.#fail = reject;
    });
    this.#failed.catch(() => undefined);
    this.client = new Client(channel, {
      role: options.role,
      ...(options.timeoutMs !== undefined && { timeoutMs: options.timeoutMs }),
      notified: (notification) => {
        this.#take(notification);
      },
      restarted: () => {
        this.#watch().catch(this.#fail);
      },
    });
  }

  /** Begins; settles when the agent has agreed. */
  async begin(): Promise<void> {
    const { epoch } = await this.client.hello();
    const { since } = this.#options;
    if (since) this.#cursor = { revision: since.revision, epoch: since.epoch ?? epoch };
    await this.#watch();
  }

  /** Settles when the channel has ended; rejects when the watch could not go on. */
  async ended(): Promise<Error | undefined> {
    return Promise.race([this.client.ended, this.#failed]);
  }

  async #watch(): Promise<void> {
    await this.client.read("watch", { prefix: this.#options.prefix, ...(this.#cursor && { since: this.#cursor }) });
  }

  #take({ method, params }: Notification): void {
    if (method === "watchEnded") this.#watch().catch(this.#fail);
    if (method !== "changed") return;
    this.#cursor = { epoch: params.epoch, revision: params.revision };
    this.#options.onBatch(params);
  }
}
