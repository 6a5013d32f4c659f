/** All operations on one database. */
import type { DatabaseSync } from "node:sqlite";
import { unreachable } from "../../shared/protocol/errors.ts";
import { bootstrapEvent } from "../events/bootstrap-events.ts";
import { guestEvent } from "../events/message-events.ts";
import { AccountTables } from "./accounts.ts";
import { AuditTable } from "./audit.ts";
import { EventTable, type EventTableOptions } from "./events.ts";
import { Feeds } from "./feeds.ts";
import { Jobs } from "./jobs.ts";
import { Messages } from "./messages.ts";
import { Mirrors } from "./mirrors.ts";
import { Monitors } from "./monitors.ts";
import type { Answers, Operations } from "./operations.ts";
import { Received } from "./received.ts";
import type { SecretBox } from "./secret-box.ts";
import type { ReceivedFromGuest } from "./store.ts";
import { Subscriptions } from "./subscriptions.ts";

export interface TablesOptions extends EventTableOptions {
  secrets: SecretBox;
}

export function operationsOn(database: DatabaseSync, options: TablesOptions): Operations {
  const { secrets, limits } = options;
  const log = new EventTable(database, options);
  const messages = new Messages(database, { secrets, limits, log });
  const received = new Received(database, limits);
  const mirrors = new Mirrors(database, log);
  const feeds = new Feeds(database, log, limits);
  const subscriptions = new Subscriptions(database, secrets);
  const jobs = new Jobs(database);
  const monitors = new Monitors(database, limits);
  const accounts = new AccountTables(database);
  const audit = new AuditTable(database, limits);
  return {
    keepMessages: (toKeep) => messages.keepAll(toKeep),
    nextMessage: (vmId, revision, now) => messages.next(vmId, revision, now),
    settleForgotten: (messageId, answersSince, at) => messages.settleForgotten(messageId, answersSince, at),
    settle: (messageId, settlement, at) => messages.settle(messageId, settlement, at),
    expireSome: (now) => messages.expireSome(now),
    markRead: (vmId, messageIds, at) => messages.markRead(vmId, messageIds, at),
    receipt: (messageId) => messages.receipt(messageId),
    receiptsOf: (vmId, limit) => messages.receiptsOf(vmId, limit),
    messagesToMove: (vmId, bounds, at) => messages.toMove(vmId, bounds, at),
    notMoved: (messageIds, at) => {
      messages.notMoved(messageIds, at);
    },
    knownMessages: (vm, changes) => messages.known(vm, changes),
    keepMoved: (vm, moved, from, at) => messages.keepMoved(vm, moved, from, at),
    dropMoved: (vmId, given, to, at) => messages.dropMoved(vmId, given, to, at),
    refuseMoved: (vmId, refusals, at) => messages.refuseMoved(vmId, refusals, at),
    pendingOf: (vmId) => messages.pendingOf(vmId),
    pendingCounts: () => messages.pendingCounts(),
    countsByState: () => messages.countsByState(),

    keepReceived: (message) => keepReceived(message, received, messages, log),
    receivedFrom: (vmId, limit) => received.from(vmId, limit),

    loadVms: () => mirrors.loadVms(),
    saveVms: (vms) => {
      mirrors.saveVms(vms);
    },
    loadLifecycles: () => mirrors.loadLifecycles(),
    forgetVm: (vmId) => {
      for (const table of [messages, received, mirrors, monitors]) table.forgetVm(vmId);
    },
    loadMirrors: () => mirrors.load(),
    saveMirrors: (changes) => {
      mirrors.save(changes);
    },

    loadMonitors: (part) => monitors.load(part),
    appendEvents: (events, lifecycles = [], changed = []) => {
      mirrors.saveLifecycles(lifecycles);
      monitors.save(changed);
      return log.append(events);
    },
    eventsAfter: (position, limit) => log.after(position, limit),
    eventsAt: (positions) => feeds.eventsAt(positions),
    event: (id) => log.withId(id),
    eventLog: () => log.state(),

    loadFeed: (sink) => feeds.load(sink),
    saveProgress: (progress) => {
      feeds.save(progress);
    },
    deadLetters: (sink, limit) => feeds.deadLetters(sink, limit),
    redeliver: (sink, eventIds, now) => feeds.redeliver(sink, eventIds, now),
    attemptsAt: (sink, limit) => feeds.attempts(sink, limit),
    removeFeed: (sink) => {
      feeds.remove(sink);
    },
    feedNames: () => feeds.names(),

    journal: (sink, since) => monitors.journal(sink, since),
    saveJournalEntry: (sink, entry) => {
      monitors.saveJournalEntry(sink, entry);
    },
    removeJournalEntry: (sink, eventId) => {
      monitors.removeJournalEntry(sink, eventId);
    },

    subscriptions: () => subscriptions.all(),
    saveSubscription: (subscription) => {
      subscriptions.save(subscription);
    },
    removeSubscription: (id) => subscriptions.remove(id),
    jobs: () => jobs.all(),
    saveJob: (job, events = []) => {
      jobs.save(job);
      log.append(events);
    },

    users: () => accounts.users(),
    saveUser: (user) => {
      accounts.saveUser(user);
    },
    removeUser: (name) => accounts.removeUser(name),
    tokens: () => accounts.tokens(),
    saveToken: (token) => {
      accounts.saveToken(token);
    },
    touchToken: (id, at) => accounts.touchToken(id, at),
    removeToken: (id) => accounts.removeToken(id),
    addAudit: (records) => {
      audit.add(records);
    },
    audit: (query) => audit.query(query),

    pruneVmAfter: (after, now) => pruneVmAfter(after, now, received, messages),
    pruneSomeAudit: (now) => audit.pruneSome(now),
    pruneSomeEvents: (now) => {
      monitors.prune(now);
      const [events, deadLetters] = [log.pruneSome(now), feeds.pruneSome(now)];
      return { more: events.more || deadLetters.more };
    },
  };
}

function keepReceived(
  message: ReceivedFromGuest,
  received: Received,
  messages: Messages,
  log: EventTable,
): Answers["keepReceived"] {
  const { vm, receivedAt } = message;
  if (!received.keep(message)) return { isNew: false, acknowledged: undefined };
  switch (message.kind) {
    case "event":
      log.append([guestEvent(vm, message.params, receivedAt)]);
      return { isNew: true, acknowledged: undefined };
    case "acknowledge":
      return { isNew: true, acknowledged: messages.acknowledge(vm.id, message.params, receivedAt) };
    case "report": {
      const event = bootstrapEvent(vm, message.params, receivedAt);
      if (event !== undefined) log.append([event]);
      return { isNew: true, acknowledged: undefined };
    }
    default:
      return unreachable(message);
  }
}

function pruneVmAfter(after: string, now: number, received: Received, messages: Messages): string | undefined {
  const [vmId] = [received.vmAfter(after), messages.vmAfter(after)].filter((id) => id !== undefined).sort(byBytes);
  if (vmId === undefined) return undefined;
  messages.pruneVm(vmId, now);
  received.pruneVm(vmId);
  return vmId;
}

/** As SQLite compares text. */
function byBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}
