/** The API's table of one manager among others that are played: where VMs are, and what the others answer, a test says. */
import { maySeeVm } from "../../../../../manager/access/permissions.ts";
import type { Principal } from "../../../../../manager/access/principal.ts";
import type { StreamEvent } from "../../../../../manager/api/event-stream.ts";
import type { Handlers } from "../../../../../manager/api/handler.ts";
import type { ConnectionState } from "../../../../../manager/connection-state.ts";
import type { Callee, Caller, CallOptions } from "../../../../../manager/peers/caller.ts";
import { everywhere, withPlaces } from "../../../../../manager/peers/everywhere/everywhere.ts";
import type { KnownVms } from "../../../../../manager/peers/everywhere/places.ts";
import type { RowRequest } from "../../../../../manager/peers/everywhere/rows.ts";
import type { PeerVm, Place, Whereabouts } from "../../../../../manager/peers/whereabouts.ts";
import type { AskedEndpoint, Peer } from "../../../../../manager/peers/wire.ts";
import { type EndpointName, endpoints } from "../../../../../shared/api/endpoints.ts";
import type { Receipt, VmRef, VmSummary } from "../../../../../shared/api/schemas.ts";
import { CommandError, usageError } from "../../../../../shared/cli/failure.ts";
import { newPeer } from "../memory-broker.ts";

export const alice: Principal = { name: "alice", via: "https:192.0.2.9", role: "admin", vms: ["*"], keys: [""] };

export const web1: VmRef = { id: "6ba7b810-9dad-11d1-80b4-00c04fd430c1", name: "web1" };
export const web2: VmRef = { id: "6ba7b810-9dad-11d1-80b4-00c04fd430c2", name: "web2" };
export const web3: VmRef = { id: "6ba7b810-9dad-11d1-80b4-00c04fd430c3", name: "web3" };

export const TIME = "2026-11-22T10:00:00.000Z";

export function summaryOf(vm: VmRef, different: Partial<VmSummary> = {}): VmSummary {
  return {
    ...vm,
    host: "kvm1",
    status: "Running",
    statusSince: TIME,
    inventory: "libvirt qemu:///system",
    link: { state: "up", since: TIME },
    pending: 0,
    ...different,
  };
}

export function receiptOf(vm: VmRef, different: Partial<Receipt> = {}): Receipt {
  const head = { messageId: "m1", vm, method: "set" as const, keys: ["a"] };
  return { ...head, state: "queued", by: "alice", queuedAt: TIME, ...different };
}

/** As the manager refuses a VM that it does not know. */
export function unknownVm(name: string): CommandError {
  return new CommandError("failed", `there is no VM '${name}'; 'vmmessage vms' lists them`, { unknownVm: true });
}

/** As what this manager says of another one that it cannot reach. */
export function lostTo({ host }: Peer, details: Record<string, unknown> = {}): CommandError {
  return new CommandError("unreachable", `the manager on ${host} vanished`, { host, ...details });
}

export class PlayedWhereabouts implements Whereabouts {
  readonly places = new Map<string, { vm: VmRef; place: Place }>();
  readonly known = new Map<string, Peer>();
  readonly #listeners = new Map<string, Set<() => void>>();

  /** Also tells those who listen. */
  put(vm: VmRef, place: Place): void {
    this.places.set(vm.id, { vm, place });
    if (place.type === "elsewhere" || place.type === "contested") this.known.set(place.peer.id, place.peer);
    for (const listener of [...(this.#listeners.get(vm.id) ?? [])]) listener();
  }

  at(vm: VmRef, peer: Peer): void {
    this.put(vm, { type: "elsewhere", vm, peer });
  }

  get listeners(): number {
    return [...this.#listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }

  of(vmId: string): Place {
    return this.places.get(vmId)?.place ?? { type: "nowhere" };
  }

  elsewhere(): PeerVm[] {
    return [...this.places.values()].flatMap(({ vm, place }) => {
      return place.type === "elsewhere" || place.type === "contested" ? [{ vm, peer: place.peer }] : [];
    });
  }

  readonly left: PeerVm[] = [];
  isSettling = false;

  lastSeen(nameOrId: string): PeerVm[] {
    return this.left.filter(({ vm }) => vm.id === nameOrId || vm.name === nameOrId);
  }

  elsewhereNamed(name: string): PeerVm[] {
    return this.elsewhere().filter(({ vm }) => vm.name === name);
  }

  peers(): Peer[] {
    return [...this.known.values()];
  }

  gone(peerId: string): void {
    this.known.delete(peerId);
  }

  isHeldBy(vm: VmRef, peer: Peer): void {
    this.at(vm, peer);
  }

  onMoved(vmId: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(vmId) ?? new Set();
    this.#listeners.set(vmId, listeners.add(listener));
    return () => listeners.delete(listener);
  }
}

export interface AskedOf {
  host: string;
  callee: Callee;
  asked: AskedEndpoint;
  options: Omit<CallOptions, "isChange"> & { isChange?: boolean };
}

type Answers = Partial<Record<EndpointName, (asked: AskedOf) => unknown>>;
type Streams = Partial<Record<EndpointName, (asked: AskedOf) => AsyncIterable<StreamEvent>>>;

/** Other managers, by their hosts. */
export class PlayedCaller implements Caller {
  readonly asked: AskedOf[] = [];
  readonly answers = new Map<string, Answers>();
  readonly streams = new Map<string, Streams>();

  async ask(callee: Callee, asked: AskedEndpoint, options: CallOptions): Promise<unknown> {
    const of = this.#note(callee, asked, options);
    const answer = this.answers.get(of.host)?.[asked.endpoint];
    if (answer === undefined) throw new Error(`${of.host} has no answer to ${asked.endpoint}`);
    const given = await answer(of);
    return JSON.parse(JSON.stringify(given)) as unknown;
  }

  async *stream(
    callee: Callee,
    asked: AskedEndpoint,
    options: Omit<CallOptions, "isChange">,
  ): AsyncGenerator<StreamEvent> {
    const of = this.#note(callee, asked, options);
    const stream = this.streams.get(of.host)?.[asked.endpoint];
    if (stream === undefined) throw new Error(`${of.host} has no stream of ${asked.endpoint}`);
    yield* stream(of);
  }

  askPeer(): Promise<never> {
    return Promise.reject(new Error("no manager asks for itself here"));
  }

  /** What was asked, the hosts with their rows. */
  get log(): string[] {
    return this.asked.map(({ host, asked }) => `${host} ${asked.endpoint}`);
  }

  #note(callee: Callee, asked: AskedEndpoint, options: AskedOf["options"]): AskedOf {
    const of = { host: callee.peer.host, callee, asked: JSON.parse(JSON.stringify(asked)) as AskedEndpoint, options };
    this.asked.push(of);
    return of;
  }
}

type LocalScript = Partial<Record<EndpointName, (request: RowRequest) => unknown>>;

export class Lab {
  readonly self = newPeer("kvm1");
  readonly kvm2 = newPeer("kvm2");
  readonly kvm3 = newPeer("kvm3");
  readonly whereabouts = new PlayedWhereabouts();
  readonly caller = new PlayedCaller();
  readonly stop = new AbortController();
  connection: ConnectionState = { state: "connected" };
  /** VMs that this manager knows. */
  known: VmRef[] = [];
  /** What this manager answers by itself. */
  local: LocalScript = {};
  /** Rows that it answered by itself. */
  readonly localLog: string[] = [];
  readonly handlers: Handlers;

  constructor() {
    const { whereabouts, caller, self } = this;
    const vms: KnownVms = {
      resolve: (who, name) => ({ ref: this.#resolve(who, name) }),
      visibleTo: (who) => this.known.filter((vm) => maySeeVm(who, vm)).map((ref) => ({ ref })),
    };
    const local = withPlaces(this.#table(), whereabouts);
    this.handlers = everywhere(local, { whereabouts, caller, vms, self, connection: () => this.connection });
  }

  /** A request as a door makes it, after the row's schemas. */
  request(parts: Partial<RowRequest>): never {
    const { signal } = this.stop;
    return {
      who: alice,
      params: undefined,
      query: undefined,
      body: undefined,
      lastEventId: undefined,
      signal,
      ...parts,
    } as never;
  }

  #resolve(who: Principal, name: string): VmRef {
    const visible = this.known.filter((vm) => maySeeVm(who, vm));
    const byId = visible.filter(({ id }) => id === name.toLowerCase());
    const [first, ...others] = byId.length > 0 ? byId : visible.filter((vm) => vm.name === name);
    if (first === undefined) throw unknownVm(name);
    if (others.length > 0) throw usageError(`2 VMs are named '${name}'`);
    return first;
  }

  #table(): Handlers {
    const rows = (Object.keys(endpoints) as EndpointName[]).map((name) => [
      name,
      (request: RowRequest) => {
        this.localLog.push(name);
        const row = this.local[name];
        if (row === undefined) throw new Error(`there is no ${name} at home`);
        return row(request);
      },
    ]);
    return Object.fromEntries(rows) as Handlers;
  }
}

/** What something rejects with. */
export async function failureOf(work: unknown): Promise<CommandError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof CommandError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** Till the end. */
export async function allOf(events: AsyncIterable<unknown>): Promise<unknown[]> {
  const all = [];
  for await (const event of events) all.push(event);
  return all;
}

/** Events that are given one at a time; ends when aborted, as a manager's own do. */
export class Source implements AsyncIterable<StreamEvent> {
  #next = Promise.withResolvers<StreamEvent | undefined>();
  readonly #waiting: Promise<StreamEvent | undefined>[] = [this.#next.promise];

  give(event: StreamEvent): void {
    this.#settle(({ resolve }) => {
      resolve(event);
    });
  }

  end(): void {
    this.#settle(({ resolve }) => {
      resolve(undefined);
    });
  }

  fail(error: unknown): void {
    this.#settle(({ promise, reject }) => {
      promise.catch(() => undefined);
      reject(error);
    });
  }

  /** As a caller's stream: when aborted, it throws the reason. */
  until(signal: AbortSignal): this {
    signal.addEventListener("abort", () => {
      this.fail(signal.reason);
    });
    return this;
  }

  /** As a manager's own: when aborted, it ends. */
  endedBy(signal: AbortSignal): this {
    signal.addEventListener("abort", () => {
      this.end();
    });
    return this;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StreamEvent> {
    for (;;) {
      const event = await this.#waiting.shift();
      if (event === undefined) return;
      yield event;
    }
  }

  #settle(how: (given: PromiseWithResolvers<StreamEvent | undefined>) => void): void {
    const given = this.#next;
    this.#next = Promise.withResolvers();
    this.#waiting.push(this.#next.promise);
    how(given);
  }
}
