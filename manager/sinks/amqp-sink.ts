/** Events to an exchange or a queue of an AMQP broker, each with the broker's confirm. */
import type { ChannelModel } from "amqplib";
import type { BodyFormat } from "../../shared/api/event-schemas.ts";
import type { Log } from "../../shared/log.ts";
import type { AmqpBroker } from "../amqp/broker.ts";
import { AmqpConnection } from "../amqp/connection.ts";
import type { AmqpMessage } from "../amqp/session.ts";
import { anyQueue, topicExchange } from "../amqp/topology.ts";
import { shownAmqpUrl } from "../amqp/url.ts";
import type { ConnectionState } from "../connection-state.ts";
import { cloudEvent, cloudStackBody } from "../events/bodies.ts";
import type { Event } from "../events/event.ts";
import { routingKey } from "../events/topic.ts";
import { heldInOrder, outcomeOf } from "./amqp-outcomes.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Attempted, Sink } from "./sink.ts";
import type { TargetGuard } from "./target-guard.ts";

/** Enough that the broker's confirms, which come together, cost little each. Not measured beyond. */
const BATCH_SIZE = 1_000;

/** CloudStack's own, and CloudEvents' for structured JSON. */
const CONTENT_TYPES = { cloudstack: "text/plain", cloudevents: "application/cloudevents+json" };

export interface AmqpSinkOptions {
  broker: AmqpBroker;
  to: Extract<Endpoint, { type: "amqp" }>["to"];
  format: BodyFormat;
  /** The manager's machine, for CloudEvents' `source`. */
  host: string;
  /** Undefined for a broker that may be anywhere. */
  guard: TargetGuard | undefined;
  log: Log;
}

export class AmqpSink implements Sink {
  readonly type = "amqp";
  readonly target: string;
  readonly batchSize = BATCH_SIZE;
  /** No event fails by itself. */
  readonly retryScheduleMs: readonly number[] = [];
  readonly disableAfter = undefined;
  readonly keepsAttempts = false;
  readonly #options: AmqpSinkOptions;
  readonly #connection: AmqpConnection;

  constructor(options: AmqpSinkOptions) {
    const { broker, to, guard, log } = options;
    this.#options = options;
    this.target = shownAmqpUrl(options);
    const setUp = (model: ChannelModel): Promise<void> =>
      "queue" in to ? anyQueue(model, to.queue) : topicExchange(model, to.exchange);
    this.#connection = new AmqpConnection({ broker, target: this.target, setUp, guard, log });
  }

  start(): void {
    this.#connection.start();
  }

  connection(): ConnectionState {
    return this.#connection.state;
  }

  async deliver(events: readonly Event[], signal: AbortSignal): Promise<Attempted[]> {
    this.start();
    const began = performance.now();
    const messages = events.map((event) => this.#messageOf(event));
    const publications = await this.#connection.publish(messages, signal);
    if (publications.some(({ type }) => type === "refused")) await this.#connection.setUpAgain();
    const durationMs = performance.now() - began;
    return heldInOrder(events, publications.map(outcomeOf)).map((outcome) => ({ outcome, durationMs }));
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  /** Only a queue must be there: an exchange that nobody has bound a queue to is one that nobody listens to. */
  #messageOf(event: Event): AmqpMessage {
    const { to, format, host } = this.#options;
    const body = format === "cloudstack" ? cloudStackBody(event) : cloudEvent(event, host);
    return {
      exchange: "exchange" in to ? to.exchange : "",
      routingKey: "exchange" in to ? routingKey(event) : to.queue,
      body: Buffer.from(JSON.stringify(body)),
      properties: {
        persistent: true,
        mandatory: "queue" in to,
        messageId: event.id,
        timestamp: Math.floor(event.time / 1000),
        type: event.type,
        contentType: CONTENT_TYPES[format],
      },
    };
  }
}
