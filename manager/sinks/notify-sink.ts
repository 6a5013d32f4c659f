/** StratusLab's notification: a VM's states, one message each, to one queue of somebody's broker. */
import type { Log } from "../../shared/log.ts";
import type { AmqpBroker } from "../amqp/broker.ts";
import { AmqpConnection } from "../amqp/connection.ts";
import type { AmqpMessage, Publication } from "../amqp/session.ts";
import { anyQueue } from "../amqp/topology.ts";
import { shownAmqpUrl } from "../amqp/url.ts";
import type { ConnectionState } from "../connection-state.ts";
import type { Event } from "../events/event.ts";
import { heldInOrder, outcomeOf } from "./amqp-outcomes.ts";
import type { Attempted, Outcome, Sink } from "./sink.ts";
import type { TargetGuard } from "./target-guard.ts";

/** A VM has three states in its life; a batch is of what gathered while the broker was away. */
const BATCH_SIZE = 100;

/** A VM's start makes two messages within seconds; after that the broker may hear nothing for months. */
const IDLE_MS = 30_000;

const STAGES = ["CREATE", "RUNNING", "DONE"] as const;
type Stage = (typeof STAGES)[number];

export interface NotifySinkOptions {
  broker: AmqpBroker;
  queue: string;
  /** What the messages call the VM. */
  vmId: string;
  /** Undefined for a broker that may be anywhere. */
  guard: TargetGuard | undefined;
  log: Log;
}

export class NotifySink implements Sink {
  readonly type = "notify";
  readonly target: string;
  readonly batchSize = BATCH_SIZE;
  /** No event fails by itself. */
  readonly retryScheduleMs: readonly number[] = [];
  readonly disableAfter = undefined;
  readonly keepsAttempts = false;
  readonly #options: NotifySinkOptions;
  #connection: AmqpConnection | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #deliveries = 0;
  /** Why the last delivery did not reach the broker. */
  #unreachable: string | undefined;
  #closing: Promise<void> = Promise.resolve();

  constructor(options: NotifySinkOptions) {
    this.#options = options;
    this.target = shownAmqpUrl({ broker: options.broker, to: options });
  }

  /** It connects when there is something to say. */
  start(): void {
    return;
  }

  connection(): ConnectionState {
    if (this.#unreachable !== undefined) return { state: "disconnected", reason: this.#unreachable };
    return this.#connection?.state.state === "connected" ? { state: "connected" } : { state: "idle" };
  }

  async deliver(events: readonly Event[], signal: AbortSignal): Promise<Attempted[]> {
    const began = performance.now();
    const perEvent = events.map((event) => this.#messagesOf(event));
    const publications = await this.#publish(perEvent.flat(), signal);
    const outcomes = perEvent.map((messages) => worst(publications.splice(0, messages.length).map(outcomeOf)));
    const durationMs = performance.now() - began;
    return heldInOrder(events, outcomes).map((outcome) => ({ outcome, durationMs }));
  }

  async close(): Promise<void> {
    this.#disconnect();
    await this.#closing;
  }

  async #publish(messages: readonly AmqpMessage[], signal: AbortSignal): Promise<Publication[]> {
    if (messages.length === 0) return [];
    const connection = this.#connect();
    this.#deliveries += 1;
    try {
      const publications = await connection.publish(messages, signal);
      if (publications.some(({ type }) => type === "refused")) await connection.setUpAgain();
      this.#unreachable = publications.flatMap((one) => (one.type === "unconfirmed" ? [one.reason] : []))[0];
      return publications;
    } finally {
      this.#deliveries -= 1;
      if (this.#deliveries === 0) this.#idleTimer = this.#idle();
    }
  }

  #connect(): AmqpConnection {
    clearTimeout(this.#idleTimer);
    const { broker, queue, guard, log } = this.#options;
    this.#connection ??= new AmqpConnection({
      broker,
      target: this.target,
      setUp: (model) => anyQueue(model, queue),
      guard,
      log,
    });
    this.#connection.start();
    return this.#connection;
  }

  #idle(): NodeJS.Timeout {
    return setTimeout(() => {
      this.#disconnect();
    }, IDLE_MS).unref();
  }

  #disconnect(): void {
    clearTimeout(this.#idleTimer);
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection !== undefined)
      this.#closing = Promise.all([this.#closing, connection.close()]).then(() => undefined);
  }

  #messagesOf({ id, time, data }: Event): AmqpMessage[] {
    const { queue, vmId } = this.#options;
    const stages = stagesOf(data["stages"]);
    return stages.map((stage) => ({
      exchange: "",
      routingKey: queue,
      body: Buffer.from(`VM_ID=${vmId}; STATE=${stage}`),
      properties: {
        persistent: true,
        mandatory: true,
        messageId: stages.length === 1 ? id : `${id}-${stage}`,
        timestamp: Math.floor(time / 1000),
        contentType: "text/plain",
      },
    }));
  }
}

/** Of an event's data; most events have none. */
function stagesOf(data: unknown): Stage[] {
  return Array.isArray(data) ? STAGES.filter((stage) => data.includes(stage)) : [];
}

/** An event is delivered when all that it says is. */
function worst(outcomes: readonly Outcome[]): Outcome {
  return outcomes.find(({ type }) => type !== "delivered") ?? { type: "delivered" };
}
