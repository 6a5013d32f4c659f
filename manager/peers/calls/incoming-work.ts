/** What is to be done for a request of another manager, after everything that can be wrong with it has been looked at. */
import type * as z from "zod/mini";
import { unlessAborted } from "../../../shared/abort.ts";
import { type Endpoint, type EndpointName, endpoints } from "../../../shared/api/endpoints.ts";
import type { VmRef } from "../../../shared/api/schemas.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { printable } from "../../../shared/terminal-text.ts";
import type { Principal } from "../../access/principal.ts";
import type { StreamEvent } from "../../api/event-stream.ts";
import type { Handlers, Request } from "../../api/handler.ts";
import { checkedPart, encodedAnswer, encodedEvents, querySchema } from "../../api/request-parts.ts";
import type { Whereabouts } from "../whereabouts.ts";
import { type AskedEndpoint, type Peer, peerRequests, type PeerRequestName, type WireRequest } from "../wire.ts";
import type { IncomingCall } from "./incoming-call.ts";
import { assertServed, type CheckedParts, endsWithMove, isFleet, isReading, vmsNeeded } from "./incoming-rows.ts";

type PeerParams<N extends PeerRequestName> = z.infer<(typeof peerRequests)[N]["params"]>;
type PeerAnswer<N extends PeerRequestName> = z.infer<(typeof peerRequests)[N]["answer"]>;

/** What managers ask for themselves, by its name. */
export type PeerHandlers = {
  [N in PeerRequestName]: (params: PeerParams<N>, from: Peer) => PeerAnswer<N> | Promise<PeerAnswer<N>>;
};

export interface IncomingWorkOptions {
  self: Peer;
  /** This manager's own: what is asked of it is not asked of others. */
  handlers: Handlers;
  peerHandlers: PeerHandlers;
  principalOf: (who: AskedEndpoint["who"], from: Peer) => Principal;
  /** Whether this manager has the VM's queue. */
  holds: (vmId: string) => boolean;
  whereabouts: Pick<Whereabouts, "of" | "onMoved">;
}

/** `isReading`: nothing was done if it fails. */
export type Work =
  | { type: "answer"; isReading: boolean; answer: () => Promise<unknown> }
  | { type: "stream"; events: () => AsyncIterable<StreamEvent> };

/** It is for whoever holds the VM. Nothing was done. */
export class NotHeldError extends Error {
  override readonly name = "NotHeldError";
}

export class IncomingWork {
  readonly #options: IncomingWorkOptions;

  constructor(options: IncomingWorkOptions) {
    this.#options = options;
  }

  /** Throws CommandError, or NotHeldError; nothing is done before the work is begun. */
  of(call: IncomingCall, asked: WireRequest["call"]): Work {
    switch (asked.kind) {
      case "api":
        return this.#rowOf(call, asked.asked);
      case "peer":
        return this.#ofPeers(call, asked);
      default:
        return unreachable(asked);
    }
  }

  #ofPeers({ from }: IncomingCall, { name, params }: { name: PeerRequestName; params: unknown }): Work {
    const { params: schema } = peerRequests[name];
    const checked = checkedPart(schema, "params", params);
    // Which parameters belong to which name the table's types say; here it is one of many.
    const handle = this.#options.peerHandlers[name] as (params: unknown, from: Peer) => unknown;
    return { type: "answer", isReading: false, answer: async () => await handle(checked, from) };
  }

  #rowOf(call: IncomingCall, asked: AskedEndpoint): Work {
    const name = asked.endpoint;
    assertServed(name);
    const row: Endpoint = endpoints[name];
    const parts = partsOf(row, asked);
    const vms = vmsNeeded(name, parts);
    for (const vm of vms) this.#assertHeld(vm, isFleet(name));
    const who = this.#options.principalOf(asked.who, call.from);
    const request = { who, ...parts, lastEventId: asked.lastEventId, signal: call.signal } as Request<EndpointName>;
    const handle = this.#options.handlers[name] as (request: Request<EndpointName>) => unknown;
    const begin = (): unknown => {
      if (endsWithMove(name)) for (const vm of vms) this.#stopWhenMoved(call, vm, isReading(name));
      return handle(request);
    };
    if (row.stream !== undefined) {
      const { stream } = row;
      return { type: "stream", events: () => encodedEvents(begin() as AsyncIterable<StreamEvent>, stream) };
    }
    const answer = async (): Promise<unknown> => encodedAnswer(row, await begin());
    if (!isReading(name)) return { type: "answer", isReading: false, answer };
    return { type: "answer", isReading: true, answer: () => unlessAborted(call.signal, answer()) };
  }

  /** Of a fleet, the rest can go on without a VM that two have: each of its VMs is asked for again alone. */
  #assertHeld(vmId: string, isOneOfMany: boolean): void {
    const place = this.#options.whereabouts.of(vmId);
    if (place.type === "contested" && !isOneOfMany) throw this.#contested(place);
    if (place.type === "contested" || !this.#options.holds(vmId)) throw new NotHeldError("the VM is not held here");
  }

  /** What its handler answers all the same when it ends is told. */
  #stopWhenMoved(call: IncomingCall, vmId: string, isReading: boolean): void {
    const stopListening = this.#options.whereabouts.onMoved(vmId, () => {
      const place = this.#options.whereabouts.of(vmId);
      if (place.type === "contested") call.stop(this.#contested(place));
      if (place.type === "elsewhere") call.stop(moved(place, isReading));
    });
    call.onEnd(stopListening);
  }

  #contested({ vm, peer }: { vm: VmRef; peer: Peer }): CommandError {
    const hosts = [this.#options.self.host, peer.host];
    const message = `the managers on ${hosts.map(printable).join(" and ")} both have '${printable(vm.name)}' running`;
    return new CommandError("conflict", `${message}; ask on the host that is meant`, { vm: vm.name, id: vm.id, hosts });
  }
}

/** Throws CommandError `usage`, in the words of the HTTP doors. */
function partsOf(row: Endpoint, { params, query = {}, body }: AskedEndpoint): CheckedParts {
  return {
    params: row.params && checkedPart(row.params, "params", params),
    query: checkedPart(querySchema(row), "querystring", query),
    body: row.body && checkedPart(row.body, "body", body),
  };
}

function moved({ vm, peer }: { vm: VmRef; peer: Peer }, isReading: boolean): CommandError {
  const message = `'${printable(vm.name)}' has moved to ${printable(peer.host)}`;
  return new CommandError(isReading ? "unreachable" : "unconfirmed", message, { isMoved: true, host: peer.host });
}
