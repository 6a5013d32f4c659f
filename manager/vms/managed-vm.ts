/** One VM and everything the manager has for it: its description, its link, its mirror, the messages that wait for it. */
import type { LinkState, Receipt, VmRef, VmSummary } from "../../shared/api/schemas.ts";
import type { Log } from "../../shared/log.ts";
import type { Result, WireChange } from "../../shared/protocol/message.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { Delivery } from "../delivery/delivery.ts";
import type { Finding } from "../links/guest-history.ts";
import { type GuestMessage, Link, type LinkOwner, type LinkStatus } from "../links/link.ts";
import { Mirror } from "../links/mirror.ts";
import type { Allowance } from "../links/throttle.ts";
import type { VmMetrics } from "../metrics.ts";
import { type Probe, unknown } from "../monitor/probe.ts";
import type {
  AgentFacts,
  MirrorChange,
  ReceivedFromGuest,
  Store,
  StoredMirror,
  WaitingMessage,
} from "../store/store.ts";
import { Turns } from "../turns.ts";
import type { Vm } from "./vm.ts";

export interface GuestQuotas {
  bytes: Allowance;
  messages: Allowance;
}

export interface ManagedVmOptions {
  store: Store;
  log: Log;
  metrics: VmMetrics;
  /** As the configuration has them now; for links that are opened from now on. */
  quotas: () => GuestQuotas;
  /** A message of this VM got a new receipt. */
  receiptChanged: (receipt: Receipt, message?: WaitingMessage) => void;
  /** The mirror has something that is not saved. */
  mirrorChanged: (vm: ManagedVm) => void;
  /** Its name, its status, its link or the number of messages that wait for it is another one. */
  standingChanged: (vmId: string) => void;
  /** The store failed: the manager cannot go on. */
  failed: (error: unknown) => void;
}

/** Messages that are known to be read and not written down yet: a guest can tell of thousands in a second. */
const MAX_READ_IDS = 1_000;

/** Refused frames of one VM are logged so often; all of them are counted. */
const LOG_REFUSED_EVERY_MS = 60_000;

export class ManagedVm implements LinkOwner {
  readonly #options: ManagedVmOptions;
  readonly mirror: Mirror;
  readonly #delivery: Delivery;
  readonly #watchers = new Set<() => void>();
  #vm: Vm;
  #inventory: string;
  #statusSince: number;
  #link: Link | undefined;
  /** Where the link is to lead, or leads. */
  #linkPath: string | undefined;
  #linkStatus: LinkStatus = { state: "off" };
  #linkSince = Date.now();
  #facts: AgentFacts | undefined;
  /** Until when the mirror is known to be true, when the link is not up. */
  #asOf: number;
  #heardAt: number | undefined;
  /** When the port was last seen to be closed in the guest, ms since 1970. */
  #portClosedAt = 0;
  #pending = 0;
  #refusedLoggedAt = -Infinity;
  /** Some of what is not saved of the mirror happened while nobody listened. */
  #isLate = false;
  readonly #readIds = new Set<string>();
  #isMarking = false;
  #isForgotten = false;
  /** One link ends before the next begins. */
  readonly #relinks = new Turns();

  constructor(
    { vm, inventory, statusSince }: { vm: Vm; inventory: string; statusSince: number },
    known: { mirror: StoredMirror | undefined; pending: number },
    options: ManagedVmOptions,
  ) {
    this.#vm = vm;
    this.#inventory = inventory;
    this.#statusSince = statusSince;
    this.#options = options;
    this.mirror = known.mirror === undefined ? new Mirror() : Mirror.load(known.mirror);
    this.#facts = known.mirror?.agent;
    this.#asOf = known.mirror?.asOf ?? 0;
    this.#heardAt = known.mirror?.asOf;
    this.#pending = known.pending;
    this.#delivery = new Delivery({
      vmId: vm.id,
      store: options.store,
      send: (method, params) => this.link.change(method, params),
      isLinkUp: () => this.isUp,
      revision: () => this.link.facts?.revision ?? 0,
      answersSince: async () => (await this.link.read("info", {})).answersSince,
      settled: (receipt, message) => {
        this.settled(receipt, message);
      },
      failed: options.failed,
      log: options.log,
    });
  }

  get ref(): VmRef {
    return { id: this.#vm.id, name: this.#vm.name };
  }

  get vm(): Vm {
    return this.#vm;
  }

  get statusSince(): number {
    return this.#statusSince;
  }

  get inventory(): string {
    return this.#inventory;
  }

  get isUp(): boolean {
    return this.#linkStatus.state === "up";
  }

  get isForgotten(): boolean {
    return this.#isForgotten;
  }

  get linkState(): LinkState {
    return this.#linkStatus.state;
  }

  get linkReason(): string | undefined {
    return this.#linkStatus.reason ?? this.#vm.problem;
  }

  get facts(): AgentFacts | undefined {
    return this.#link?.facts ?? this.#facts;
  }

  /** When what the mirror holds was last known to be true, ms since 1970; 0 when the guest was never heard. */
  get asOf(): number {
    return this.isUp ? Date.now() : this.#asOf;
  }

  get pending(): number {
    return this.#pending;
  }

  /** Throws when there is none: ask {@link isUp} first. */
  get link(): Link {
    if (this.#link === undefined) throw new Error(`the VM ${this.#vm.id} has no link`);
    return this.#link;
  }

  summary(): VmSummary {
    const { id, name, host, status, channelPath } = this.#vm;
    const { state, holder } = this.#linkStatus;
    const reason = this.linkReason;
    const facts = this.facts;
    const heardAt = this.#link?.heardAt ?? this.#heardAt;
    return {
      id,
      name,
      host,
      status,
      statusSince: rfc3339(this.#statusSince),
      inventory: this.#inventory,
      ...(channelPath !== undefined && { channel: channelPath }),
      link: {
        state,
        since: rfc3339(this.#linkSince),
        ...(reason !== undefined && state !== "up" && { reason }),
        ...(holder !== undefined && { holder }),
      },
      ...(facts !== undefined && { agent: shownFacts(facts) }),
      ...(heardAt !== undefined && { lastHeardAt: rfc3339(heardAt) }),
      pending: this.#pending,
    };
  }

  /** The inventory has a new description; `name` says whose. */
  describe(vm: Vm, inventory: string, statusSince: number): void {
    const before = this.#vm;
    this.#vm = vm;
    this.#inventory = inventory;
    this.#statusSince = statusSince;
    if (vm.isOpenInGuest === false && before.isOpenInGuest !== false) this.#portClosedAt = Date.now();
    if (vm.channelPath !== this.#linkPath) {
      this.#linkPath = vm.channelPath;
      void this.#relinks.take(() => this.#relink(vm.channelPath));
    } else if (vm.isOpenInGuest === true && before.isOpenInGuest !== true) {
      this.#link?.nudge();
    }
    if (vm.status !== before.status) this.#tellWatchers();
    this.#options.standingChanged(vm.id);
  }

  /** Whether its guest lives, by our agent. Never rejects; one at a time. */
  async probe(timeoutMs: number, signal: AbortSignal): Promise<Probe> {
    if (this.#link === undefined) return unknown(this.#vm.problem ?? "the VM has no channel", true);
    if (this.#isPortClosed()) return unknown("no program in the guest has the port open", true);
    return this.#link.probe(timeoutMs, signal);
  }

  /** Rejects with RequestError, NoAnswerError. */
  async stats(): Promise<Result<"stats">> {
    return this.link.read("stats", {});
  }

  /** Messages for this VM were kept. */
  messagesKept(count = 1): void {
    this.#setPending(this.#pending + count);
    this.#delivery.wake();
  }

  /** Another manager keeps so many of those that waited. */
  messagesMoved(count: number): void {
    this.#setPending(this.#pending - count);
  }

  /** A message for this VM was delivered, refused, or waited too long. */
  settled(receipt: Receipt, message?: WaitingMessage): void {
    this.#setPending(this.#pending - 1);
    this.#options.receiptChanged(receipt, message);
  }

  /** Calls back whenever the mirror or the link changed, till the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#watchers.add(listener);
    return () => this.#watchers.delete(listener);
  }

  /** What of the mirror is to be saved, or undefined. */
  takeUnsaved(): MirrorChange | undefined {
    const { facts } = this;
    const unsaved = this.mirror.takeUnsaved();
    if (unsaved === undefined || facts === undefined || this.#isForgotten) return undefined;
    return this.#mirrorChange(facts, unsaved);
  }

  /** Also when no key changed: until when the mirror was true, and what the agent said of itself. */
  lastWord(): MirrorChange | undefined {
    const { facts } = this;
    if (facts === undefined || this.#isForgotten) return undefined;
    return this.#mirrorChange(facts, this.mirror.takeUnsaved() ?? { isReset: false, set: [], deleted: [] });
  }

  /** Nobody asks for it any more: its watchers end, and nothing of it is saved again. */
  forget(): Promise<void> {
    this.#isForgotten = true;
    this.#tellWatchers();
    return this.close();
  }

  /** Lets the message under way end, then closes the link. */
  async close(): Promise<void> {
    await this.#delivery.stop();
    await this.#relinks.take(() => this.#unlink());
  }

  // What the link tells.

  statusChanged(status: LinkStatus): void {
    const { log, mirrorChanged } = this.#options;
    const before = this.#linkStatus.state;
    this.#linkStatus = status;
    if (status.state === before) return;
    if (before === "up") {
      this.#asOf = Date.now();
      mirrorChanged(this);
    }
    this.#linkSince = Date.now();
    log.info("link", { ...this.#label, state: status.state, reason: status.reason });
    if (status.state === "up") this.#delivery.wake();
    this.#tellWatchers();
    this.#options.standingChanged(this.#vm.id);
  }

  greeted(facts: AgentFacts, findings: Finding[]): void {
    const { log, mirrorChanged } = this.#options;
    this.#facts = facts;
    const { software, uuid, bootId, clonedFrom } = facts;
    if (findings.length > 0) log.info("greeted", { ...this.#label, findings, software, uuid, bootId, clonedFrom });
    mirrorChanged(this);
  }

  mirrored({ changes }: { changes: readonly WireChange[] }, isLate: boolean): void {
    const { metrics, mirrorChanged } = this.#options;
    this.#isLate ||= isLate;
    metrics.changes(changes.length);
    mirrorChanged(this);
    this.#noteReads(changes);
    this.#tellWatchers();
  }

  read(messageId: string): void {
    this.#markRead([messageId]);
  }

  async received(request: GuestMessage): Promise<void> {
    const { store, metrics, receiptChanged } = this.#options;
    const { isNew, acknowledged } = await store.keepReceived(receivedFrom(this.ref, request, Date.now()));
    if (acknowledged !== undefined) receiptChanged(acknowledged);
    if (isNew) metrics.message();
  }

  refusedFrame(reason: string): void {
    const { log, metrics } = this.#options;
    metrics.refusedFrame();
    const now = Date.now();
    if (now - this.#refusedLoggedAt < LOG_REFUSED_EVERY_MS) return;
    this.#refusedLoggedAt = now;
    log.warn("frame-refused", { ...this.#label, reason });
  }

  // The rest is our own.

  #setPending(count: number): void {
    this.#pending = Math.max(0, count);
    this.#options.standingChanged(this.#vm.id);
  }

  /** Not every inventory tells when it is opened again; what came since does. */
  #isPortClosed(): boolean {
    return this.#vm.isOpenInGuest === false && (this.#link?.heardAt ?? 0) <= this.#portClosedAt;
  }

  get #label() {
    return { vm: this.#vm.name, id: this.#vm.id };
  }

  async #relink(path: string | undefined): Promise<void> {
    await this.#unlink();
    if (path === undefined) {
      this.statusChanged({ state: "off" });
      return;
    }
    this.statusChanged({ state: "connecting" });
    const { bytes, messages } = this.#options.quotas();
    this.#link = new Link({
      path,
      mirror: this.mirror,
      known: this.#facts,
      owner: this,
      meter: this.#options.metrics,
      allowance: bytes,
      messageAllowance: messages,
    });
    this.#link.start();
  }

  async #unlink(): Promise<void> {
    const link = this.#link;
    if (link === undefined) return;
    await link.stop();
    this.#facts = link.facts;
    this.#heardAt = link.heardAt ?? this.#heardAt;
    this.#link = undefined;
  }

  /** A program may have read a message while no host was there; the entry tells. */
  #noteReads(changes: readonly WireChange[]): void {
    const ids = changes.flatMap((change) => {
      if ("deleted" in change || change.read !== true || change.setBy !== "host") return [];
      return change.messageId ?? [];
    });
    if (ids.length > 0) this.#markRead(ids);
  }

  /** Together with those that come while the store is at work; what is over the limit is told with the next snapshot. */
  #markRead(messageIds: readonly string[]): void {
    for (const id of messageIds) if (this.#readIds.size < MAX_READ_IDS) this.#readIds.add(id);
    if (this.#isMarking) return;
    this.#isMarking = true;
    this.#markAll()
      .catch(this.#options.failed)
      .finally(() => {
        this.#isMarking = false;
      });
  }

  async #markAll(): Promise<void> {
    const { store, receiptChanged } = this.#options;
    while (this.#readIds.size > 0) {
      const ids = [...this.#readIds];
      this.#readIds.clear();
      for (const receipt of await store.markRead(this.#vm.id, ids, Date.now())) receiptChanged(receipt);
    }
  }

  #mirrorChange(agent: AgentFacts, unsaved: Pick<MirrorChange, "isReset" | "set" | "deleted">): MirrorChange {
    const isLate = this.#isLate;
    this.#isLate = false;
    return {
      isLate,
      vmId: this.#vm.id,
      vmName: this.#vm.name,
      ...this.mirror.cursor,
      limitBytes: agent.limitBytes,
      asOf: this.asOf,
      agent,
      ...unsaved,
    };
  }

  #tellWatchers(): void {
    for (const listener of this.#watchers) listener();
  }
}

function receivedFrom(vm: VmRef, request: GuestMessage, receivedAt: number): ReceivedFromGuest {
  const head = { vm, receivedAt, messageId: request.params.messageId };
  switch (request.method) {
    case "event":
      return { ...head, kind: "event", params: request.params };
    case "acknowledge":
      return { ...head, kind: "acknowledge", params: request.params };
    case "report":
      return { ...head, kind: "report", params: request.params };
  }
}

function shownFacts({ software, uuid, bootId, epoch, revision, greetedAt }: AgentFacts): VmSummary["agent"] {
  return { software, uuid, bootId, epoch, revision, greetedAt: rfc3339(greetedAt) };
}
