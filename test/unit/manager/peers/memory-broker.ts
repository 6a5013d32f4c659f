/** A broker in memory for managers in one process: queues that one manager has at a time, and messages that can be held up. */
import type { ConnectionState } from "../../../../manager/connection-state.ts";
import type { Addressee, Claim, Passing, Transport, TransportListener } from "../../../../manager/peers/transport.ts";
import type { Peer, WireMessage } from "../../../../manager/peers/wire.ts";

let made = 0;

export function newPeer(host: string): Peer {
  made += 1;
  return { id: made.toString(16).padStart(32, "0"), host };
}

/** What becomes of a message on its way; the default is that it arrives. */
export type Fate =
  | "arrives"
  | "arrives twice"
  /** When {@link MemoryBroker.catchUp} is called, in any order. */
  | "arrives later"
  | "is lost"
  | "is unconfirmed and arrives"
  | "is unconfirmed and lost";

export class MemoryBroker {
  readonly #transports = new Map<string, MemoryTransport>();
  readonly #holders = new Map<string, MemoryTransport>();
  /** Asked of every message to one addressee. */
  fateOf: (message: WireMessage, from: Peer, to: Peer) => Fate = () => "arrives";
  readonly #heldUp: (() => void)[] = [];

  /** Delivers one message that was held up: the first, unless another is chosen. False when there is none. */
  catchUp(choose: (count: number) => number = () => 0): boolean {
    const [deliver] = this.#heldUp.splice(choose(this.#heldUp.length), 1);
    deliver?.();
    return deliver !== undefined;
  }

  join(peer: Peer): MemoryTransport {
    const transport = new MemoryTransport(this, peer);
    this.#transports.set(peer.id, transport);
    return transport;
  }

  /** As when its connection ends: its queues are gone at once, and it does not know yet unless told. */
  drop(transport: MemoryTransport): void {
    this.#transports.delete(transport.self.id);
    for (const [vmId, holder] of this.#holders) if (holder === transport) this.#holders.delete(vmId);
  }

  back(transport: MemoryTransport): void {
    this.#transports.set(transport.self.id, transport);
  }

  claim(vmId: string, transport: MemoryTransport): Claim {
    const holder = this.#holders.get(vmId) ?? transport;
    this.#holders.set(vmId, holder);
    return holder === transport ? "held" : "taken";
  }

  release(vmId: string, transport: MemoryTransport): void {
    if (this.#holders.get(vmId) === transport) this.#holders.delete(vmId);
  }

  pass(to: Addressee, message: WireMessage, from: Peer): Passing {
    if (to.type === "everyone") {
      for (const transport of [...this.#transports.values()]) {
        if (transport.self.id !== from.id) this.#passOne(transport, message, from);
      }
      return { type: "passed" };
    }
    const transport = to.type === "vm" ? this.#holders.get(to.id) : this.#transports.get(to.id);
    if (transport === undefined) return { type: "nobody" };
    return this.#passOne(transport, message, from);
  }

  #passOne(to: MemoryTransport, message: WireMessage, from: Peer): Passing {
    const fate = this.fateOf(message, from, to.self);
    if (fate === "arrives later") {
      this.#heldUp.push(() => {
        to.receive(message, from);
      });
    } else if (!fate.endsWith("lost")) {
      to.receive(message, from);
    }
    if (fate === "arrives twice") to.receive(message, from);
    return fate.startsWith("is unconfirmed")
      ? { type: "unconfirmed", reason: "the connection ended" }
      : { type: "passed" };
  }
}

export class MemoryTransport implements Transport {
  readonly self: Peer;
  readonly #broker: MemoryBroker;
  #listener: TransportListener | undefined;
  #reason: string | undefined;

  constructor(broker: MemoryBroker, self: Peer) {
    this.#broker = broker;
    this.self = self;
  }

  get connection(): ConnectionState {
    return this.#reason === undefined ? { state: "connected" } : { state: "disconnected", reason: this.#reason };
  }

  /** Messages travel as JSON, and arrive after whoever sent them has gone on. */
  receive(message: WireMessage, from: Peer): void {
    const copy = JSON.parse(JSON.stringify(message)) as WireMessage;
    queueMicrotask(() => this.#listener?.received(copy, from));
  }

  async send(to: Addressee, message: WireMessage): Promise<Passing> {
    await Promise.resolve();
    if (this.#reason !== undefined) return { type: "not-sent", reason: this.#reason };
    return this.#broker.pass(to, message, this.self);
  }

  async claim(vmId: string): Promise<Claim> {
    await Promise.resolve();
    return this.#reason === undefined ? this.#broker.claim(vmId, this) : "away";
  }

  async release(vmId: string): Promise<void> {
    await Promise.resolve();
    this.#broker.release(vmId, this);
  }

  start(listener: TransportListener): void {
    this.#listener = listener;
    listener.connected();
  }

  disconnect(reason: string): void {
    this.#reason = reason;
    this.#broker.drop(this);
    this.#listener?.disconnected(reason);
  }

  reconnect(): void {
    this.#reason = undefined;
    this.#broker.back(this);
    this.#listener?.connected();
  }

  close(): Promise<void> {
    this.#broker.drop(this);
    this.#listener = undefined;
    return Promise.resolve();
  }
}
