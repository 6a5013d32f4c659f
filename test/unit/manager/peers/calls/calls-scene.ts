/** Managers that ask each other through a broker in memory, with handlers that a test gives them. */
import type { Principal } from "../../../../../manager/access/principal.ts";
import type { Handlers } from "../../../../../manager/api/handler.ts";
import type { Callee, CallOptions } from "../../../../../manager/peers/caller.ts";
import { IncomingCalls } from "../../../../../manager/peers/calls/incoming-calls.ts";
import type { PeerHandlers } from "../../../../../manager/peers/calls/incoming-work.ts";
import { OutgoingCalls } from "../../../../../manager/peers/calls/outgoing-calls.ts";
import type { Place, Whereabouts } from "../../../../../manager/peers/whereabouts.ts";
import type { AskedEndpoint, Peer, WireMessage } from "../../../../../manager/peers/wire.ts";
import type { EndpointName } from "../../../../../shared/api/endpoints.ts";
import type { Receipt, VmRef } from "../../../../../shared/api/schemas.ts";
import type { Log } from "../../../../../shared/log.ts";
import { type MemoryBroker, type MemoryTransport, newPeer } from "../memory-broker.ts";

export const web1: VmRef = { id: "11111111-1111-4111-8111-111111111111", name: "web1" };
export const db1: VmRef = { id: "22222222-2222-4222-8222-222222222222", name: "db1" };

export const alice: AskedEndpoint["who"] = { name: "alice", role: "admin", vms: ["*"], keys: [""] };

export interface LogLine {
  level: "info" | "warn" | "error";
  event: string;
  fields: Record<string, unknown>;
}

export class FakeWhereabouts implements Pick<Whereabouts, "of" | "onMoved"> {
  readonly #places = new Map<string, Place>();
  readonly #listeners = new Map<string, Set<() => void>>();

  of(vmId: string): Place {
    return this.#places.get(vmId) ?? { type: "nowhere" };
  }

  set(vmId: string, place: Place): void {
    this.#places.set(vmId, place);
    for (const listener of this.#listeners.get(vmId) ?? []) listener();
  }

  onMoved(vmId: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(vmId) ?? new Set();
    this.#listeners.set(vmId, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  get listening(): number {
    return [...this.#listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }
}

export interface ManagerParts {
  handlers?: Partial<Handlers>;
  peerHandlers?: Partial<PeerHandlers>;
  principalOf?: (who: AskedEndpoint["who"], from: Peer) => Principal;
  now?: () => number;
}

export class TestManager {
  readonly peer: Peer;
  readonly transport: MemoryTransport;
  readonly outgoing: OutgoingCalls;
  readonly incoming: IncomingCalls;
  readonly whereabouts = new FakeWhereabouts();
  readonly held = new Set<string>();
  readonly received: WireMessage[] = [];
  /** Managers to which nothing could be sent. */
  readonly gone: string[] = [];
  readonly logged: LogLine[] = [];

  constructor(broker: MemoryBroker, host: string, parts: ManagerParts = {}) {
    this.peer = newPeer(host);
    this.transport = broker.join(this.peer);
    const { transport } = this;
    this.outgoing = new OutgoingCalls({ transport, onGone: (peerId) => this.gone.push(peerId) });
    this.incoming = new IncomingCalls({
      transport,
      handlers: (parts.handlers ?? {}) as Handlers,
      peerHandlers: {
        yield: () => ({ isYielded: false, strength: 0 }),
        takeMessages: () => ({ results: [] }),
        ...parts.peerHandlers,
      },
      principalOf: parts.principalOf ?? ((who, from) => ({ ...who, via: `amqp:${from.host}` })),
      holds: (vmId) => this.held.has(vmId),
      whereabouts: this.whereabouts,
      ...(parts.now !== undefined && { now: parts.now }),
      log: this.#log(),
    });
    transport.start({
      received: (message, from) => {
        this.received.push(message);
        this.#take(message, from);
      },
      connected: () => undefined,
      disconnected: (reason) => {
        this.outgoing.disconnected(reason);
        this.incoming.disconnected(reason);
      },
      lost: () => undefined,
    });
  }

  /** It has the VM from now on. */
  async hold(...vms: VmRef[]): Promise<void> {
    for (const { id } of vms) {
      await this.transport.claim(id);
      this.held.add(id);
    }
  }

  async letGo({ id }: VmRef): Promise<void> {
    await this.transport.release(id);
    this.held.delete(id);
  }

  /** Reached by the queue of a VM that it holds. */
  byVm({ id }: VmRef): Callee {
    return { peer: this.peer, by: { type: "vm", id } };
  }

  get byItself(): Callee {
    return { peer: this.peer, by: { type: "manager", id: this.peer.id } };
  }

  #take(message: WireMessage, from: Peer): void {
    switch (message.type) {
      case "announce":
      case "bye":
        return;
      case "request":
      case "credit":
      case "cancel":
        this.incoming.take(message, from);
        return;
      default:
        this.outgoing.take(message, from);
    }
  }

  #log(): Log {
    const logAt = (level: LogLine["level"]) => {
      return (event: string, fields: Record<string, unknown> = {}) => void this.logged.push({ level, event, fields });
    };
    return { info: logAt("info"), warn: logAt("warn"), error: logAt("error") };
  }
}

export function asking(endpoint: EndpointName, parts: Omit<Partial<AskedEndpoint>, "endpoint"> = {}): AskedEndpoint {
  return { endpoint, who: alice, params: { vm: web1.id }, ...parts };
}

export function reading(options: Partial<CallOptions> = {}): CallOptions {
  return { signal: new AbortController().signal, timeoutMs: 8_000, isChange: false, ...options };
}

export function changing(options: Partial<CallOptions> = {}): CallOptions {
  return reading({ ...options, isChange: true });
}

export const pong = { vm: web1, roundTripMs: 1.5, uptimeMs: 1_000 };

export const receipt: Receipt = {
  messageId: "m1",
  vm: web1,
  method: "set",
  keys: ["k"],
  state: "delivered",
  by: "alice@kvm1",
  queuedAt: "2026-01-01T00:00:00Z",
};

export const setMessage = { method: "set", params: { messageId: "m1", entries: [{ key: "k", value: "v" }] } };

/** The n-th change that a watch tells of. */
export function changed(revision: number) {
  const batch = { epoch: "0123456789abcdef", revision, more: false, resync: false, changes: [] };
  return { event: "changed", data: batch, id: `0123456789abcdef:${revision}` } as const;
}

/** All events of a stream, when it has ended. */
export async function collected<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** What a promise rejects with, or what it settles with as a failure of the test. */
export async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    return new Error(`it did not fail: ${JSON.stringify(await work)}`);
  } catch (error) {
    return error;
  }
}
