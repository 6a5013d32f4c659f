/**
 * The managers that share a broker, as this one has them: which of them has which VM, what is asked of them and what they
 * ask. The parts know nothing of each other but what is given to them here.
 */
import { type EndpointName, endpoints } from "../../shared/api/endpoints.ts";
import type { Health } from "../../shared/api/schemas.ts";
import type { Log } from "../../shared/log.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Accounts } from "../access/accounts.ts";
import type { AuditLog } from "../access/audit-log.ts";
import { configuredBroker } from "../amqp/configured-broker.ts";
import { shownBroker } from "../amqp/url.ts";
import type { Handlers, Request } from "../api/handler.ts";
import type { PeersConfig } from "../config.ts";
import type { Closable } from "../running-set.ts";
import type { Store } from "../store/store.ts";
import type { Vms } from "../vms/vms.ts";
import { BrokerTransport } from "./broker/broker-transport.ts";
import { OtherKeys } from "./broker/other-keys.ts";
import { readPeerKey } from "./broker/peer-key.ts";
import { IncomingCalls } from "./calls/incoming-calls.ts";
import { OutgoingCalls } from "./calls/outgoing-calls.ts";
import { everywhere, withPlaces } from "./everywhere/everywhere.ts";
import { Claims } from "./holders/claims.ts";
import { Directory } from "./holders/directory.ts";
import { Handover } from "./holders/handover.ts";
import { assertMayHandOver, peerPrincipal } from "./peer-principal.ts";
import type { Transport, TransportListener } from "./transport.ts";
import type { LocalVms } from "./whereabouts.ts";
import { type Peer, SIGN_OF_LIFE_MS, type WireMessage } from "./wire.ts";

export interface PeersOptions {
  config: PeersConfig;
  /** This machine's name, for the other managers. */
  host: string;
  /** This manager's own: what others ask of it, and what is asked of it about its own VMs. */
  local: Handlers;
  vms: Pick<Vms, "byId" | "resolve" | "visibleTo">;
  localVms: LocalVms;
  store: Store;
  accounts: Pick<Accounts, "rightsOf">;
  audit: Pick<AuditLog, "recordAll">;
  /** As in Messages. */
  expireAfterMs: () => number;
  log: Log;
  /** The store failed: the manager cannot go on. */
  failed: (error: unknown) => void;
}

export class Peers implements Closable, TransportListener {
  /** The API's table, wherever the VM is that is asked for. */
  readonly handlers: Handlers;
  readonly #broker: string;
  readonly #transport: Transport;
  readonly #directory: Directory;
  readonly #outgoing: OutgoingCalls;
  readonly #incoming: IncomingCalls;
  readonly #claims: Claims;
  readonly #handover: Handover;
  readonly #otherKeys: OtherKeys;
  readonly #closing = new AbortController();

  /** Throws CommandError when its files do not serve. What it returns starts with what they held; nobody waits for the broker. */
  static prepare(options: PeersOptions): () => Peers {
    const { config, host, log } = options;
    const key = readPeerKey(config.keyFile);
    const broker = configuredBroker(config);
    return () => {
      const transport = new BrokerTransport({ broker, exchange: config.exchange, key, host, log });
      const peers = new Peers(options, transport, shownBroker(broker));
      transport.start(peers);
      return peers;
    };
  }

  /** @param broker for people, without its password */
  constructor(options: PeersOptions, transport: Transport, broker: string) {
    const { config, local, vms, localVms, store, accounts, audit, expireAfterMs, log, failed } = options;
    this.#transport = transport;
    this.#broker = broker;
    this.#directory = new Directory({ transport, log });
    this.#outgoing = new OutgoingCalls({
      transport,
      onGone: (peerId) => {
        this.#directory.drop(peerId);
        this.#incoming.gone(peerId);
      },
    });
    this.#claims = new Claims({
      transport,
      local: localVms,
      directory: this.#directory,
      caller: this.#outgoing,
      contested: (vm, peer) => {
        tellOfContest(log, vm, peer);
      },
      log,
    });
    this.#handover = new Handover({
      store,
      whereabouts: this.#claims,
      local: localVms,
      caller: this.#outgoing,
      assertMayKeep: (from, vm, change) => {
        assertMayHandOver(from, config.rights, vm, change);
      },
      audit: (deeds) => audit.recordAll(deeds),
      expireAfterMs,
      kept: (vmId, count) => vms.byId(vmId)?.messagesKept(count),
      moved: (vmId, count) => vms.byId(vmId)?.messagesMoved(count),
      settled: (receipt) => vms.byId(receipt.vm.id)?.settled(receipt),
      failed,
      log,
    });
    const own = withPlaces(local, this.#claims);
    this.#incoming = new IncomingCalls({
      transport,
      handlers: own,
      peerHandlers: {
        yield: (params, from) => this.#claims.yield(params, from),
        takeMessages: (params, from) => this.#handover.take(params, from),
      },
      principalOf: (who, from) => peerPrincipal(who, from, config.rights, (user) => accounts.rightsOf(user)),
      holds: (vmId) => this.#claims.holds(vmId),
      whereabouts: this.#claims,
      log,
    });
    this.#otherKeys = new OtherKeys(() => {
      void transport.send({ type: "everyone" }, { type: "alive" }, SIGN_OF_LIFE_MS);
    });
    const handlers = everywhere(own, {
      whereabouts: this.#claims,
      caller: this.#outgoing,
      vms,
      self: transport.self,
      connection: () => transport.connection,
    });
    this.handlers = endingStreams(handlers, this.#closing.signal);
  }

  health(): NonNullable<Health["peers"]> {
    const { connection } = this.#transport;
    const held = Map.groupBy(this.#directory.all(), ({ peer }) => peer.id);
    return {
      broker: this.#broker,
      ...(connection.state === "disconnected" ? connection : { state: "connected" }),
      managers: this.#directory.peers().map(({ host, id }) => ({ host, id, vms: held.get(id)?.length ?? 0 })),
    };
  }

  /** Says good-bye, so that nobody waits for us; requests under way end first. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#incoming.close();
    await this.#handover.close();
    await this.#claims.close();
    await this.#directory.close();
    this.#outgoing.disconnected("the manager stops");
    await this.#transport.close();
  }

  // What the transport tells.

  received(message: WireMessage, from: Peer, sentAt?: number): void {
    switch (message.type) {
      case "announce":
        this.#directory.take(message, from, sentAt);
        return;
      case "bye":
        this.#directory.take(message, from, sentAt);
        this.#outgoing.gone(from.id);
        this.#incoming.gone(from.id);
        return;
      case "alive":
      case "answer":
      case "problem":
      case "misdirected":
      case "begun":
      case "event":
      case "end":
        this.#outgoing.take(message, from);
        return;
      case "request":
      case "credit":
      case "cancel":
        this.#incoming.take(message, from);
        return;
      default:
        unreachable(message);
    }
  }

  connected(): void {
    this.#directory.connected();
    this.#claims.connected();
  }

  disconnected(reason: string): void {
    this.#outgoing.disconnected(reason);
    this.#incoming.disconnected(reason);
    this.#claims.disconnected();
    this.#directory.disconnected();
  }

  lost(vmId: string): void {
    this.#claims.lost(vmId);
  }

  otherKey(): void {
    this.#otherKeys.heard();
  }
}

/** They are not to go on with managers that are met no more: whoever reads one comes back, to what is there then. */
function endingStreams(handlers: Handlers, closing: AbortSignal): Handlers {
  const rows = (Object.keys(endpoints) as EndpointName[]).filter((name) => "stream" in endpoints[name]);
  const ending = rows.map((name) => {
    const handle = handlers[name] as (request: Request<EndpointName>) => unknown;
    return [
      name,
      (request: Request<EndpointName>) => handle({ ...request, signal: AbortSignal.any([request.signal, closing]) }),
    ] as const;
  });
  return { ...handlers, ...Object.fromEntries(ending) };
}

/** A warning is an alert among the events, too. */
function tellOfContest(log: Log, vm: { id: string; name: string }, peer: Peer | undefined): void {
  const label = { vm: vm.name, id: vm.id };
  if (peer === undefined) log.info("vm-contest-ended", label);
  else
    log.warn("vm-contested", {
      ...label,
      host: peer.host,
      reason: "its guest runs there, too, as the manager there sees it",
    });
}
