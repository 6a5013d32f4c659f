/** Two connections to one broker, of which one publishes and one consumes, and neither is of use without the other. */
import type { ChannelModel } from "amqplib";
import type { Log } from "../../../shared/log.ts";
import type { AmqpBroker } from "../../amqp/broker.ts";
import { AmqpConnection } from "../../amqp/connection.ts";
import type { AmqpMessage, Publication } from "../../amqp/session.ts";
import { assertMayPublish, directExchange } from "../../amqp/topology.ts";
import { shownAmqpUrl } from "../../amqp/url.ts";
import type { ConnectionState } from "../../connection-state.ts";

/**
 * A connection that was cut is noticed after 10 to 15 s, by us and by the broker, which then gives our queues to others.
 * RabbitMQ's guide to heartbeats says that less than 5 s is likely to end connections that are well.
 */
const HEARTBEAT_S = 5;

/** People wait for a broker that is back, and managers are few. */
const LONGEST_RETRY_MS = 2_000;

export interface BrokerConnectionsOptions {
  broker: AmqpBroker;
  /** A direct one; made where there is none. */
  exchange: string;
  /** After each connect, when the exchange is there: makes what is consumed from. */
  setUpConsuming: (model: ChannelModel) => Promise<void>;
  /** Called when both are up. */
  onUp: () => void;
  /** Called once when they were up and are not any more; they connect again by themselves. */
  onDown: (reason: string) => void;
  /** Called when one could not connect, or ended while the other was not up; they go on trying. */
  onFailed: (reason: string) => void;
  log: Log;
}

export class BrokerConnections {
  readonly #options: BrokerConnectionsOptions;
  readonly #publishing: AmqpConnection;
  /** Apart: a broker that blocks who publishes stops reading from them, acknowledgements too. */
  readonly #consuming: AmqpConnection;
  readonly #up = new Set<AmqpConnection>();
  #givenUpBecause: string | undefined;

  constructor(options: BrokerConnectionsOptions) {
    const { exchange, setUpConsuming } = options;
    this.#options = options;
    this.#publishing = this.#newConnection(false, (model) => assertMayPublish(model, exchange));
    this.#consuming = this.#newConnection(true, setUpConsuming);
  }

  /** A broker that blocks who publishes counts as not connected here, and takes nothing away that was consumed from. */
  get state(): ConnectionState {
    const { state } = this.#publishing;
    return state.state === "disconnected" ? state : this.#consuming.state;
  }

  get areUp(): boolean {
    return this.#up.size === 2;
  }

  start(): void {
    this.#publishing.start();
    this.#consuming.start();
  }

  /** As AmqpConnection's. */
  publish(messages: readonly AmqpMessage[], signal: AbortSignal): Promise<Publication[]> {
    return this.#publishing.publish(messages, signal);
  }

  /** What is consumed from is not as it was made: all is made again, on new connections. */
  giveUp(because: string | undefined): void {
    this.#givenUpBecause ??= because;
    this.#consuming.reconnect();
  }

  async close(): Promise<void> {
    await Promise.all([this.#publishing.close(), this.#consuming.close()]);
  }

  #newConnection(isConsumer: boolean, setUp: (model: ChannelModel) => Promise<void>): AmqpConnection {
    const { broker, exchange, log } = this.#options;
    const connection = new AmqpConnection({
      broker,
      target: shownAmqpUrl({ broker, to: { exchange } }),
      setUp: async (model) => {
        await directExchange(model, exchange);
        await setUp(model);
      },
      isConsumer,
      heartbeatS: HEARTBEAT_S,
      longestRetryMs: LONGEST_RETRY_MS,
      onUp: () => {
        this.#up.add(connection);
        if (this.areUp) this.#options.onUp();
      },
      onDown: (reason) => {
        this.#onDown(connection, reason);
      },
      onFailed: this.#options.onFailed,
      guard: undefined,
      log,
    });
    return connection;
  }

  /** The other one goes too: where the exchange was deleted, only the one that publishes hears of it. */
  #onDown(connection: AmqpConnection, reason: string): void {
    const wereUp = this.areUp;
    const because = this.#givenUpBecause ?? reason;
    this.#givenUpBecause = undefined;
    this.#up.delete(connection);
    if (!wereUp) {
      this.#options.onFailed(because);
      return;
    }
    this.#up.clear();
    this.#publishing.reconnect();
    this.#consuming.reconnect();
    this.#options.onDown(because);
  }
}
