/**
 * The agent's end of the channel to the host: one connection for each host that comes, the queue that waits for one, the
 * heartbeat that tells a silent agent from a dead one.
 */
import { within } from "../../shared/abort.ts";
import type { Channel, ChannelSource } from "../../shared/channel.ts";
import { NoAnswerError } from "../../shared/peer.ts";
import { RequestError } from "../../shared/protocol/errors.ts";
import type { HelloParams } from "../../shared/protocol/message.ts";
import type { AgentParts } from "../handlers/context.ts";
import type { Log } from "../../shared/log.ts";
import { Access } from "./access.ts";
import { Connection } from "./connection.ts";
import type { QueuedMessage } from "./outgoing-queue.ts";

/** A host has this long to take a message from the queue before it is sent again, under the same messageId. */
const DELIVERY_TIMEOUT_MS = 10_000;

/** A host that reads has the last word at once; for one that does not, the machine's end is not held up. */
const LAST_WORD_MS = 100;

export interface LinkState {
  readonly channelName: string;
  readonly isHostAttached: boolean;
  readonly damagedFrames: number;
}

export interface HostLinkOptions {
  source: ChannelSource;
  agentNonce: string;
  heartbeatMs: number;
  log: Log;
}

export class HostLink implements LinkState {
  readonly #options: HostLinkOptions;
  #connection: Connection | undefined;
  #hello: HelloParams | undefined;
  #earlierDamage = 0;
  #isReadyAnnounced = false;
  #isDelivering = false;
  #isBeating = false;

  constructor(options: HostLinkOptions) {
    this.#options = options;
  }

  get channelName(): string {
    return this.#options.source.name;
  }

  get isHostAttached(): boolean {
    return this.#connection !== undefined;
  }

  get damagedFrames(): number {
    return this.#earlierDamage + (this.#connection?.peer.session.damagedFrames ?? 0);
  }

  /** Serves one host after the other until aborted. */
  async run(parts: AgentParts, signal: AbortSignal): Promise<void> {
    parts.queue.onCommitted(() => void this.#deliver(parts));
    for await (const channel of this.#options.source.arrivals(signal)) {
      if (signal.aborted) return;
      await this.#serve(channel, parts);
    }
  }

  /** The cache changed. */
  update(): void {
    this.#connection?.watches.update();
  }

  /** Lost with the session: the mark stays with the entry, where a host can look it up. */
  announceRead(key: string, messageId: string): void {
    const connection = this.#connection;
    if (connection?.peer.session.session === undefined) return;
    connection.peer.channel.write(connection.peer.session.notify("read", { key, messageId })).catch(() => undefined);
  }

  /** Tells the host, when one is there, that this agent ends because it was told to. Settles soon, read or not. */
  async announceStopping(): Promise<void> {
    const peer = this.#connection?.peer;
    if (peer?.session.session === undefined) return;
    const written = peer.channel.write(peer.session.notify("stopping", {})).catch(() => undefined);
    await within(LAST_WORD_MS, written);
  }

  async #serve(channel: Channel, parts: AgentParts): Promise<void> {
    const { log, agentNonce } = this.#options;
    const connection = new Connection(channel, {
      parts,
      agentNonce,
      access: Access.host(channel.name),
      log: {
        damaged: (damage) => {
          log.warn("frame-damaged", { channel: channel.name, reason: damage });
        },
        violated: (error) => {
          log.warn("protocol-violation", { channel: channel.name, reason: error.message });
        },
        failed: (error) => {
          log.error("request-failed", { channel: channel.name, error });
        },
      },
      opened: (hello) => {
        this.#opened(hello, parts);
      },
    });
    this.#connection = connection;
    log.info("host-attached", { channel: channel.name });
    const heartbeat = setInterval(() => {
      void this.#beat(connection, parts);
    }, this.#options.heartbeatMs);
    try {
      this.#announceReady(connection);
      await connection.serve();
      log.info("host-left", { channel: channel.name });
    } catch (error) {
      log.warn("channel-broken", { channel: channel.name, reason: (error as Error).message });
    } finally {
      clearInterval(heartbeat);
      this.#earlierDamage += connection.peer.session.damagedFrames;
      this.#connection = undefined;
      this.#hello = undefined;
    }
  }

  /** Once: a host that is attached while the agent starts knows nothing of that; a later one greets by itself. */
  #announceReady({ peer }: Connection): void {
    if (this.#isReadyAnnounced) return;
    this.#isReadyAnnounced = true;
    peer.channel.write(peer.session.ready()).catch(() => undefined);
  }

  #opened(hello: HelloParams, parts: AgentParts): void {
    this.#options.log.info("session-opened", { software: hello.software });
    this.#hello = hello;
    void this.#deliver(parts);
  }

  /** One at a time: a host that does not read shall find the last beat, not a pile of them. */
  async #beat({ peer }: Connection, { machine, store }: AgentParts): Promise<void> {
    if (peer.session.session === undefined || this.#isBeating) return;
    this.#isBeating = true;
    const beat = { uptimeMs: machine.now().uptimeMs, ...store.cache.cursor };
    await peer.channel.write(peer.session.notify("heartbeat", beat)).catch(() => undefined);
    this.#isBeating = false;
  }

  /** Hands over what this host takes, in order and one at a time; what it has not answered stays queued. */
  async #deliver({ queue }: AgentParts): Promise<void> {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    try {
      for (;;) {
        const hello = this.#hello;
        const peer = this.#connection?.peer;
        const message = hello && queue.messages.find((queued) => isTaken(queued, hello));
        if (message === undefined || peer === undefined) return;
        const outcome = await this.#handOver(message, peer);
        if (outcome === "taken") await this.#forget(message.params.messageId, queue);
        if (outcome === "kept" && this.#hello === hello) return;
      }
    } finally {
      this.#isDelivering = false;
    }
  }

  /** A disk that refuses it keeps the message for the next start of the agent, and not for this one. */
  async #forget(messageId: string, queue: AgentParts["queue"]): Promise<void> {
    await queue.remove(messageId).catch((error: unknown) => {
      this.#options.log.error("queue-failed", { error });
    });
  }

  async #handOver({ method, params }: QueuedMessage, peer: Connection["peer"]): Promise<"taken" | "again" | "kept"> {
    try {
      await peer.request(method, params, DELIVERY_TIMEOUT_MS);
      return "taken";
    } catch (error) {
      if (error instanceof NoAnswerError) return "again";
      if (error instanceof RequestError) {
        this.#options.log.warn("message-refused", { method, messageId: params.messageId, reason: error.message });
      }
      return "kept";
    }
  }
}

function isTaken({ method, params }: QueuedMessage, hello: HelloParams): boolean {
  if (hello.accepts?.includes(method) !== true) return false;
  if (method !== "acknowledge" || hello.acknowledgeOf === undefined) return true;
  return params.of === hello.acknowledgeOf;
}
