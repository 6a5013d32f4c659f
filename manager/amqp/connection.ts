/** A broker that is connected to until it is closed: again and again, with what is needed there, and saying why not. */
import type { ChannelModel } from "amqplib";
import { unlessAborted } from "../../shared/abort.ts";
import type { Log } from "../../shared/log.ts";
import type { ConnectionState } from "../connection-state.ts";
import { Retries } from "../retries.ts";
import type { AmqpBroker } from "./broker.ts";
import { amqpReason, brokerAddress } from "./failure.ts";
import { type AddressGuard, type AmqpMessage, AmqpSession, type Publication } from "./session.ts";

const FIRST_RETRY_MS = 500;
/** Unless it is said otherwise. */
const LONGEST_RETRY_MS = 30_000;

/** A broker that restarts is often back by then; a sink that waits longer is better told. Not measured. */
const WAIT_MS = 5_000;

export interface AmqpConnectionOptions {
  broker: AmqpBroker;
  /** For the log: where it leads, without passwords. */
  target: string;
  /** After each connect: makes what is needed there. */
  setUp: (model: ChannelModel) => Promise<void>;
  isConsumer?: boolean;
  /** As AmqpSession's. */
  heartbeatS?: number;
  /** Between two attempts to connect. */
  longestRetryMs?: number;
  /** Called when it is connected and all is made, and when that has ended. */
  onUp?: () => void;
  onDown?: (reason: string) => void;
  /** Called for each attempt that failed; another one follows. */
  onFailed?: (reason: string) => void;
  guard: AddressGuard | undefined;
  log: Log;
}

export class AmqpConnection {
  readonly #options: AmqpConnectionOptions;
  readonly #closing = new AbortController();
  readonly #retries: Retries;
  #running: Promise<void> | undefined;
  #session: AmqpSession | undefined;
  #reason: string;
  #changed = Promise.withResolvers<undefined>();

  constructor(options: AmqpConnectionOptions) {
    const { longestRetryMs: longestMs = LONGEST_RETRY_MS } = options;
    this.#options = options;
    this.#retries = new Retries({ firstMs: FIRST_RETRY_MS, longestMs });
    this.#reason = `connecting to ${brokerAddress(options.broker)}`;
  }

  start(): void {
    this.#running ??= this.#run(this.#closing.signal);
  }

  /** A broker that blocks those who publish counts as not connected. */
  get state(): ConnectionState {
    const reason = this.#whyNot;
    return reason === undefined ? { state: "connected" } : { state: "disconnected", reason };
  }

  /** Waits a while for the connection when there is none. As AmqpSession's. */
  async publish(messages: readonly AmqpMessage[], signal: AbortSignal): Promise<Publication[]> {
    await this.ready(signal);
    if (this.#session !== undefined) return this.#session.publish(messages, signal);
    const reason = this.#reason;
    return messages.map(() => ({ type: "unconfirmed", reason }));
  }

  /** Settles when it is connected (true), or not within five seconds (false), or aborted. */
  async ready(signal: AbortSignal): Promise<boolean> {
    if (this.#isReady()) return true;
    const deadline = AbortSignal.any([signal, this.#closing.signal, AbortSignal.timeout(WAIT_MS)]);
    while (!this.#isReady() && !deadline.aborted) {
      await unlessAborted(deadline, this.#changed.promise).catch(() => undefined);
    }
    return this.#isReady();
  }

  /** Makes what is needed there again, if somebody has removed it. Never rejects. */
  async setUpAgain(): Promise<void> {
    await this.#session?.setUpAgain();
  }

  /** Something that was set up is lost: all is made again, on a new connection. */
  reconnect(): void {
    void this.#session?.close();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
  }

  #isReady(): boolean {
    return this.#whyNot === undefined;
  }

  get #whyNot(): string | undefined {
    return this.#session === undefined ? this.#reason : this.#session.blocked;
  }

  async #run(closing: AbortSignal): Promise<void> {
    while (!closing.aborted) {
      this.#down(await this.#oneSession(closing));
      await this.#retries.wait(closing);
    }
  }

  /** Settles when it has ended or could not be opened, with the reason. */
  async #oneSession(closing: AbortSignal): Promise<string> {
    const { broker, guard, setUp, isConsumer = false, heartbeatS } = this.#options;
    const onBlocked = (): void => {
      this.#onBlocked();
    };
    try {
      const session = await AmqpSession.open({ broker, guard, setUp, isConsumer, heartbeatS, onBlocked }, closing);
      this.#up(session);
      await unlessAborted(closing, session.ended).catch(() => session.close());
      return await session.ended;
    } catch (error) {
      return amqpReason(error, broker);
    }
  }

  #up(session: AmqpSession): void {
    this.#session = session;
    this.#retries.reset();
    this.#options.log.info("amqp-connected", { target: this.#options.target });
    this.#tell();
    this.#options.onUp?.();
  }

  /** Attempts that fail for the reason that was told are not told again. */
  #down(reason: string): void {
    const wasUp = this.#session !== undefined;
    const isNews = wasUp || reason !== this.#reason;
    const { log, target, onDown, onFailed } = this.#options;
    this.#session = undefined;
    this.#reason = reason;
    if (isNews && !this.#closing.signal.aborted) log.warn("amqp-disconnected", { target, reason });
    this.#tell();
    if (wasUp) onDown?.(reason);
    else if (!this.#closing.signal.aborted) onFailed?.(reason);
  }

  #onBlocked(): void {
    const { log, target } = this.#options;
    const reason = this.#session?.blocked;
    if (reason === undefined) log.info("amqp-unblocked", { target });
    else log.warn("amqp-blocked", { target, reason });
    this.#tell();
  }

  #tell(): void {
    this.#changed.resolve(undefined);
    this.#changed = Promise.withResolvers();
  }
}
