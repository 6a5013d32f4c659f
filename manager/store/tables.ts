/** All operations on one database. */
import type { DatabaseSync } from "node:sqlite";
import { AccountTables } from "./accounts.ts";
import { AuditTable } from "./audit.ts";
import type { StoreLimits } from "./limits.ts";
import { Messages } from "./messages.ts";
import { Mirrors } from "./mirrors.ts";
import type { Answers, Operations } from "./operations.ts";
import { Received } from "./received.ts";
import type { SecretBox } from "./secret-box.ts";
import type { ReceivedFromGuest } from "./store.ts";

export function operationsOn(database: DatabaseSync, secrets: SecretBox, limits: StoreLimits): Operations {
  const messages = new Messages(database, secrets, limits);
  const received = new Received(database, limits);
  const mirrors = new Mirrors(database);
  const accounts = new AccountTables(database);
  const audit = new AuditTable(database, limits);
  return {
    keepMessages: (toKeep) => messages.keepAll(toKeep),
    nextMessage: (vmId, now) => messages.next(vmId, now),
    settle: (messageId, settlement, at) => messages.settle(messageId, settlement, at),
    expireSome: (now) => messages.expireSome(now),
    markRead: (vmId, messageIds, at) => messages.markRead(vmId, messageIds, at),
    receipt: (messageId) => messages.receipt(messageId),
    receiptsOf: (vmId, limit) => messages.receiptsOf(vmId, limit),
    pendingOf: (vmId) => messages.pendingOf(vmId),
    pendingCounts: () => messages.pendingCounts(),
    countsByState: () => messages.countsByState(),

    keepReceived: (message) => keepReceived(message, received, messages),
    receivedFrom: (vmId, limit) => received.from(vmId, limit),

    loadVms: () => mirrors.loadVms(),
    saveVms: (vms) => {
      mirrors.saveVms(vms);
    },
    forgetVm: (vmId) => {
      for (const table of [messages, received, mirrors]) table.forgetVm(vmId);
    },
    loadMirrors: () => mirrors.load(),
    saveMirrors: (changes) => {
      mirrors.save(changes);
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
  };
}

function keepReceived(message: ReceivedFromGuest, received: Received, messages: Messages): Answers["keepReceived"] {
  const isNew = received.keep(message);
  if (!isNew || message.kind !== "acknowledge") return { isNew, acknowledged: undefined };
  const acknowledged = messages.acknowledge(message.vm.id, message.params, message.receivedAt);
  return { isNew, acknowledged };
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
