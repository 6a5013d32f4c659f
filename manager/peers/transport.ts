/** How managers reach each other: sealed messages through a broker, seen from those who send and get them. */
import type { ConnectionState } from "../connection-state.ts";
import type { Peer, WireMessage } from "./wire.ts";

/** `vm`: whichever manager holds it. `everyone`: the sender too, who passes over what is its own. */
export type Addressee = { type: "manager"; id: string } | { type: "vm"; id: string } | { type: "everyone" };

export type Passing =
  /** It is in a queue of the addressee's. */
  | { type: "passed" }
  /** No such queue: no manager holds that VM, or that manager is gone. Nothing was done. */
  | { type: "nobody" }
  /** The broker cannot be reached: nothing was sent. */
  | { type: "not-sent"; reason: string }
  /** It may have arrived or not, also where the broker refused it: a part of its queues may have it. */
  | { type: "unconfirmed"; reason: string };

/** What a broker lets us do with a VM's queue, which only one manager can have at a time. */
export type Claim = "held" | "taken" | "away";

/**
 * `not-connected`: to the broker, or not on all connections that are needed; it is tried again. `queues-broken`: our queues are
 * not as they should be, and are made again. `claim-refused`: the broker does not make a VM's queue for us.
 */
export interface Trouble {
  type: "not-connected" | "queues-broken" | "claim-refused";
  reason: string;
}

export interface TransportListener {
  /** Opened and of the right shape, and not sent by ourselves. `sentAt`: ms since 1970 by the sender's clock. */
  received(message: WireMessage, from: Peer, sentAt?: number): void;
  connected(): void;
  /** All queues of ours are gone, and with them what we held. */
  disconnected(reason: string): void;
  /** Our queue of this VM is gone though we are connected (somebody deleted it). */
  lost(vmId: string): void;
  /** Something came that was sealed with another key than ours, which has this fingerprint. */
  otherKey?(fingerprint: string): void;
  /** The broker does not do what it should, which the log tells of, too. */
  trouble?(trouble: Trouble): void;
}

export interface Transport {
  /** Who we are. */
  readonly self: Peer;
  /** At once, and never waits for a connection. */
  readonly connection: ConnectionState;
  /**
   * Never rejects. A message that is not taken within `expiresInMs` is dropped by the broker. Messages to one addressee
   * arrive in the order of the calls, whether anybody waits for one before the next or not.
   */
  send(to: Addressee, message: WireMessage, expiresInMs: number): Promise<Passing>;
  /** Takes the VM's queue if nobody has it: from then on what is sent to the VM comes to us. Never rejects. */
  claim(vmId: string): Promise<Claim>;
  /** Gives it up; what is in it and was not received is lost, and whoever sent it waits in vain. Never rejects. */
  release(vmId: string): Promise<void>;
  start(listener: TransportListener): void;
  close(): Promise<void>;
}
