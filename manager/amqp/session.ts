/** One connection to a broker, from its opening to its end, with a channel that publishes and has everything confirmed. */
import type { LookupFunction, Socket } from "node:net";
import { type ChannelModel, type ConfirmChannel, connect, type Options } from "amqplib";
import { unlessAborted } from "../../shared/abort.ts";
import type { AmqpBroker } from "./broker.ts";
import { amqpReason, brokerAddress, brokerError, brokersWords } from "./failure.ts";
import { boundAnswers, MAX_FRAME_BYTES, oneFrameATurn, withItsSocket } from "./socket.ts";

/** From the look-up of the name to the last part of the topology. */
const OPEN_TIMEOUT_MS = 10_000;

/** A broker that is silent for two or three of them is gone. */
const HEARTBEAT_S = 10;

/** A broker that keeps messages on disk may take seconds to confirm; one that confirms nothing for so long will not. */
const CONFIRM_TIMEOUT_MS = 60_000;

/** For the farewell of both sides, which loses nothing when it fails. */
const CLOSE_TIMEOUT_MS = 2_000;

export interface AmqpMessage {
  /** Empty for the default exchange, where the routing key is a queue's name. */
  exchange: string;
  routingKey: string;
  body: Buffer;
  properties: Options.Publish & { messageId: string };
}

/**
 * What became of a message. `unconfirmed`: it may have arrived or not, and the connection is of no use at present.
 * `isUnroutable`: no queue was there for a mandatory message, so nobody got it.
 */
export type Publication =
  | { type: "confirmed" }
  | { type: "refused"; reason: string; isUnroutable?: true }
  | { type: "unconfirmed"; reason: string };

/** Says where a broker may be. */
export interface AddressGuard {
  /** Throws CommandError for a host that is an address, and not an allowed one. Names pass. */
  assertAddress(host: string): void;
  /** For `net.connect` and `tls.connect`: answers the allowed ones of a name's addresses. */
  readonly lookup: LookupFunction;
}

export interface AmqpSessionOptions {
  broker: AmqpBroker;
  /** Where the broker may be; anywhere when undefined. */
  guard: AddressGuard | undefined;
  /** Makes what is needed there: exchanges, queues, consumers. */
  setUp: (model: ChannelModel) => Promise<void>;
  /** Whether messages are consumed: then what the broker sends has no bound. */
  isConsumer: boolean;
  /** A broker that is silent for two or three of them is gone; ten seconds when undefined. */
  heartbeatS?: number | undefined;
  /** Called when the broker begins or ends to block those who publish. */
  onBlocked: () => void;
}

const CONFIRMED: Publication = { type: "confirmed" };

export class AmqpSession {
  readonly #options: AmqpSessionOptions;
  readonly #model: ChannelModel;
  readonly #socket: Socket;
  readonly #ended = Promise.withResolvers<string>();
  readonly #batches = new Set<Batch>();
  /** Of the messages that come back when no queue takes them, those not confirmed yet, and why they came back. */
  readonly #mandatory = new Map<string, string | undefined>();
  #channel: ConfirmChannel | undefined;
  #isClosed = false;
  #drained = Promise.withResolvers<undefined>();
  #published = 0;
  #fault: unknown;
  #blocked: string | undefined;

  private constructor(options: AmqpSessionOptions, model: ChannelModel, socket: Socket) {
    this.#options = options;
    this.#model = model;
    this.#socket = socket;
    model.on("error", (error) => (this.#fault ??= error));
    model.on("close", (error) => {
      this.#onClose(error);
    });
    model.on("blocked", (reason) => {
      this.#onBlocked(reason);
    });
    model.on("unblocked", () => {
      this.#blocked = undefined;
      options.onBlocked();
    });
  }

  /** Rejects when it cannot be opened or set up; `amqpReason` says why in words. */
  static async open(options: AmqpSessionOptions, signal: AbortSignal): Promise<AmqpSession> {
    const { broker, guard, heartbeatS = HEARTBEAT_S } = options;
    guard?.assertAddress(broker.host);
    const url = urlOf(broker, heartbeatS);
    const { made: opening, socket } = withItsSocket(() => connect(url, socketOptions(broker, guard)));
    const release = oneFrameATurn(socket);
    const late = brokerError(`${brokerAddress(broker)} did not answer within ${OPEN_TIMEOUT_MS / 1000} s`);
    const timer = setTimeout(() => socket.destroy(late), OPEN_TIMEOUT_MS);
    const onAbort = (): unknown => socket.destroy(brokerError("the connection is not wanted any more"));
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    try {
      const session = new AmqpSession(options, await opening, socket);
      await session.#setUp();
      release();
      return session;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Settles when it has ended, with the reason. */
  get ended(): Promise<string> {
    return this.#ended.promise;
  }

  /** Why the broker takes no messages now; undefined while it does. */
  get blocked(): string | undefined {
    return this.#isClosed ? this.#endReason() : this.#blocked;
  }

  /**
   * Publishes all in order and settles when each is confirmed or refused, when the connection has ended or is
   * blocked, or when aborted. Never rejects; answers in the order of the messages.
   */
  async publish(messages: readonly AmqpMessage[], signal: AbortSignal): Promise<Publication[]> {
    const batch = new Batch(messages.length);
    const stalled = setTimeout(() => {
      this.#fail(`${brokerAddress(this.#options.broker)} confirmed nothing for ${CONFIRM_TIMEOUT_MS / 1000} s`);
    }, CONFIRM_TIMEOUT_MS);
    batch.onProgress = () => stalled.refresh();
    this.#batches.add(batch);
    try {
      await unlessAborted(signal, this.#send(messages, batch));
    } catch (error) {
      if (!signal.aborted) throw error;
      batch.giveUp("it was not awaited any more");
    } finally {
      this.#batches.delete(batch);
      clearTimeout(stalled);
    }
    return batch.results;
  }

  /** Makes what is needed there again, if somebody has removed it. Never rejects. */
  async setUpAgain(): Promise<void> {
    await this.#options.setUp(this.#model).catch((error: unknown) => {
      this.#fault ??= error;
      this.#closeModel();
    });
  }

  /** Settles when it has ended. */
  async close(): Promise<void> {
    this.#closeModel();
    await this.ended;
  }

  async #setUp(): Promise<void> {
    const { broker, setUp, isConsumer } = this.#options;
    if (!isConsumer) {
      boundAnswers(this.#socket, () => brokerError(`${brokerAddress(broker)} sends more than it was asked for`));
    }
    try {
      await setUp(this.#model);
      this.#channel = this.#prepare(await this.#model.createConfirmChannel());
    } catch (error) {
      this.#fault ??= error;
      await this.close();
      throw this.#fault;
    }
  }

  #prepare(channel: ConfirmChannel): ConfirmChannel {
    channel.on("error", (error) => (this.#fault ??= error));
    channel.on("drain", () => {
      this.#drained.resolve(undefined);
      this.#drained = Promise.withResolvers();
    });
    channel.on("return", ({ fields, properties }: Returned) => {
      const { messageId } = properties;
      if (messageId !== undefined && this.#mandatory.has(messageId)) {
        this.#mandatory.set(messageId, fields.replyText);
      }
    });
    // Before amqplib's own: it tells those who wait, and they ask why.
    channel.prependListener("close", () => {
      this.#isClosed = true;
      this.#closeModel();
    });
    // amqplib's window of unconfirmed messages becomes as wide as a broker says.
    for (const event of ["ack", "nack"]) {
      channel.prependListener(event, ({ deliveryTag }: { deliveryTag: number }) => {
        if (deliveryTag < 1 || deliveryTag > this.#published) throw new Error("confirms what was never published");
      });
    }
    return channel;
  }

  async #send(messages: readonly AmqpMessage[], batch: Batch): Promise<void> {
    for (const [index, message] of messages.entries()) {
      if (batch.isSettled) break;
      const hasRoom = this.#write(message, index, batch);
      if (!hasRoom) await Promise.race([this.#drained.promise, batch.settled]);
    }
    await batch.settled;
  }

  /** False when more should wait until the socket has taken what was written. */
  #write(message: AmqpMessage, index: number, batch: Batch): boolean {
    const { exchange, routingKey, body, properties } = message;
    const { blocked } = this;
    if (this.#channel === undefined || blocked !== undefined) {
      batch.giveUp(blocked ?? this.#endReason());
      return true;
    }
    const { mandatory, messageId } = properties;
    if (mandatory === true) this.#mandatory.set(messageId, undefined);
    this.#published += 1;
    return this.#channel.publish(exchange, routingKey, body, properties, (error: unknown) => {
      batch.settle(index, this.#publicationOf(message, error));
    });
  }

  /** @param error null for a confirm */
  #publicationOf({ routingKey, properties }: AmqpMessage, error: unknown): Publication {
    if (properties.mandatory === true) {
      const returned = this.#mandatory.get(properties.messageId);
      this.#mandatory.delete(properties.messageId);
      if (returned !== undefined) {
        const words = brokersWords(returned, this.#options.broker);
        return { type: "refused", reason: `no queue takes it: ${words} (${routingKey})`, isUnroutable: true };
      }
    }
    if (error === null) return CONFIRMED;
    if (this.#isClosed) return { type: "unconfirmed", reason: this.#endReason() };
    return { type: "refused", reason: "the broker refused it (basic.nack); is a queue of it full?" };
  }

  #onBlocked(reason: string): void {
    const { broker, onBlocked } = this.#options;
    this.#blocked = `${brokerAddress(broker)} takes no messages now: ${brokersWords(reason, broker)}`;
    for (const batch of this.#batches) batch.giveUp(this.#blocked);
    onBlocked();
  }

  #onClose(error: Error | undefined): void {
    this.#isClosed = true;
    this.#fault ??= error;
    for (const batch of this.#batches) batch.giveUp(this.#endReason());
    this.#ended.resolve(this.#endReason());
    // Time for the last frames; amqplib leaves a half of the connection open when the other side is silent.
    setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT_MS).unref();
  }

  #closeModel(): void {
    this.#isClosed = true;
    const timer = setTimeout(() => {
      this.#fail("it did not say good-bye");
    }, CLOSE_TIMEOUT_MS);
    void this.ended.then(() => {
      clearTimeout(timer);
    });
    this.#model.close().catch(() => undefined);
  }

  /** amqplib hears of a socket's end by `error` or `end`. */
  #fail(words: string): void {
    this.#socket.destroy(brokerError(words));
  }

  #endReason(): string {
    const { broker } = this.#options;
    if (this.#fault === undefined) return `the connection to ${brokerAddress(broker)} was closed`;
    return amqpReason(this.#fault, broker);
  }
}

interface Returned {
  fields: { replyText: string };
  properties: { messageId: string | undefined };
}

/** Messages that are published together, and what became of each. */
class Batch {
  readonly #results: (Publication | undefined)[];
  readonly #settled = Promise.withResolvers<undefined>();
  #unsettled: number;
  #gaveUp: Publication = { type: "unconfirmed", reason: "" };
  onProgress: () => void = () => undefined;

  constructor(size: number) {
    this.#results = new Array<Publication | undefined>(size).fill(undefined);
    this.#unsettled = size;
    if (size === 0) this.#settled.resolve(undefined);
  }

  get settled(): Promise<undefined> {
    return this.#settled.promise;
  }

  get isSettled(): boolean {
    return this.#unsettled === 0;
  }

  get results(): Publication[] {
    return this.#results.map((result) => result ?? this.#gaveUp);
  }

  settle(index: number, publication: Publication): void {
    if (this.isSettled || this.#results[index] !== undefined) return;
    this.#results[index] = publication;
    this.onProgress();
    this.#unsettled -= 1;
    if (this.#unsettled === 0) this.#settled.resolve(undefined);
  }

  /** What is not settled stays unconfirmed. */
  giveUp(reason: string): void {
    if (this.isSettled) return;
    this.#gaveUp = { type: "unconfirmed", reason };
    this.#unsettled = 0;
    this.#settled.resolve(undefined);
  }
}

function urlOf({ tls, host, port, vhost, user, password }: AmqpBroker, heartbeatS: number): Options.Connect {
  return {
    protocol: tls ? "amqps" : "amqp",
    hostname: host,
    port,
    username: user,
    password,
    // amqplib decodes it once more, and takes an empty one for `/`.
    vhost: encodeURIComponent(vhost),
    frameMax: MAX_FRAME_BYTES,
    maxFrameSize: MAX_FRAME_BYTES,
    heartbeat: heartbeatS,
  };
}

function socketOptions({ ca }: AmqpBroker, guard: AddressGuard | undefined): object {
  return {
    noDelay: true,
    clientProperties: { connection_name: "vmmessaged" },
    ...(guard !== undefined && { lookup: guard.lookup }),
    ...(ca !== undefined && { ca }),
  };
}
