/** {@link Service} over the manager's parts: permissions first, then the work, then the audit log. */
import { randomUUID } from "node:crypto";
import type {
  AuditRecord,
  CreatedToken,
  FleetEvent,
  FleetRequest,
  FleetResult,
  FleetSummary,
  Health,
  KeyAnswer,
  KeyList,
  LinkState,
  NewMessage,
  NewToken,
  PendingChange,
  PingAnswer,
  Receipt,
  ReceivedMessage,
  Token,
  User,
  UserChange,
  VmSummary,
} from "../../shared/api/schemas.ts";
import { linkStates } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { listAll } from "../../shared/list-all.ts";
import { MAX_PAYLOAD } from "../../shared/protocol/limits.ts";
import type { Result, WireEntry } from "../../shared/protocol/message.ts";
import { printable } from "../../shared/terminal-text.ts";
import { version } from "../../shared/version.ts";
import type { Accounts } from "../access/accounts.ts";
import type { AuditLog } from "../access/audit-log.ts";
import {
  assertMayDo,
  assertMaySeeAll,
  assertMayUseKey,
  assertMayUseKeys,
  maySeeAll,
  maySeeVm,
  mayUseKey,
} from "../access/permissions.ts";
import type { Principal } from "../access/principal.ts";
import {
  ask,
  assertWasHeard,
  lastHeard,
  loggedValues,
  maySeeReceipt,
  outcomeOf,
  receiptFor,
  receivedKey,
  resultError,
  secretElsewhere,
} from "./answers.ts";
import { asCompleted } from "./as-completed.ts";
import { keysOf } from "../delivery/keys-of.ts";
import type { Inventory } from "../inventory/inventory.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import type { ManagedVm } from "../vms/managed-vm.ts";
import type { Metrics } from "../metrics.ts";
import { type Messages, receiptOf, type Sending } from "../delivery/messages.ts";
import { WakeUp } from "../wake-up.ts";
import { managerEvent, vmEvent } from "../events/event.ts";
import type { EventHub } from "../events/event-hub.ts";
import type { ImageSaver } from "../images/image-saver.ts";
import type { Monitor } from "../monitor/monitor.ts";
import type { Recoveries } from "../monitor/recovery/recoveries.ts";
import { type Audited, auditedBy, type Deed } from "./audited.ts";
import { EventLogService } from "./event-log-service.ts";
import type { EventService, ImageService, SinkService, SubscriptionService } from "./event-service.ts";
import { ManagedImages } from "./image-service.ts";
import { ManagedMonitor } from "./monitor-service.ts";
import type { MonitorService, ReceiptWait, Service, WatchEvent, WatchOptions } from "./service.ts";
import { ManagedSinks, sinksHealth, sinkSummary, works } from "./sink-service.ts";
import { ManagedSubscriptions } from "./subscription-service.ts";
import type { AuditQuery, Store } from "../store/store.ts";
import type { Vms } from "../vms/vms.ts";

/** Guests asked at once by one fleet's call. Not measured. */
const GUESTS_ASKED_AT_ONCE = 100;

const DEFAULT_LIST_LIMIT = 100;

/**
 * Asked of the store when some of its answer is not for the asker's eyes, so that what is left is still as much as was
 * asked for: all that the store keeps of one VM's messages, waiting and settled (store/limits.ts), and a page of the audit
 * log.
 */
const LIST_BEFORE_FILTER = 2_000;

/** Room for the envelope of a request to the guest. */
const MAX_CHANGE_BYTES = MAX_PAYLOAD - 1024;

export interface ServiceParts {
  vms: Vms;
  messages: Messages;
  store: Store;
  accounts: Accounts;
  audit: AuditLog;
  inventory: Inventory;
  metrics: Metrics;
  events: EventHub;
  images: ImageSaver;
  monitor: Monitor;
  recoveries: Recoveries;
  /** What is known of managers on other hosts; undefined where none are configured. */
  peers: () => Health["peers"];
  startedAt: number;
}

export class ManagerService implements Service {
  readonly events: EventService;
  readonly sinks: SinkService;
  readonly subscriptions: SubscriptionService;
  readonly images: ImageService;
  readonly monitor: MonitorService;
  readonly #parts: ServiceParts;
  readonly #audited: Audited;
  readonly #failureAudited: Audited;

  constructor(parts: ServiceParts) {
    const { store, vms, events, images, monitor, recoveries, audit } = parts;
    const { dispatcher, subscriptions, log } = events;
    const { audited, failureAudited } = auditedBy(audit);
    this.#parts = parts;
    this.#audited = audited;
    this.#failureAudited = failureAudited;
    this.events = new EventLogService(events.reader);
    this.sinks = new ManagedSinks({ store, dispatcher, subscriptions, log, audited });
    this.subscriptions = new ManagedSubscriptions({ subscriptions, dispatcher, vms, audited });
    this.images = new ManagedImages({ images, vms, audited });
    this.monitor = new ManagedMonitor({ vms, monitor, recoveries });
  }

  // ---- VMs

  listVms(who: Principal): VmSummary[] {
    return this.#parts.vms.visibleTo(who).map((vm) => vm.summary());
  }

  showVm(who: Principal, vm: string): VmSummary {
    return this.#parts.vms.resolve(who, vm).summary();
  }

  async forgetVm(who: Principal, name: string): Promise<void> {
    assertMayDo(who, "admin");
    const vm = this.#parts.vms.resolve(who, name);
    await this.#audited(who, { action: "vm.forget", vm: vm.ref }, () => {
      const { inventory } = this.#parts;
      if (inventory.find(vm.vm.id).type === "found" && !inventory.forget(vm.vm.id)) {
        throw new CommandError("conflict", `'${vm.vm.name}' is still in ${vm.inventory}; remove it there first`);
      }
      return this.#forget(who, vm);
    });
  }

  async #forget(who: Principal, vm: ManagedVm): Promise<void> {
    const { vms, events, monitor, recoveries } = this.#parts;
    events.lifecycles.forget(vm.vm.id);
    monitor.forget(vm.vm.id);
    recoveries.forget(vm.vm.id);
    await vms.forget(vm);
    await events.subscriptions.forgetVm(vm.vm.id);
    await events.bus.publish([vmEvent("VM.FORGET", vm.ref, Date.now(), { data: { by: who.name } })]);
  }

  // ---- Keys

  async getKey(who: Principal, name: string, key: string): Promise<KeyAnswer> {
    const vm = this.#parts.vms.resolve(who, name);
    return this.#audited(who, { action: "get", vm: vm.ref, keys: [key] }, () => {
      assertMayUseKey(who, key);
      return this.#keyOf(who, vm, key);
    });
  }

  async listKeys(who: Principal, name: string, prefix: string): Promise<KeyList> {
    const vm = this.#parts.vms.resolve(who, name);
    return this.#audited(who, { action: "list", vm: vm.ref, keys: [`${prefix}*`] }, () =>
      this.#keysOf(who, vm, prefix),
    );
  }

  async *watchKeys(
    who: Principal,
    name: string,
    { prefix, since }: WatchOptions,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent> {
    const vm = this.#parts.vms.resolve(who, name);
    await this.#audited(who, { action: "watch", vm: vm.ref, keys: [`${prefix}*`] }, () => Promise.resolve());
    const place = vm.mirror.startWatch(since);
    const news = new WakeUp();
    const stopListening = vm.onChange(() => {
      news.call();
    });
    let shownLink: string | undefined;
    try {
      while (!signal.aborted && !vm.isForgotten) {
        const batch = vm.mirror.nextBatch(place, prefix, (key) => mayUseKey(who, key), Date.now());
        if (batch !== undefined) yield { type: "changed", batch };
        const link = `${vm.vm.status} ${vm.linkState}`;
        if (shownLink !== undefined && link !== shownLink) yield { type: "link", vm: vm.summary() };
        shownLink = link;
        if (batch?.more !== true) await news.wait(Infinity, signal);
      }
    } finally {
      stopListening();
    }
  }

  async info(who: Principal, name: string): Promise<Result<"info">> {
    const vm = this.#parts.vms.resolve(who, name);
    const { unprojectedKeys, ...facts } = await ask(vm, () => vm.link.read("info", {}));
    return { ...facts, unprojectedKeys: unprojectedKeys.filter((key) => mayUseKey(who, key)) };
  }

  async ping(who: Principal, name: string): Promise<PingAnswer> {
    return this.#ping(this.#parts.vms.resolve(who, name));
  }

  async stats(who: Principal, name: string): Promise<Result<"stats">> {
    const vm = this.#parts.vms.resolve(who, name);
    return ask(vm, () => vm.stats());
  }

  // ---- Messages

  async send(who: Principal, name: string, message: NewMessage, signal?: AbortSignal): Promise<Receipt> {
    const vm = this.#parts.vms.resolve(who, name);
    const deed: Deed = { ...deedOf(message), vm: vm.ref };
    const receipt = await this.#audited(who, deed, async () => {
      assertMaySend(who, message);
      const sending = await this.#parts.messages.keepOne(vm, message, who.name);
      deed.messageId = sending.messageId;
      return receiptOf(sending);
    });
    return this.#parts.messages.follow(receipt, message, signal);
  }

  async receipt(who: Principal, messageId: string, wait: ReceiptWait = {}, signal?: AbortSignal): Promise<Receipt> {
    const receipt = await this.#parts.store.receipt(messageId);
    // The receipt has the VM's name as it was: whether it may be seen goes by the present one.
    const vm = receipt && this.#parts.vms.byId(receipt.vm.id);
    if (receipt === undefined || vm === undefined || !maySeeVm(who, vm.ref) || !maySeeReceipt(who, receipt)) {
      throw new CommandError("failed", `there is no message '${messageId}'`, { messageId });
    }
    const { waitFor, waitMs } = wait;
    const followed = await this.#parts.messages.follow(
      receipt,
      { ...(waitFor !== undefined && { waitFor }), ...(waitMs !== undefined && { waitMs }) },
      signal,
    );
    return receiptFor(who, followed);
  }

  async listSent(who: Principal, name: string, limit = DEFAULT_LIST_LIMIT): Promise<Receipt[]> {
    const vm = this.#parts.vms.resolve(who, name);
    const receipts = await this.#parts.store.receiptsOf(vm.vm.id, limitBeforeFilter(who, limit));
    return receipts
      .filter((receipt) => maySeeReceipt(who, receipt))
      .slice(0, limit)
      .map((receipt) => receiptFor(who, receipt));
  }

  async listReceived(who: Principal, name: string, limit = DEFAULT_LIST_LIMIT): Promise<ReceivedMessage[]> {
    const vm = this.#parts.vms.resolve(who, name);
    return this.#audited(who, { action: "received", vm: vm.ref, keys: ["*"] }, async () => {
      const messages = await this.#parts.store.receivedFrom(vm.vm.id, limitBeforeFilter(who, limit));
      const now = Date.now();
      const set = vm.mirror.list("", now).filter(({ setBy }) => setBy === "guest");
      return [...messages, ...set.map((entry) => receivedKey(vm, entry, now))]
        .filter(({ key }) => key === undefined || mayUseKey(who, key))
        .sort((a, b) => (a.receivedAt > b.receivedAt ? -1 : 1))
        .slice(0, limit);
    });
  }

  // ---- Fleets

  async *fleet(
    who: Principal,
    { vms: selection, request }: FleetRequest,
    signal: AbortSignal,
  ): AsyncGenerator<FleetEvent> {
    const vms = this.#parts.vms.select(who, selection);
    const results =
      request.method === "get" || request.method === "ping"
        ? asCompleted(vms, GUESTS_ASKED_AT_ONCE, (vm) => this.#askOne(who, vm, request))
        : await this.#sendToAll(who, vms, request, signal);
    const job = { id: randomUUID(), by: who.name, method: request.method };
    const summary = { vms: vms.length, done: 0, queued: 0, failed: 0 };
    this.#tellOfFleet(job, "Started", summary);
    try {
      yield { type: "begin", vms: vms.length };
      for await (const result of results) {
        if (signal.aborted) return;
        summary[outcomeOf(result)] += 1;
        yield { type: "result", result };
      }
      yield { type: "summary", summary };
    } finally {
      const isComplete = summary.done + summary.queued + summary.failed === vms.length;
      this.#tellOfFleet(job, isComplete ? "Completed" : "Unfollowed", summary);
    }
  }

  /** What only asks changes nothing, and is no event. */
  #tellOfFleet(
    { id, ...job }: { id: string; by: string; method: string },
    newState: string,
    summary: FleetSummary,
  ): void {
    if (job.method === "get" || job.method === "ping") return;
    const event = managerEvent("FLEET.SEND", Date.now(), { newState, data: { ...job, ...summary } });
    this.#parts.events.tell({ ...event, resourceType: "AsyncJob", resourceUUID: id });
  }

  // ---- Users

  listUsers(who: Principal): Promise<User[]> {
    return this.#forAdmins(who, () => this.#parts.accounts.listUsers());
  }

  changeUser(who: Principal, name: string, change: UserChange): Promise<User> {
    return this.#administered(who, `user.change ${name}`, () => this.#parts.accounts.changeUser(name, change));
  }

  removeUser(who: Principal, name: string): Promise<void> {
    return this.#administered(who, `user.remove ${name}`, () => this.#removeUser(name));
  }

  /** What they subscribed to first: in between it is nobody's. */
  async #removeUser(name: string): Promise<void> {
    await this.#parts.events.subscriptions.removeOwnedBy(name);
    await this.#parts.accounts.removeUser(name);
  }

  listTokens(who: Principal): Promise<Token[]> {
    return this.#forAdmins(who, () => this.#parts.accounts.listTokens());
  }

  createToken(who: Principal, token: NewToken): Promise<CreatedToken> {
    return this.#administered(who, `token.create ${token.user}`, () => this.#parts.accounts.createToken(token));
  }

  revokeToken(who: Principal, id: string): Promise<void> {
    return this.#administered(who, `token.revoke ${id}`, () => this.#parts.accounts.revokeToken(id));
  }

  async listAudit(
    who: Principal,
    query: { vm?: string; who?: string; before?: number; limit?: number },
  ): Promise<AuditRecord[]> {
    assertMayDo(who, "admin");
    const { vm, limit = DEFAULT_LIST_LIMIT } = query;
    const vmId = vm === undefined ? undefined : this.#parts.vms.resolve(who, vm).vm.id;
    const asked = { vmId, who: query.who, before: query.before };
    return maySeeAll(who) ? this.#parts.store.audit({ ...asked, limit }) : this.#auditShownTo(who, asked, limit);
  }

  // ---- The manager itself

  async health(): Promise<Health> {
    const { inventory, store, events, startedAt } = this.#parts;
    const peers = this.#parts.peers();
    const sources = inventory.sources();
    const sinks = sinksHealth(events.dispatcher.feeds.map(sinkSummary));
    const arePeersWell = peers === undefined || peers.state === "connected";
    const isWell = sources.every(({ isConnected }) => isConnected) && sinks.configured.every(works) && arePeersWell;
    return {
      status: isWell ? "ok" : "degraded",
      version,
      startedAt: rfc3339(startedAt),
      inventory: sources,
      links: this.#linkCounts(),
      messages: await store.countsByState(),
      ...(peers !== undefined && { peers }),
      sinks,
    };
  }

  async metrics(who: Principal): Promise<string> {
    assertMaySeeAll(who);
    const { metrics, store, vms, inventory, events, monitor } = this.#parts;
    const peers = this.#parts.peers();
    return metrics.scrape({
      links: this.#linkCounts(),
      messages: await store.countsByState(),
      pending: vms.all.map((vm) => ({ vm: vm.ref, count: vm.pending })),
      inventory: inventory.sources(),
      sinks: events.dispatcher.feeds.map(sinkSummary).map((sink) => ({ ...sink, isConnected: works(sink) })),
      guests: vms.all.map((vm) => ({ vm: vm.ref, ...monitor.standing(vm) })),
      peers: peers && {
        broker: peers.broker,
        isConnected: peers.state === "connected",
        managers: peers.managers.length,
      },
    });
  }

  // ---- What these are made of

  async #keyOf(who: Principal, vm: ManagedVm, key: string): Promise<KeyAnswer> {
    const pending = await this.#pendingOf(who, vm, (changed) => changed === key);
    if (vm.isUp) {
      const { epoch, entry } = await ask(vm, () => vm.link.read("get", { key }));
      return { ...this.#answerHead(vm, "guest", pending), epoch, entry };
    }
    assertWasHeard(vm, pending);
    const entry = vm.mirror.get(key, Date.now());
    if (entry === undefined) {
      throw new CommandError("no-such-key", `there was no key '${printable(key)}' when ${lastHeard(vm)}`, {
        key,
        pending,
      });
    }
    if (entry.secret === true) throw secretElsewhere(vm, key);
    return { ...this.#answerHead(vm, "mirror", pending), epoch: vm.mirror.cursor.epoch, entry };
  }

  async #keysOf(who: Principal, vm: ManagedVm, prefix: string): Promise<KeyList> {
    const pending = await this.#pendingOf(who, vm, (changed) => changed.startsWith(prefix));
    const isVisible = ({ key }: WireEntry): boolean => mayUseKey(who, key);
    if (vm.isUp) {
      const { entries, ...list } = await ask(vm, () => listAll(vm.link, prefix));
      return { ...this.#answerHead(vm, "guest", pending), ...list, entries: entries.filter(isVisible) };
    }
    assertWasHeard(vm, pending);
    return {
      ...this.#answerHead(vm, "mirror", pending),
      ...vm.mirror.cursor,
      usedBytes: vm.mirror.bytes,
      limitBytes: vm.facts?.limitBytes ?? 0,
      entries: vm.mirror.list(prefix, Date.now()).filter(isVisible),
    };
  }

  #answerHead(vm: ManagedVm, from: "guest" | "mirror", pending: PendingChange[]) {
    return { vm: vm.ref, status: vm.vm.status, from, asOf: rfc3339(vm.asOf), pending };
  }

  /** What waits and changes a key that is meant, with those of its keys that may be used; `clear` changes every key. */
  async #pendingOf(who: Principal, vm: ManagedVm, isMeant: (key: string) => boolean): Promise<PendingChange[]> {
    if (vm.pending === 0) return [];
    const pending = await this.#parts.store.pendingOf(vm.vm.id);
    return pending
      .map(({ queuedAt, keys, ...change }) => {
        return { ...change, keys: keys.filter((key) => mayUseKey(who, key)), queuedAt: rfc3339(queuedAt) };
      })
      .filter(({ method, keys }) => method === "clear" || keys.some(isMeant));
  }

  async #ping(vm: ManagedVm): Promise<PingAnswer> {
    const startedAt = performance.now();
    const { uptimeMs, applications } = await ask(vm, () => vm.link.read("ping", {}));
    const roundTripMs = Math.round((performance.now() - startedAt) * 1_000) / 1_000;
    this.#parts.metrics.roundTrip(roundTripMs / 1_000);
    return { vm: vm.ref, roundTripMs, uptimeMs, ...(applications !== undefined && { applications }) };
  }

  async #askOne(
    who: Principal,
    vm: ManagedVm,
    request: Extract<FleetRequest["request"], { method: "get" | "ping" }>,
  ): Promise<FleetResult> {
    const head = { vm: vm.ref, status: vm.vm.status };
    try {
      if (request.method === "ping") return { ...head, ping: await this.#ping(vm) };
      return { ...head, answer: await this.getKey(who, vm.vm.id, request.params.key) };
    } catch (error) {
      return { ...head, error: resultError(error) };
    }
  }

  async #sendToAll(
    who: Principal,
    vms: readonly ManagedVm[],
    message: NewMessage,
    signal: AbortSignal,
  ): Promise<AsyncIterable<FleetResult>> {
    const deed = deedOf(message);
    // Refused as a whole, it is one record, without a VM.
    const sendings = await this.#failureAudited(who, deed, async () => {
      assertMaySend(who, message);
      return this.#parts.messages.keepForAll(vms, message, who.name);
    });
    await this.#parts.audit.recordAll(
      sendings.map(({ vm, messageId, kept }) => ({
        who,
        ...deed,
        vm: vm.ref,
        messageId,
        outcome: "receipt" in kept ? "ok" : kept.type,
      })),
    );
    return asCompleted(sendings, Infinity, (sending) => this.#followOne(sending, message, signal));
  }

  async #followOne(sending: Sending, message: NewMessage, signal: AbortSignal): Promise<FleetResult> {
    const head = { vm: sending.vm.ref, status: sending.vm.vm.status };
    try {
      const receipt = receiptOf(sending);
      // A VM that is away will not answer while we wait; its message has been kept.
      const isWorthWaiting = sending.vm.isUp || message.waitFor === "acknowledged";
      return {
        ...head,
        receipt: isWorthWaiting ? await this.#parts.messages.follow(receipt, message, signal) : receipt,
      };
    } catch (error) {
      return { ...head, error: resultError(error) };
    }
  }

  /** Page by page, till there are enough that may be seen or the log ends. */
  async #auditShownTo(who: Principal, asked: Omit<AuditQuery, "limit">, limit: number): Promise<AuditRecord[]> {
    const shown: AuditRecord[] = [];
    let { before } = asked;
    let isAtEnd = false;
    while (shown.length < limit && !isAtEnd) {
      const page = await this.#parts.store.audit({ ...asked, before, limit: LIST_BEFORE_FILTER });
      shown.push(...page.filter((record) => this.#maySeeRecord(who, record)));
      before = page.at(-1)?.id;
      isAtEnd = page.length < LIST_BEFORE_FILTER;
    }
    return shown.slice(0, limit);
  }

  /** Those of no VM are for who may see every VM. One that was forgotten goes by its name as it was. */
  #maySeeRecord(who: Principal, { vm }: AuditRecord): boolean {
    return vm === undefined ? maySeeAll(who) : maySeeVm(who, this.#parts.vms.byId(vm.id)?.ref ?? vm);
  }

  #linkCounts(): Record<LinkState, number> {
    const counts = Object.fromEntries(linkStates.map((state) => [state, 0])) as Record<LinkState, number>;
    for (const { linkState } of this.#parts.vms.all) counts[linkState] += 1;
    return counts;
  }

  #administered<T>(who: Principal, action: string, work: () => Promise<T>): Promise<T> {
    return this.#audited(who, { action }, () => this.#forAdmins(who, work));
  }

  #forAdmins<T>(who: Principal, work: () => T | Promise<T>): Promise<T> {
    return new Promise((resolve) => {
      assertMayDo(who, "admin");
      resolve(work());
    });
  }
}

function deedOf(message: NewMessage): Omit<Deed, "vm"> {
  const values = loggedValues(message);
  return {
    action: message.method,
    keys: keysOf(message),
    messageId: message.params.messageId,
    ...(values !== undefined && { values }),
  };
}

/** Who may use only some keys gets a part of what the store has. */
function limitBeforeFilter(who: Principal, limit: number): number {
  return mayUseKey(who, "") ? limit : LIST_BEFORE_FILTER;
}

/** Throws CommandError: not-permitted for what the principal may not change, over-limit for what no guest can be sent. */
function assertMaySend(who: Principal, message: NewMessage): void {
  assertMayDo(who, "write");
  // `clear` reaches every key.
  const keys = message.method === "clear" ? [""] : keysOf(message);
  assertMayUseKeys(who, keys);
  const bytes = Buffer.byteLength(JSON.stringify(message.params));
  if (bytes <= MAX_CHANGE_BYTES) return;
  throw new CommandError(
    "over-limit",
    `the message takes ${bytes} bytes, and a guest takes ${MAX_CHANGE_BYTES} at once`,
    {
      limit: MAX_CHANGE_BYTES,
    },
  );
}
