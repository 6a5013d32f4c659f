/**
 * Managers meet at one direct exchange of a broker that its owner and others use too. Each manager has a queue of its own,
 * with the keys `manager.ID` and `managers`, and for each VM that it holds one with the key `vm.UUID`, which the broker gives
 * to one connection only: so the broker says who holds a VM, and that nobody does (`mandatory`, AMQP 0-9-1, section 1.8.3.3).
 *
 * Which rights the broker's user needs is in docs/peers.md. Another user with these rights, but without the key, can take
 * nothing out of the queues and put nothing into them that is received; it can take queues away before we have them, delete
 * the exchange (we make it again), fill queues, and put copies of what managers have sent where they were sent before. Such a
 * replay reaches the listener, as the same message from the same peer: it is refused there, a request by its id, its addressee
 * and its expiry. A message of any size that the broker allows (`max_message_size`) is read before it is refused.
 */
import type { ChannelModel, ConsumeMessage } from "amqplib";
import type { Log } from "../../../shared/log.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { randomHex } from "../../../shared/random.ts";
import type { AmqpBroker } from "../../amqp/broker.ts";
import { amqpReason, brokerAddress, brokerError } from "../../amqp/failure.ts";
import type { Publication } from "../../amqp/session.ts";
import type { ConnectionState } from "../../connection-state.ts";
import { AtMostEvery } from "../../events/at-most-every.ts";
import type { Addressee, Claim, Passing, Transport, TransportListener, Trouble } from "../transport.ts";
import type { Peer, WireMessage } from "../wire.ts";
import { BrokerConnections } from "./connections.ts";
import { BrokerEcho } from "./echo.ts";
import { EVERYONE_KEY, routingKeyOf } from "./keys.ts";
import type { PeerKey } from "./peer-key.ts";
import { BrokerQueues, type BrokerQueuesListener, type QueueClaim } from "./queues.ts";
import { BrokerRefusals, type RefusedKind } from "./refusals.ts";
import { type Opened, Opener, Sealer } from "./seal.ts";

/** Transient messages are confirmed in milliseconds; whoever asked is to know well before its own patience ends. */
const CONFIRM_TIMEOUT_MS = 5_000;

/** What the broker has not confirmed, and may still lie in this process. Not measured. */
const MAX_UNCONFIRMED_BYTES = 64 * 1024 * 1024;

/** A broker that lets us make one VM's queue not refuses all of them, again and again. */
const TELL_REFUSED_CLAIM_EVERY_MS = 60_000;

/** Longer than announcements that are sent together take, of which each is a millisecond later than the one before. */
const SAME_MOMENT_MS = 2_000;

export interface BrokerTransportOptions {
  broker: AmqpBroker;
  /** At most 127 bytes: the queues' names begin with it. */
  exchange: string;
  key: PeerKey;
  /** This machine's name, for the other managers. */
  host: string;
  log: Log;
}

export class BrokerTransport implements Transport {
  readonly self: Peer;
  readonly #options: BrokerTransportOptions;
  readonly #sealer: Sealer;
  readonly #opener: Opener;
  readonly #connections: BrokerConnections;
  readonly #refusals: BrokerRefusals;
  readonly #refusedClaims = new AtMostEvery(TELL_REFUSED_CLAIM_EVERY_MS);
  readonly #echo: BrokerEcho;
  #listener: TransportListener | undefined;
  #queues: BrokerQueues | undefined;
  /** How often: those of a connection that has ended are not listened to. */
  #queuesMade = 0;
  #announcedAt = -Infinity;
  #published = 0;
  #unconfirmedBytes = 0;

  constructor(options: BrokerTransportOptions) {
    const { broker, exchange, key, host, log } = options;
    this.self = { id: randomHex(16), host };
    this.#options = options;
    this.#sealer = new Sealer(key, this.self.id);
    this.#opener = new Opener(key);
    this.#refusals = new BrokerRefusals(log);
    this.#echo = new BrokerEcho(() => {
      this.#broken(brokerError("what we send to everyone does not come back to us"));
    });
    this.#connections = new BrokerConnections({
      broker,
      exchange,
      setUpConsuming: (model) => this.#openQueues(model),
      onUp: () => {
        this.#tell((listener) => {
          listener.connected();
        });
      },
      onDown: (reason) => {
        this.#onDown(reason);
      },
      onFailed: (reason) => {
        this.#tellTrouble({ type: "not-connected", reason });
      },
      log,
    });
  }

  /** A broker that blocks those who publish counts as not connected, but the listener is told nothing: our queues stay. */
  get connection(): ConnectionState {
    return this.#connections.state;
  }

  /** How many messages were not what a manager with our key sends, by what they were. */
  get refusedCounts(): Partial<Record<RefusedKind, number>> {
    return this.#refusals.counts;
  }

  start(listener: TransportListener): void {
    this.#listener = listener;
    this.#connections.start();
  }

  /**
   * Settles within five seconds. A message that is longer than MAX_ENVELOPE_BYTES once it is sealed is `not-sent`. One of which
   * the broker says that a queue is full is `unconfirmed`.
   */
  async send(to: Addressee, message: WireMessage, expiresInMs: number): Promise<Passing> {
    const { connection } = this;
    if (connection.state === "disconnected")
      return { type: "not-sent", reason: `the broker is away: ${connection.reason}` };
    const routingKey = routingKeyOf(to);
    const sealed = this.#sealer.seal({ from: this.self, sentAt: this.#timeOf(message), message }, routingKey);
    if (sealed.type === "refused") return { type: "not-sent", reason: sealed.reason };
    if (this.#unconfirmedBytes + sealed.envelope.length > MAX_UNCONFIRMED_BYTES) {
      return { type: "not-sent", reason: `${this.#address} is slow, and too much waits for it` };
    }
    if (to.type !== "everyone") return this.#publish(sealed.envelope, routingKey, expiresInMs);
    return this.#publishToEveryone(sealed.envelope, expiresInMs);
  }

  /** `taken`, too, when the broker does not make the queue for us, of which the log and the listener are told. */
  async claim(vmId: string): Promise<Claim> {
    const queues = this.#queues;
    if (queues === undefined || !this.#connections.areUp) return "away";
    try {
      const claim = await queues.claim(vmId);
      return queues === this.#queues ? this.#claimOf(claim, vmId) : "away";
    } catch (error) {
      if (queues === this.#queues) this.#broken(error);
      return "away";
    }
  }

  async release(vmId: string): Promise<void> {
    const queues = this.#queues;
    try {
      await queues?.release(vmId);
    } catch (error) {
      if (queues === this.#queues) this.#broken(error);
    }
  }

  /** The listener hears nothing any more. */
  async close(): Promise<void> {
    this.#listener = undefined;
    this.#echo.forget();
    await this.#connections.close();
  }

  /** Each announcement has its own, by which it is told from one that somebody sends again. A clock set back is told as it is. */
  #timeOf({ type }: WireMessage): number {
    const now = Date.now();
    if (type !== "announce" && type !== "bye") return now;
    const isSameMoment = now <= this.#announcedAt && now > this.#announcedAt - SAME_MOMENT_MS;
    this.#announcedAt = isSameMoment ? this.#announcedAt + 1 : now;
    return this.#announcedAt;
  }

  async #openQueues(model: ChannelModel): Promise<void> {
    const { exchange } = this.#options;
    this.#queuesMade += 1;
    const options = { exchange, managerId: this.self.id };
    this.#queues = await BrokerQueues.open(model, options, this.#queuesListener(this.#queuesMade));
  }

  /** What comes before `connected` is passed over: we could not answer. */
  #queuesListener(made: number): BrokerQueuesListener {
    const isCurrent = (): boolean => made === this.#queuesMade && this.#connections.areUp;
    return {
      received: (message, keys) => {
        if (isCurrent()) this.#received(message, keys);
      },
      lost: (vmId) => {
        if (!isCurrent()) return;
        this.#tell((listener) => {
          listener.lost(vmId);
        });
      },
      broken: (error) => {
        if (isCurrent()) this.#broken(error);
      },
    };
  }

  #onDown(reason: string): void {
    this.#queues = undefined;
    this.#echo.forget();
    this.#tell((listener) => {
      listener.disconnected(reason);
    });
  }

  /** @param error what a broker refused has a code; all else is of a connection that has ended, which says why itself */
  #broken(error: unknown): void {
    const isRefusal = error instanceof Error && "code" in error;
    const reason = isRefusal ? amqpReason(error, this.#options.broker) : undefined;
    if (reason !== undefined) {
      this.#options.log.warn("peer-queues-broken", { reason });
      this.#tellTrouble({ type: "queues-broken", reason });
    }
    this.#connections.giveUp(reason);
  }

  /** One that not even we got is missed, too. */
  async #publishToEveryone(envelope: Buffer, expiresInMs: number): Promise<Passing> {
    this.#echo.expect();
    const passing = await this.#publish(envelope, EVERYONE_KEY, expiresInMs);
    if (passing.type === "not-sent" || passing.type === "unconfirmed") this.#echo.forget();
    return passing;
  }

  async #publish(body: Buffer, routingKey: string, expiresInMs: number): Promise<Passing> {
    const { exchange } = this.#options;
    this.#published += 1;
    const expiration = Math.max(1, Math.ceil(expiresInMs));
    const properties = { messageId: String(this.#published), mandatory: true, persistent: false, expiration };
    const late = AbortSignal.timeout(CONFIRM_TIMEOUT_MS);
    this.#unconfirmedBytes += body.length;
    const [publication] = await this.#connections.publish([{ exchange, routingKey, body, properties }], late);
    this.#unconfirmedBytes -= body.length;
    if (publication === undefined) throw new Error("nothing became of a message");
    return this.#passingOf(publication, late.aborted);
  }

  #passingOf(publication: Publication, isLate: boolean): Passing {
    switch (publication.type) {
      case "confirmed":
        return { type: "passed" };
      case "refused":
        if (publication.isUnroutable === true) return { type: "nobody" };
        // One of several queues may be full, and the message in all others: those of whoever binds some to the same key.
        return { type: "unconfirmed", reason: "the broker refused it, or only a copy of it; is a queue full?" };
      case "unconfirmed": {
        const words = `${this.#address} confirmed nothing for ${CONFIRM_TIMEOUT_MS / 1000} s`;
        return { type: "unconfirmed", reason: isLate ? words : publication.reason };
      }
      default:
        return unreachable(publication);
    }
  }

  #claimOf(claim: QueueClaim, vm: string): Claim {
    switch (claim.type) {
      case "held":
      case "taken":
        return claim.type;
      case "refused": {
        const news = this.#refusedClaims.take(Date.now());
        const reason = amqpReason(claim.error, this.#options.broker);
        if (news !== undefined) this.#options.log.warn("peer-claim-refused", { vm, reason, ...news });
        this.#tellTrouble({ type: "claim-refused", reason });
        return "taken";
      }
      default:
        return unreachable(claim);
    }
  }

  /** A publisher's header (`CC`) has the broker copy a message into queues of other keys than the one that it shows. */
  #received({ content, fields: { routingKey } }: ConsumeMessage, keys: readonly string[]): void {
    if (!keys.includes(routingKey)) this.#refusals.add("misrouted");
    else this.#opened(this.#opener.open(content, routingKey), routingKey);
  }

  #opened(opened: Opened, routingKey: string): void {
    switch (opened.type) {
      case "opened": {
        const { from, sentAt, message } = opened.sealed;
        if (from.id === this.self.id) this.#heardOurselves(routingKey);
        else {
          this.#tell((listener) => {
            listener.received(message, from, sentAt);
          });
        }
        break;
      }
      case "other-key":
        this.#refusals.add("other-key", opened.fingerprint);
        this.#tell((listener) => {
          listener.otherKey?.(opened.fingerprint);
        });
        break;
      case "refused":
        this.#refusals.add(opened.reason);
        break;
      default:
        unreachable(opened);
    }
  }

  #heardOurselves(routingKey: string): void {
    if (routingKey === EVERYONE_KEY) this.#echo.forget();
  }

  #tellTrouble(trouble: Trouble): void {
    this.#tell((listener) => {
      listener.trouble?.(trouble);
    });
  }

  /** What a listener throws is its bug, and ends no connection. */
  #tell(what: (listener: TransportListener) => void): void {
    if (this.#listener === undefined) return;
    try {
      what(this.#listener);
    } catch (error) {
      this.#options.log.error("peer-listener-failed", { error });
    }
  }

  get #address(): string {
    return brokerAddress(this.#options.broker);
  }
}
