/**
 * The event bus over a broker's topic exchange, as CloudStack's AMQP plug-in has it: to subscribe is to make a queue and bind
 * it with the topic's key, to unsubscribe is to remove both.
 */
import type { Channel, ChannelModel, ConsumeMessage } from "amqplib";
import { CommandError } from "../../shared/cli/failure.ts";
import type { Log } from "../../shared/log.ts";
import { AmqpConnection } from "../amqp/connection.ts";
import { amqpReason } from "../amqp/failure.ts";
import { topicExchange } from "../amqp/topology.ts";
import type { ConnectionState } from "../connection-state.ts";
import { AmqpSink, type AmqpSinkOptions } from "../sinks/amqp-sink.ts";
import { Turns } from "../turns.ts";
import type { EventBus, EventHandler, EventSubscription } from "./bus.ts";
import type { Event } from "./event.ts";
import { bindingKey, type EventTopic } from "./topic.ts";

/** What waits in the broker for a handler that is slow; then the oldest are dropped. */
const MAX_QUEUE_LENGTH = 100_000;

/** What waits here, so that a handler need not wait for the broker. Not measured. */
const PREFETCH = 100;

export interface AmqpEventBusOptions extends Omit<AmqpSinkOptions, "to"> {
  exchange: string;
}

/** An event as its body says: CloudEvents' JSON or CloudStack's. */
export interface ReceivedEvent {
  routingKey: string;
  /** The event's id, when the publisher is one of ours. */
  messageId: string | undefined;
  body: unknown;
}

/**
 * Events that are published while a subscriber's connection is down do not reach it: its queue lives as long as the
 * connection, and is made again with the next.
 */
export class AmqpEventBus implements EventBus<Event, ReceivedEvent> {
  readonly #options: AmqpEventBusOptions;
  readonly #sink: AmqpSink;
  /** Not the sink's: a broker that blocks who publishes stops reading from them, acknowledgements too. */
  readonly #connection: AmqpConnection;
  readonly #consumers = new Map<EventSubscription, Consumer>();
  readonly #closing = new AbortController();
  #model: ChannelModel | undefined;

  constructor(options: AmqpEventBusOptions) {
    const { broker, exchange, guard, log } = options;
    this.#options = options;
    this.#sink = new AmqpSink({ ...options, to: { exchange } });
    const setUp = (model: ChannelModel): Promise<void> => this.#setUp(model);
    const { target } = this.#sink;
    this.#connection = new AmqpConnection({ broker, target, setUp, isConsumer: true, guard, log });
  }

  /** Of those who subscribe. */
  connection(): ConnectionState {
    return this.#connection.state;
  }

  /** Settles when the broker has confirmed all; else rejects with CommandError, and some may have arrived. */
  async publish(events: readonly Event[]): Promise<void> {
    for (const { outcome } of await this.#sink.deliver(events, this.#closing.signal)) {
      if ("reason" in outcome) throw new CommandError("unreachable", outcome.reason);
    }
  }

  /** Settles when the queue is bound. Rejects with CommandError when the broker is not there. */
  async subscribe(topic: EventTopic, handler: EventHandler<ReceivedEvent>): Promise<EventSubscription> {
    const subscription = { topic };
    const consumer = new Consumer(topic, handler, this.#options, () => {
      this.#connection.reconnect();
    });
    this.#consumers.set(subscription, consumer);
    try {
      this.#connection.start();
      await this.#assertReady();
      if (this.#model !== undefined) await consumer.consumeFrom(this.#model);
      return subscription;
    } catch (error) {
      this.#consumers.delete(subscription);
      throw new CommandError("unreachable", amqpReason(error, this.#options.broker), {}, { cause: error });
    }
  }

  async unsubscribe(subscription: EventSubscription): Promise<void> {
    const consumer = this.#consumers.get(subscription);
    this.#consumers.delete(subscription);
    await consumer?.close();
  }

  /** Settles when no handler runs any more. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([...this.#consumers.keys()].map((subscription) => this.unsubscribe(subscription)));
    await Promise.all([this.#connection.close(), this.#sink.close()]);
  }

  async #setUp(model: ChannelModel): Promise<void> {
    this.#model = model;
    await topicExchange(model, this.#options.exchange);
    await Promise.all([...this.#consumers.values()].map((consumer) => consumer.consumeFrom(model)));
  }

  async #assertReady(): Promise<void> {
    if (await this.#connection.ready(this.#closing.signal)) return;
    const { state } = this.#connection;
    throw new CommandError("unreachable", state.state === "disconnected" ? state.reason : "the event bus is closed");
  }
}

/** One subscription's queue, on a channel of its own. */
class Consumer {
  readonly #topic: EventTopic;
  readonly #handler: EventHandler<ReceivedEvent>;
  readonly #exchange: string;
  readonly #log: Log;
  readonly #onLost: () => void;
  readonly #turns = new Turns();
  #model: ChannelModel | undefined;
  #consuming: Promise<void> = Promise.resolve();
  #channel: Channel | undefined;
  #queue = "";
  #isClosed = false;

  constructor(
    topic: EventTopic,
    handler: EventHandler<ReceivedEvent>,
    { exchange, log }: Pick<AmqpEventBusOptions, "exchange" | "log">,
    onLost: () => void,
  ) {
    this.#topic = topic;
    this.#handler = handler;
    this.#exchange = exchange;
    this.#log = log;
    this.#onLost = onLost;
  }

  /** Settles when the queue is bound. Nothing happens the second time for the same connection. */
  consumeFrom(model: ChannelModel): Promise<void> {
    if (this.#model !== model) {
      this.#model = model;
      this.#consuming = this.#consume(model);
    }
    return this.#consuming;
  }

  /** Removes the queue; settles when the handler is not called any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const channel = this.#channel;
    await this.#remove(channel).catch(() => undefined);
    await this.#turns.take(() => Promise.resolve());
  }

  async #consume(model: ChannelModel): Promise<void> {
    const channel = await model.createChannel();
    channel.on("error", (error) => {
      this.#log.warn("subscription-lost", { key: bindingKey(this.#topic), reason: error.message });
    });
    channel.on("close", () => {
      this.#lost();
    });
    await channel.prefetch(PREFETCH);
    const limits = { "x-max-length": MAX_QUEUE_LENGTH };
    const { queue } = await channel.assertQueue("", { exclusive: true, autoDelete: true, arguments: limits });
    await channel.bindQueue(queue, this.#exchange, bindingKey(this.#topic));
    this.#channel = channel;
    this.#queue = queue;
    await channel.consume(queue, (message) => {
      if (message === null) this.#lost();
      else void this.#turns.take(() => this.#handle(channel, message));
    });
  }

  /** Somebody deleted the queue, or the broker closed the channel: both come back with a new connection. */
  #lost(): void {
    if (!this.#isClosed) this.#onLost();
  }

  /** First the binding: what comes after that is for nobody. The queue goes with its only consumer's channel. */
  async #remove(channel: Channel | undefined): Promise<void> {
    await channel?.unbindQueue(this.#queue, this.#exchange, bindingKey(this.#topic));
    await channel?.deleteQueue(this.#queue);
    await channel?.close();
  }

  /** What the handler throws is told to the log; it gets the next event all the same. */
  async #handle(channel: Channel, message: ConsumeMessage): Promise<void> {
    if (this.#isClosed) return;
    const { routingKey } = message.fields;
    try {
      const body: unknown = JSON.parse(message.content.toString("utf8"));
      await this.#handler({ routingKey, messageId: messageIdOf(message), body });
    } catch (error) {
      this.#log.error("event-handler-failed", { key: routingKey, error });
    }
    acknowledge(channel, message);
  }
}

/** Whoever publishes may leave it out. */
function messageIdOf({ properties }: ConsumeMessage): string | undefined {
  const { messageId } = properties as { messageId?: string };
  return messageId;
}

/** A channel that has ended meanwhile throws; the broker has taken the message back with the queue. */
function acknowledge(channel: Channel, message: ConsumeMessage): void {
  try {
    channel.ack(message);
  } catch {
    return;
  }
}
