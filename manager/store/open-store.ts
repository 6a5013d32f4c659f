/** The store of the manager: SQLite in a thread of its own, so that no call waits for the disk on the event loop. */
import type { Receipt, VmRef } from "../../shared/api/schemas.ts";
import type { Log } from "../../shared/log.ts";
import type { Event, NewEvent } from "../events/event.ts";
import { DEFAULT_STORE_LIMITS, type StoreLimits } from "./limits.ts";
import { StoreThread } from "./store-thread.ts";
import type {
  AuditQuery,
  Change,
  FeedProgress,
  GivenMessage,
  JournalEntry,
  MessageToKeep,
  MirrorChange,
  MovedMessage,
  MoveBounds,
  MoveRefusal,
  ReceivedFromGuest,
  Settlement,
  Store,
  StoredJob,
  StoredLifecycle,
  StoredMonitor,
  StoredSubscription,
  StoredToken,
  StoredUser,
  StoredVm,
} from "./store.ts";

export interface StoreOptions {
  /** Made with mode 0700. Holds the database and, beside it, the key of what is encrypted in it. */
  directory: string;
  limits?: Partial<StoreLimits>;
  log: Log;
  /** The thread died: nothing can be kept any more. */
  onFailure: (error: Error) => void;
  /** A message that the store itself refused, because its secret cannot be decrypted any more. */
  onSettled?: (receipt: Receipt) => void;
  /** So many requests were kept by one commit. */
  onCommit?: (requests: number) => void;
  /**
   * These events were appended by one commit, in the order of the log. Called before whoever asked for what they tell of is
   * answered.
   */
  onAppended?: (events: readonly Event[]) => void;
  /** Milliseconds since 1970. */
  clock?: () => number;
}

/** @throws CommandError when it cannot be opened: another manager has it, it is damaged, or of a newer version */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { directory, limits, log, onFailure, onCommit = () => undefined, onAppended = () => undefined } = options;
  const threadOptions = { directory, limits: { ...DEFAULT_STORE_LIMITS, ...limits } };
  const thread = await StoreThread.start(threadOptions, { log, onFailure, onCommit, onAppended });
  return new ThreadedStore(thread, options);
}

class ThreadedStore implements Store {
  readonly #thread: StoreThread;
  readonly #clock: () => number;
  readonly #onSettled: (receipt: Receipt) => void;

  constructor(thread: StoreThread, { clock = Date.now, onSettled = () => undefined }: StoreOptions) {
    this.#thread = thread;
    this.#clock = clock;
    this.#onSettled = onSettled;
  }

  keepMessages(messages: readonly MessageToKeep[]) {
    return this.#thread.call("keepMessages", messages);
  }

  async nextMessage(vmId: string, revision: number) {
    const { next, settled } = await this.#thread.call("nextMessage", vmId, revision, this.#clock());
    for (const receipt of settled) this.#onSettled(receipt);
    return next;
  }

  settleForgotten(messageId: string, answersSince: number, at: number) {
    return this.#thread.call("settleForgotten", messageId, answersSince, at);
  }

  settle(messageId: string, settlement: Settlement, at: number) {
    return this.#thread.call("settle", messageId, settlement, at);
  }

  async expire(now: number) {
    const receipts: Receipt[] = [];
    for (;;) {
      const { expired, more } = await this.#thread.call("expireSome", now);
      receipts.push(...expired);
      if (!more) return receipts;
    }
  }

  messagesToMove(vmId: string, bounds: MoveBounds, at: number) {
    return this.#thread.call("messagesToMove", vmId, bounds, at);
  }

  notMoved(messageIds: readonly string[], at: number) {
    return this.#thread.call("notMoved", messageIds, at);
  }

  knownMessages(vm: VmRef, changes: readonly Change[]) {
    return this.#thread.call("knownMessages", vm, changes);
  }

  keepMoved(vm: VmRef, messages: readonly MovedMessage[], from: string, at: number) {
    return this.#thread.call("keepMoved", vm, messages, from, at);
  }

  dropMoved(vmId: string, messages: readonly GivenMessage[], to: string, at: number) {
    return this.#thread.call("dropMoved", vmId, messages, to, at);
  }

  refuseMoved(vmId: string, refusals: readonly MoveRefusal[], at: number) {
    return this.#thread.call("refuseMoved", vmId, refusals, at);
  }

  markRead(vmId: string, messageIds: readonly string[], at: number) {
    return this.#thread.call("markRead", vmId, messageIds, at);
  }

  receipt(messageId: string) {
    return this.#thread.call("receipt", messageId);
  }

  receiptsOf(vmId: string, limit: number) {
    return this.#thread.call("receiptsOf", vmId, limit);
  }

  pendingOf(vmId: string) {
    return this.#thread.call("pendingOf", vmId);
  }

  pendingCounts() {
    return this.#thread.call("pendingCounts");
  }

  countsByState() {
    return this.#thread.call("countsByState");
  }

  keepReceived(message: ReceivedFromGuest) {
    return this.#thread.call("keepReceived", message);
  }

  receivedFrom(vmId: string, limit: number) {
    return this.#thread.call("receivedFrom", vmId, limit);
  }

  loadVms() {
    return this.#thread.call("loadVms");
  }

  saveVms(vms: readonly StoredVm[]) {
    return this.#thread.call("saveVms", vms);
  }

  forgetVm(id: string) {
    return this.#thread.call("forgetVm", id);
  }

  loadMirrors() {
    return this.#thread.call("loadMirrors");
  }

  saveMirrors(changes: readonly MirrorChange[]) {
    return this.#thread.call("saveMirrors", changes);
  }

  loadLifecycles() {
    return this.#thread.call("loadLifecycles");
  }

  appendEvents(
    events: readonly NewEvent[],
    lifecycles: readonly StoredLifecycle[] = [],
    monitors: readonly StoredMonitor[] = [],
  ) {
    return this.#thread.call("appendEvents", events, lifecycles, monitors);
  }

  loadMonitors(part: StoredMonitor["part"]) {
    return this.#thread.call("loadMonitors", part);
  }

  eventsAfter(position: number, limit: number) {
    return this.#thread.call("eventsAfter", position, limit);
  }

  eventsAt(positions: readonly number[]) {
    return this.#thread.call("eventsAt", positions);
  }

  event(id: string) {
    return this.#thread.call("event", id);
  }

  eventLog() {
    return this.#thread.call("eventLog");
  }

  loadFeed(sink: string) {
    return this.#thread.call("loadFeed", sink);
  }

  saveProgress(progress: readonly FeedProgress[]) {
    return this.#thread.call("saveProgress", progress);
  }

  deadLetters(sink: string, limit: number) {
    return this.#thread.call("deadLetters", sink, limit);
  }

  redeliver(sink: string, eventIds: readonly string[] | undefined, now: number) {
    return this.#thread.call("redeliver", sink, eventIds, now);
  }

  attemptsAt(sink: string, limit: number) {
    return this.#thread.call("attemptsAt", sink, limit);
  }

  removeFeed(sink: string) {
    return this.#thread.call("removeFeed", sink);
  }

  feedNames() {
    return this.#thread.call("feedNames");
  }

  journal(sink: string, since: number) {
    return this.#thread.call("journal", sink, since);
  }

  saveJournalEntry(sink: string, entry: JournalEntry) {
    return this.#thread.call("saveJournalEntry", sink, entry);
  }

  removeJournalEntry(sink: string, eventId: string) {
    return this.#thread.call("removeJournalEntry", sink, eventId);
  }

  subscriptions() {
    return this.#thread.call("subscriptions");
  }

  saveSubscription(subscription: StoredSubscription) {
    return this.#thread.call("saveSubscription", subscription);
  }

  removeSubscription(id: string) {
    return this.#thread.call("removeSubscription", id);
  }

  jobs() {
    return this.#thread.call("jobs");
  }

  saveJob(job: StoredJob, events: readonly NewEvent[] = []) {
    return this.#thread.call("saveJob", job, events);
  }

  users() {
    return this.#thread.call("users");
  }

  saveUser(user: StoredUser) {
    return this.#thread.call("saveUser", user);
  }

  removeUser(name: string) {
    return this.#thread.call("removeUser", name);
  }

  tokens() {
    return this.#thread.call("tokens");
  }

  saveToken(token: StoredToken) {
    return this.#thread.call("saveToken", token);
  }

  touchToken(id: string, at: number) {
    return this.#thread.call("touchToken", id, at);
  }

  removeToken(id: string) {
    return this.#thread.call("removeToken", id);
  }

  addAudit(records: Parameters<Store["addAudit"]>[0]) {
    return this.#thread.call("addAudit", records);
  }

  audit(query: AuditQuery) {
    return this.#thread.call("audit", query);
  }

  /** In small steps, between which other requests are done. */
  async prune(now: number) {
    let vmId: string | undefined = "";
    while (vmId !== undefined) vmId = await this.#thread.call("pruneVmAfter", vmId, now);
    while ((await this.#thread.call("pruneSomeAudit", now)).more);
    while ((await this.#thread.call("pruneSomeEvents", now)).more);
  }

  close() {
    return this.#thread.close();
  }
}
