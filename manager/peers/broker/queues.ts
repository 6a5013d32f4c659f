/**
 * The queues that a manager has at the broker, for one connection: its own, and one for each VM that it holds. They are
 * exclusive (AMQP 0-9-1, section 1.7.2.1): the broker gives a queue of that name to no other connection, and removes it with
 * this one.
 */
import type { Channel, ChannelModel, ConsumeMessage, Options } from "amqplib";
import { randomHex } from "../../../shared/random.ts";
import { brokerError } from "../../amqp/failure.ts";
import { NOT_FOUND, codeOf, RESOURCE_LOCKED } from "../../amqp/topology.ts";
import { WorkSlots } from "../../work-slots.ts";
import { EVERYONE_KEY, managerKey, vmKey } from "./keys.ts";

/** Queues that are made at once, each on a channel of its own: 1,000 take 3 s, and one after the other 6 s (measured). */
const MAX_DECLARING = 8;

/** What waits in the broker for a manager that is slow; then senders are told that it is busy. Not measured. */
const MAX_QUEUE_LENGTH = 10_000;
const MAX_QUEUE_BYTES = 64 * 1024 * 1024;

/** What is on its way from one queue, so that we need not wait for the broker. Not measured. */
const PREFETCH = 50;

const QUEUE: Options.AssertQueue = {
  exclusive: true,
  autoDelete: true,
  durable: false,
  arguments: {
    "x-max-length": MAX_QUEUE_LENGTH,
    "x-max-length-bytes": MAX_QUEUE_BYTES,
    "x-overflow": "reject-publish",
  },
};

export interface BrokerQueuesOptions {
  exchange: string;
  managerId: string;
}

export interface BrokerQueuesListener {
  /** @param keys those under which the queue gets messages from whoever plays by the rules */
  received(message: ConsumeMessage, keys: readonly string[]): void;
  /** Somebody deleted the VM's queue. */
  lost(vmId: string): void;
  /** Nothing is received any more, or not all: a new connection is needed. Undefined with the connection's own end. */
  broken(error: Error | undefined): void;
}

/** `taken`: also by one that is not exclusive, which a manager never makes. `refused`: the broker makes it not, or not for us. */
export type QueueClaim = { type: "held" } | { type: "taken" } | { type: "refused"; error: Error };

const HELD: QueueClaim = { type: "held" };

export class BrokerQueues {
  readonly #model: ChannelModel;
  /** On which everything is consumed: it does nothing that a broker refuses. */
  readonly #consuming: Channel;
  readonly #options: BrokerQueuesOptions;
  readonly #listener: BrokerQueuesListener;
  readonly #slots = new WorkSlots({ slots: MAX_DECLARING, maxWaiting: Infinity });
  readonly #idleChannels: Channel[] = [];
  readonly #held = new Set<string>();
  /** By VM, what is to settle before anything else is done for it. */
  readonly #busy = new Map<string, Promise<unknown>>();

  private constructor(
    model: ChannelModel,
    consuming: Channel,
    options: BrokerQueuesOptions,
    listener: BrokerQueuesListener,
  ) {
    this.#model = model;
    this.#consuming = consuming;
    this.#options = options;
    this.#listener = listener;
  }

  /** Settles when the manager's own queue is bound and consumed. Rejects with what amqplib rejects with. */
  static async open(
    model: ChannelModel,
    options: BrokerQueuesOptions,
    listener: BrokerQueuesListener,
  ): Promise<BrokerQueues> {
    const channel = await model.createChannel();
    let fault: Error | undefined;
    channel.on("error", (error: Error) => (fault = error));
    channel.on("close", () => {
      listener.broken(fault);
    });
    await channel.prefetch(PREFETCH);
    const queues = new BrokerQueues(model, channel, options, listener);
    await queues.#openOwn();
    return queues;
  }

  /** Rejects when the connection is lost. */
  claim(vmId: string): Promise<QueueClaim> {
    return this.#inTurn(vmId, async () => {
      if (this.#held.has(vmId)) return HELD;
      const claim = await this.#declared(this.#queueOf(vmId), vmKey(vmId));
      if (claim.type !== "held") return claim;
      this.#held.add(vmId);
      await this.#consume(this.#queueOf(vmId), [vmKey(vmId)], () => {
        this.#onCancelled(vmId);
      });
      // It may have been deleted at once.
      return this.#held.has(vmId) ? HELD : { type: "taken" };
    });
  }

  /** Settles when another connection can have it. Rejects when the connection is lost. */
  release(vmId: string): Promise<void> {
    return this.#inTurn(vmId, async () => {
      // From now on its consumer's end is no loss.
      if (!this.#held.delete(vmId)) return;
      const queue = this.#queueOf(vmId);
      await this.#onAChannel(async (channel) => {
        await channel.unbindQueue(queue, this.#options.exchange, vmKey(vmId));
        await channel.deleteQueue(queue);
      });
    });
  }

  /**
   * Another name for each connection: a broker that has not noticed the end of the last one still keeps that one's queue. And
   * one that nobody can guess, who would make it before us.
   */
  async #openOwn(): Promise<void> {
    const { exchange, managerId } = this.#options;
    const queue = `${exchange}.${managerKey(managerId)}.${randomHex(16)}`;
    const keys = [managerKey(managerId), EVERYONE_KEY];
    await this.#consuming.assertQueue(queue, QUEUE);
    await this.#consume(queue, keys, () => {
      this.#listener.broken(brokerError(`somebody deleted the queue ${queue}`));
    });
    for (const key of keys) await this.#consuming.bindQueue(queue, exchange, key);
  }

  #queueOf(vmId: string): string {
    return `${this.#options.exchange}.${vmKey(vmId)}`;
  }

  async #declared(queue: string, key: string): Promise<QueueClaim> {
    try {
      await this.#onAChannel(async (channel) => {
        await channel.assertQueue(queue, QUEUE);
        await channel.bindQueue(queue, this.#options.exchange, key);
      });
      return HELD;
    } catch (error) {
      const code = codeOf(error);
      if (code === RESOURCE_LOCKED) return { type: "taken" };
      // Of this one queue: our user may not make it, or the vhost has as many as it may have.
      if (typeof code === "number" && code !== NOT_FOUND) return { type: "refused", error: error as Error };
      throw error;
    }
  }

  async #consume(queue: string, keys: readonly string[], onCancelled: () => void): Promise<void> {
    await this.#consuming.consume(queue, (message) => {
      if (message === null) {
        onCancelled();
        return;
      }
      // There is no second delivery to wait for: the queue goes with this connection.
      this.#consuming.ack(message);
      this.#listener.received(message, keys);
    });
  }

  #onCancelled(vmId: string): void {
    if (this.#held.delete(vmId)) this.#listener.lost(vmId);
  }

  /** Channels are used again, but not those on which something was refused: the broker has closed them. */
  #onAChannel(work: (channel: Channel) => Promise<void>): Promise<void> {
    return this.#slots.run(async () => {
      const channel = this.#idleChannels.pop() ?? (await this.#newChannel());
      await work(channel);
      this.#idleChannels.push(channel);
    });
  }

  async #newChannel(): Promise<Channel> {
    const channel = await this.#model.createChannel();
    // The work's own promise says it too.
    channel.on("error", () => undefined);
    return channel;
  }

  /** What is done for one VM is done one after the other. */
  #inTurn<T>(vmId: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#busy.get(vmId) ?? Promise.resolve()).then(work);
    const settled = turn
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        if (this.#busy.get(vmId) === settled) this.#busy.delete(vmId);
      });
    this.#busy.set(vmId, settled);
    return turn;
  }
}
