/** Hosts with a manager each, as far as peers see it: their VMs, their store, and what is theirs of the directory, claims and handover. */
import type { Deed } from "../../../../manager/access/audit-log.ts";
import { keysOf } from "../../../../manager/delivery/keys-of.ts";
import { MisdirectedError } from "../../../../manager/peers/caller.ts";
import { OutgoingCalls } from "../../../../manager/peers/calls/outgoing-calls.ts";
import { Claims } from "../../../../manager/peers/holders/claims.ts";
import { Directory } from "../../../../manager/peers/holders/directory.ts";
import { Handover, type HandoverOptions } from "../../../../manager/peers/holders/handover.ts";
import type { LocalVm, LocalVms, Strength } from "../../../../manager/peers/whereabouts.ts";
import { type Peer, peerRequests, type WireMessage, type WireRequest } from "../../../../manager/peers/wire.ts";
import type { StoreLimits } from "../../../../manager/store/limits.ts";
import type { Operations } from "../../../../manager/store/operations.ts";
import type { VmRef } from "../../../../shared/api/schemas.ts";
import { CommandError } from "../../../../shared/cli/failure.ts";
import type { Log } from "../../../../shared/log.ts";
import { unreachable } from "../../../../shared/protocol/errors.ts";
import type { NewEntry } from "../../../../shared/protocol/message.ts";
import { REVISION, DAY, delivered, message, openTables } from "../store/tables.ts";
import type { LogLine } from "./calls/calls-scene.ts";
import { type MemoryBroker, type MemoryTransport, newPeer } from "./memory-broker.ts";

interface Known {
  ref: VmRef;
  strength: Strength;
  doesAnswer: boolean;
}

export class FakeVms implements LocalVms {
  readonly #vms = new Map<string, Known>();
  readonly #listeners = new Set<(vmId: string) => void>();
  readonly #pendingOf: (vmId: string) => number;
  /** How often a guest was asked to prove itself. */
  proofs = 0;

  constructor(pendingOf: (vmId: string) => number = () => 0) {
    this.#pendingOf = pendingOf;
  }

  /** Its guest answers exactly when it is 3, unless it says otherwise. */
  set(ref: VmRef, strength: Strength, doesAnswer = strength === 3): void {
    this.#vms.set(ref.id, { ref, strength, doesAnswer });
    this.changed(ref.id);
  }

  remove(vmId: string): void {
    this.#vms.delete(vmId);
    this.changed(vmId);
  }

  changed(vmId: string): void {
    for (const listener of this.#listeners) listener(vmId);
  }

  all(): LocalVm[] {
    return [...this.#vms.values()].map((known) => this.#localVm(known));
  }

  byId(vmId: string): LocalVm | undefined {
    const known = this.#vms.get(vmId);
    return known && this.#localVm(known);
  }

  onChange(listener: (vmId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #localVm({ ref, strength, doesAnswer }: Known): LocalVm {
    return {
      ref,
      strength,
      pending: this.#pendingOf(ref.id),
      answers: () => {
        this.proofs += 1;
        return Promise.resolve(doesAnswer);
      },
    };
  }
}

export type Contested = [vm: string, by: string | undefined];

export interface HostOptions {
  limits?: Partial<StoreLimits>;
  contested?: (contested: Contested) => void;
}

/** One start of a host's manager. */
interface Running {
  transport: MemoryTransport;
  directory: Directory;
  calls: OutgoingCalls;
  claims: Claims;
  handover: Handover;
}

export class Host {
  readonly name: string;
  readonly tables: Operations;
  readonly vms: FakeVms;
  readonly #broker: MemoryBroker;
  readonly #options: HostOptions;
  /** What happened to messages here, as the manager is told. */
  readonly told: string[] = [];
  readonly audited: Deed[] = [];
  /** Keys that others may not use here. */
  readonly forbidden = new Set(["forbidden"]);
  readonly logged: LogLine[] = [];
  #running: Running | undefined;

  constructor(name: string, broker: MemoryBroker, options: HostOptions = {}) {
    this.name = name;
    this.#broker = broker;
    this.#options = options;
    this.tables = openTables(options.limits).tables;
    this.vms = new FakeVms((vmId) => this.tables.pendingCounts()[vmId] ?? 0);
    this.start();
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  get running(): Running {
    if (this.#running === undefined) throw new Error(`the manager on ${this.name} does not run`);
    return this.#running;
  }

  /** In words: `here`, `contested by b`, `at b`, `nowhere`. */
  place(vm: VmRef): string {
    const place = this.running.claims.of(vm.id);
    switch (place.type) {
      case "here":
      case "nowhere":
        return place.type;
      case "contested":
        return `contested by ${place.peer.host}`;
      case "elsewhere":
        return `at ${place.peer.host}`;
      default:
        return unreachable(place);
    }
  }

  holds(vm: VmRef): boolean {
    return this.#running?.claims.holds(vm.id) === true;
  }

  /** Keeps a message that sets `k`. */
  keep(vm: VmRef, messageId: string, more: { queuedAt?: number; entries?: NewEntry[]; expiresAt?: number } = {}): void {
    this.tables.keepMessages([message(messageId, { vm, queuedAt: Date.now(), ...more })]);
    this.vms.changed(vm.id);
  }

  /** Gives the guest the next message; its id, if there is any. */
  deliver(vm: VmRef): string | undefined {
    const { next } = this.tables.nextMessage(vm.id, REVISION, Date.now());
    if (next === undefined) return undefined;
    this.tables.settle(next.messageId, delivered, Date.now());
    this.vms.changed(vm.id);
    return next.messageId;
  }

  pending(vm: VmRef): string[] {
    return this.tables.pendingOf(vm.id).map(({ messageId }) => messageId);
  }

  start(): void {
    const transport = this.#broker.join(newPeer(this.name));
    const log = this.#log;
    const directory = new Directory({ transport, log });
    const calls = new OutgoingCalls({
      transport,
      onGone: (peerId) => {
        directory.drop(peerId);
      },
    });
    const claims = new Claims({
      transport,
      directory,
      local: this.vms,
      caller: calls,
      log,
      contested: (vm, peer) => this.#options.contested?.([vm.name, peer?.host]),
    });
    const handover = new Handover({ ...this.#handoverOptions, whereabouts: claims, caller: calls, log });
    this.#running = { transport, directory, calls, claims, handover };
    transport.start({
      received: (received, from) => {
        this.#received(received, from);
      },
      connected: () => {
        directory.connected();
        claims.connected();
      },
      disconnected: (reason) => {
        directory.disconnected();
        claims.disconnected();
        calls.disconnected(reason);
      },
      lost: (vmId) => {
        claims.lost(vmId);
      },
    });
  }

  /** As by a signal that cannot be caught: nobody hears of it, and what is under way is lost. */
  kill(): void {
    const { transport, directory, claims, handover } = this.running;
    this.#running = undefined;
    void transport.close();
    transport.disconnect("killed");
    directory.disconnected();
    void claims.close();
    void handover.close();
  }

  get #log(): Log {
    const logAt = (level: LogLine["level"]) => {
      return (event: string, fields: Record<string, unknown> = {}) => void this.logged.push({ level, event, fields });
    };
    return { info: logAt("info"), warn: logAt("warn"), error: logAt("error") };
  }

  get #handoverOptions(): Omit<HandoverOptions, "whereabouts" | "caller" | "log"> {
    const { tables, vms, told } = this;
    const note = (vmId: string, words: string): void => {
      told.push(words);
      vms.changed(vmId);
    };
    return {
      local: vms,
      store: {
        messagesToMove: (...args) => later(() => tables.messagesToMove(...args)),
        notMoved: (...args) => {
          return later(() => {
            tables.notMoved(...args);
          });
        },
        knownMessages: (...args) => later(() => tables.knownMessages(...args)),
        keepMoved: (...args) => later(() => tables.keepMoved(...args)),
        dropMoved: (...args) => later(() => tables.dropMoved(...args)),
        refuseMoved: (...args) => later(() => tables.refuseMoved(...args)),
      },
      assertMayKeep: (_from, _vm, change) => {
        if (keysOf(change).some((key) => this.forbidden.has(key)))
          throw new CommandError("not-permitted", "not from elsewhere");
      },
      audit: (deeds) => {
        this.audited.push(...deeds);
        return Promise.resolve();
      },
      expireAfterMs: () => DAY,
      kept: (vmId, count) => {
        note(vmId, `kept ${count}`);
      },
      moved: (vmId, count) => {
        note(vmId, `moved ${count}`);
      },
      settled: ({ vm, messageId, state }) => {
        note(vm.id, `${messageId} ${state}`);
      },
      failed: (error) => {
        throw error;
      },
    };
  }

  #received(received: WireMessage, from: Peer): void {
    if (this.#running === undefined) return;
    switch (received.type) {
      case "announce":
      case "bye":
        this.#running.directory.take(received, from);
        return;
      case "request":
        void this.#answer(received, from);
        return;
      // Nothing is streamed here, and no answer held back.
      case "credit":
      case "cancel":
        return;
      default:
        this.#running.calls.take(received, from);
    }
  }

  async #answer({ id, to, call }: WireRequest, from: Peer): Promise<void> {
    const { transport } = this.running;
    const answer = await this.#answerTo(to, call, from).catch((error: unknown): WireMessage => {
      if (error instanceof MisdirectedError) return { type: "misdirected", of: id, holds: false };
      if (!(error instanceof CommandError)) throw error;
      return { type: "problem", of: id, problem: { code: error.code, detail: error.message } };
    });
    const reply: WireMessage = "type" in answer ? answer : { type: "answer", of: id, answer: answer.value };
    await transport.send({ type: "manager", id: from.id }, reply);
  }

  async #answerTo(to: string, call: WireRequest["call"], from: Peer): Promise<{ value: unknown }> {
    const { transport, claims, handover } = this.running;
    if (to !== transport.self.id || call.kind !== "peer") throw new MisdirectedError(undefined);
    const { yield: yielding, takeMessages } = peerRequests;
    switch (call.name) {
      case "yield":
        return { value: await claims.yield(yielding.params.parse(call.params), from) };
      case "takeMessages":
        return { value: await handover.take(takeMessages.params.parse(call.params), from) };
      default:
        return unreachable(call.name);
    }
  }
}

/** As the store's thread does. */
async function later<T>(work: () => T): Promise<T> {
  await Promise.resolve();
  return work();
}
