/** Messages to VMs: kept in order, delivered once, erased when settled; their receipts stay for a while. */
import { createHash } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import {
  type ChangeMethod,
  type MessageState,
  messageStates,
  type Receipt,
  type VmRef,
} from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Params } from "../../shared/protocol/message.ts";
import { keysOf } from "../delivery/keys-of.ts";
import {
  acknowledgedEvent,
  keptEvents,
  movedAwayEvent,
  movedHereEvent,
  readEvent,
  settledEvent,
} from "../events/message-events.ts";
import { canonicalJson } from "./canonical-json.ts";
import type { EventTable } from "./events.ts";
import type { StoreLimits } from "./limits.ts";
import type { Answers } from "./operations.ts";
import { type MessageRow, receiptOf } from "./receipts.ts";
import type { SecretBox } from "./secret-box.ts";
import { Statement } from "./statement.ts";
import type {
  Change,
  GivenMessage,
  Kept,
  MessageToKeep,
  MovedMessage,
  MoveBounds,
  MoveRefusal,
  Settlement,
  WaitingMessage,
} from "./store.ts";

/** Messages settled as expired in one request, so that others need not wait for thousands. */
const EXPIRED_AT_ONCE = 500;

/** One that was handed to the VM, or to another manager, may still be answered for so long: an attempt takes less. */
const ANSWER_GRACE_MS = 30_000;

const ERASED = "params = NULL, sealed_params = NULL";

interface Usage {
  messages: number;
  bytes: number;
}

/** Of a message that waited at another manager. */
interface Past {
  begunAt: number | undefined;
  begunAtRevision: number | undefined;
  /** Its place among those that wait for the VM. */
  orderedAt: number;
}

export interface MessagesOptions {
  secrets: SecretBox;
  limits: StoreLimits;
  /** Is told of each change of a message's state. */
  log: EventTable;
}

export class Messages {
  readonly #secrets: SecretBox;
  readonly #limits: StoreLimits;
  readonly #log: EventTable;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, { secrets, limits, log }: MessagesOptions) {
    this.#secrets = secrets;
    this.#limits = limits;
    this.#log = log;
    this.#statements = prepare(database);
  }

  keepAll(messages: readonly MessageToKeep[]): Kept[] {
    const kept = messages.map((message) => this.#keep(message));
    this.#log.append(kept.flatMap((one) => (one.type === "new" ? keptEvents(one.receipt) : [])));
    return kept;
  }

  #keep(message: MessageToKeep, past?: Past): Kept {
    const { messageId } = message.change.params;
    const digest = this.#digestOf(message);
    const known = this.#find(messageId);
    if (known !== undefined) {
      if (Buffer.compare(known.digest, digest) === 0) return { type: "known", receipt: receiptOf(known) };
      return usedBefore(messageId);
    }
    const refusal = past === undefined ? this.#movedBefore(messageId, digest) : undefined;
    if (refusal !== undefined) return refusal;
    const params = JSON.stringify(message.change.params);
    return this.#overLimit(message, Buffer.byteLength(params)) ?? this.#insert(message, params, digest, past);
  }

  /** That another manager has it means that it waits there or was settled there. */
  #movedBefore(messageId: string, digest: Uint8Array): Kept | undefined {
    const moved = this.#statements.movedTo.first({ messageId });
    if (moved === undefined) return undefined;
    if (Buffer.compare(moved.digest, digest) !== 0) return usedBefore(messageId);
    const message = `messageId ${messageId} went to the manager on ${moved.moved_to} with this VM; its receipt says what became of it`;
    return { type: "unconfirmed", message };
  }

  /** The same for the same change to the same VM. Of a secret it tells nothing. */
  #digestOf({ vm, change: { method, params }, change }: Pick<MessageToKeep, "vm" | "change">): Uint8Array {
    const text = canonicalJson([vm.id, method, params]);
    return holdsSecret(change) ? this.#secrets.digest(text) : createHash("sha256").update(text).digest();
  }

  #overLimit({ vm }: MessageToKeep, bytes: number): Kept | undefined {
    const { pendingPerVm, pendingBytesPerVm, pendingTotal, pendingBytesTotal } = this.#limits;
    const ofVm = this.#statements.usageOfVm.first({ vmId: vm.id }) ?? { messages: 0, bytes: 0 };
    const total = this.#statements.usage.first() ?? { messages: 0, bytes: 0 };
    if (ofVm.messages >= pendingPerVm) return overLimit(`for VM ${vm.name}`, "messages", pendingPerVm);
    if (ofVm.bytes + bytes > pendingBytesPerVm) return overLimit(`for VM ${vm.name}`, "bytes", pendingBytesPerVm);
    if (total.messages >= pendingTotal) return overLimit("for all VMs", "messages", pendingTotal);
    if (total.bytes + bytes > pendingBytesTotal) return overLimit("for all VMs", "bytes", pendingBytesTotal);
    return undefined;
  }

  #insert(
    { vm, change, by, queuedAt, expiresAt }: MessageToKeep,
    params: string,
    digest: Uint8Array,
    past: Past | undefined,
  ): Kept {
    const { messageId } = change.params;
    const isSecret = holdsSecret(change);
    const row = this.#statements.insert.first({
      messageId,
      vmId: vm.id,
      vmName: vm.name,
      method: change.method,
      keys: JSON.stringify(keysOf(change)),
      sender: by,
      digest,
      params: isSecret ? undefined : params,
      sealedParams: isSecret ? this.#secrets.seal(params, messageId) : undefined,
      bytes: Buffer.byteLength(params),
      queuedAt,
      expiresAt,
      begunAt: past?.begunAt,
      begunAtRevision: past?.begunAt === undefined ? undefined : (past.begunAtRevision ?? 0),
      orderedAt: past?.orderedAt,
    });
    this.#statements.cameBack.run({ messageId });
    return { type: "new", receipt: receiptOf(expectRow(row, messageId)) };
  }

  /** Refuses on the way those whose secret cannot be decrypted: nothing could ever deliver them. */
  next(vmId: string, revision: number, now: number): Answers["nextMessage"] {
    const settled: Receipt[] = [];
    for (;;) {
      const row = this.#statements.next.first({ vmId, now });
      if (row === undefined) return { next: undefined, settled };
      const next = this.#waitingMessage(row);
      if (next !== undefined) {
        // Durable before it is sent: from now on nobody can say that it was not done, until the guest has answered.
        if (row.begun_at === null || revision < (row.begun_at_revision ?? 0)) {
          this.#statements.begin.run({ sequence: row.sequence, now, revision });
        }
        return { next, settled };
      }
      settled.push(...this.#refuseUnreadable(row, now));
    }
  }

  settleForgotten(messageId: string, answersSince: number, at: number): Receipt | undefined {
    const row = this.#statements.settleForgotten.first({ messageId, answersSince, at });
    if (row === undefined) return undefined;
    const receipt = receiptOf(row);
    this.#log.append([settledEvent(receipt)]);
    return receipt;
  }

  #refuseUnreadable({ message_id }: MessageRow, at: number): Receipt[] {
    const receipt = this.settle(message_id, { type: "refused", refusal: KEY_IS_GONE }, at);
    return receipt === undefined ? [] : [receipt];
  }

  #waitingMessage(row: MessageRow): WaitingMessage | undefined {
    const params = row.sealed_params === null ? row.params : this.#secrets.open(row.sealed_params, row.message_id);
    if (params === null || params === undefined) return undefined;
    return {
      messageId: row.message_id,
      change: { method: row.method, params: JSON.parse(params) as Params<ChangeMethod> } as Change,
      queuedAt: row.queued_at,
      expiresAt: row.expires_at ?? undefined,
      mayBeDone: (row.begun_at ?? row.moving_at) !== null,
    };
  }

  toMove(vmId: string, { messages: limit, bytes: maxBytes }: MoveBounds, at: number): Answers["messagesToMove"] {
    const settled = inOrder(this.#statements.settleSeen.all({ vmId, at })).map(receiptOf);
    this.#log.append(settled.map(settledEvent));
    const messages: MovedMessage[] = [];
    let bytes = 0;
    for (const row of this.#statements.toMove.all({ vmId, now: at, limit })) {
      bytes += row.bytes;
      if (messages.length > 0 && bytes > maxBytes) break;
      const message = this.#movedMessage(row);
      if (message === undefined) {
        settled.push(...this.#refuseUnreadable(row, at));
        continue;
      }
      if (row.moving_at === null) this.#statements.startMoving.run({ sequence: row.sequence, at });
      messages.push(message);
    }
    return { messages, settled };
  }

  #movedMessage(row: MessageRow): MovedMessage | undefined {
    const waiting = this.#waitingMessage(row);
    if (waiting === undefined) return undefined;
    const { change, queuedAt, expiresAt } = waiting;
    // Another manager that may have it may have handed it to the VM, too.
    const begunAt = row.begun_at ?? row.moving_at ?? undefined;
    const begunAtRevision = begunAt === undefined ? undefined : (row.begun_at_revision ?? undefined);
    return { change, by: row.sender, queuedAt, expiresAt, begunAt, begunAtRevision };
  }

  /** One that an earlier attempt may have moved stays in doubt. */
  notMoved(messageIds: readonly string[], at: number): void {
    for (const messageId of messageIds) this.#statements.stopMoving.run({ messageId, at });
  }

  known(vm: VmRef, changes: readonly Change[]): (Receipt | undefined)[] {
    return changes.map((change) => {
      const row = this.#find(change.params.messageId);
      const isSame = row !== undefined && Buffer.compare(row.digest, this.#digestOf({ vm, change })) === 0;
      return isSame ? receiptOf(row) : undefined;
    });
  }

  keepMoved(vm: VmRef, messages: readonly MovedMessage[], from: string, at: number): Kept[] {
    let orderedAt = 0;
    const kept = messages.map(({ begunAt, begunAtRevision, expiresAt, ...message }) => {
      // In the order of the batch, wherever the other machine's clock was set back.
      orderedAt = Math.max(orderedAt, message.queuedAt);
      return this.#keep({ vm, expiresAt, ...message }, { begunAt, begunAtRevision, orderedAt });
    });
    this.#log.append(kept.flatMap((one) => (one.type === "new" ? [movedHereEvent(one.receipt, from, at)] : [])));
    return kept;
  }

  dropMoved(vmId: string, messages: readonly GivenMessage[], to: string, at: number): number {
    const dropped = messages.flatMap(({ messageId, begunAt }) => {
      return this.#statements.dropMoved.first({ vmId, messageId, begunAt }) ?? [];
    });
    for (const { message_id: messageId, digest } of dropped) {
      this.#statements.rememberMoved.run({ messageId, vmId, digest, to, at });
    }
    this.#log.append(dropped.map((row) => movedAwayEvent(receiptOf(row), to, at)));
    return dropped.length;
  }

  refuseMoved(vmId: string, refusals: readonly MoveRefusal[], at: number): Receipt[] {
    const refused = refusals.flatMap(({ messageId, begunAt, refusal }) => {
      const outcome = begunAt === undefined ? "refused" : "expired";
      const row = { vmId, messageId, begunAt, outcome, refusal: JSON.stringify(refusal), at };
      return this.#statements.refuseMoved.first(row) ?? [];
    });
    const receipts = refused.map(receiptOf);
    this.#log.append(receipts.map(settledEvent));
    return receipts;
  }

  settle(messageId: string, settlement: Settlement, at: number): Receipt | undefined {
    const { result, refusal } = detailsOf(settlement);
    const settled = this.#statements.settle.first({ messageId, outcome: settlement.type, result, refusal, at });
    if (settled === undefined) return undefined;
    const receipt = receiptOf(settled);
    this.#log.append([settledEvent(receipt)]);
    return receipt;
  }

  expireSome(now: number): Answers["expireSome"] {
    const rows = this.#statements.expire.all({ now, unanswered: now - ANSWER_GRACE_MS, limit: EXPIRED_AT_ONCE });
    const expired = inOrder(rows).map(receiptOf);
    this.#log.append(expired.map(settledEvent));
    return { expired, more: rows.length === EXPIRED_AT_ONCE };
  }

  markRead(vmId: string, messageIds: readonly string[], at: number): Receipt[] {
    const receipts = messageIds.flatMap((messageId) => {
      const row = this.#statements.markRead.first({ vmId, messageId, at });
      return row === undefined ? [] : [receiptOf(row)];
    });
    this.#log.append(receipts.map(readEvent));
    return receipts;
  }

  /** Undefined when that VM has no such message, or it was acknowledged before. */
  acknowledge(vmId: string, { of, key, result }: Params<"acknowledge">, at: number): Receipt | undefined {
    const acknowledgement = JSON.stringify({ key, result });
    const row = this.#statements.acknowledge.first({ vmId, messageId: of, acknowledgement, at });
    if (row === undefined) return undefined;
    const receipt = receiptOf(row);
    this.#log.append([acknowledgedEvent(receipt)]);
    return receipt;
  }

  receipt(messageId: string): Receipt | undefined {
    const row = this.#find(messageId);
    return row === undefined ? undefined : receiptOf(row);
  }

  receiptsOf(vmId: string, limit: number): Receipt[] {
    return this.#statements.ofVm.all({ vmId, limit }).map(receiptOf);
  }

  pendingOf(vmId: string): Answers["pendingOf"] {
    return this.#statements.pendingOfVm.all({ vmId }).map(({ message_id, method, keys, queued_at }) => {
      return { messageId: message_id, method, keys: JSON.parse(keys) as string[], queuedAt: queued_at };
    });
  }

  pendingCounts(): Record<string, number> {
    return Object.fromEntries(this.#statements.pendingCounts.all().map(({ vm_id, messages }) => [vm_id, messages]));
  }

  countsByState(): Record<MessageState, number> {
    const counts = new Map(this.#statements.states.all().map(({ state, messages }) => [state, messages]));
    const all = messageStates.map((state) => [state, counts.get(state) ?? 0] as const);
    return Object.fromEntries(all) as Record<MessageState, number>;
  }

  forgetVm(vmId: string): void {
    this.#statements.forget.run({ vmId });
    this.#statements.forgetMoved.run({ vmId });
  }

  /** The first VM after that id that has messages, or had some that were moved. */
  vmAfter(vmId: string): string | undefined {
    return this.#statements.vmAfter.first({ vmId })?.vm_id ?? undefined;
  }

  pruneVm(vmId: string, now: number): void {
    this.#statements.pruneOld.run({ vmId, before: now - this.#limits.receiptAgeMs });
    this.#statements.pruneMany.run({ vmId, kept: this.#limits.receiptsPerVm });
    this.#statements.pruneMovedOld.run({ vmId, before: now - this.#limits.receiptAgeMs });
    this.#statements.pruneMovedMany.run({ vmId, kept: this.#limits.receiptsPerVm });
  }

  #find(messageId: string): MessageRow | undefined {
    return this.#statements.find.first({ messageId });
  }
}

const KEY_IS_GONE: NonNullable<Receipt["refusal"]> = {
  code: "failed",
  message: "its secret cannot be decrypted: the manager's secrets.key was lost or replaced since; send it again",
};

function prepare(database: DatabaseSync) {
  const rows = (sql: string) => new Statement<MessageRow>(database, sql);
  const columns = "sequence, message_id, vm_id, vm_name, method, keys, sender, digest, params, sealed_params";
  const times =
    "queued_at, expires_at, begun_at, moving_at, begun_at_revision, settled_at, outcome, result, refusal, read_at, acknowledged_at, acknowledgement";
  const all = `${columns}, ${times}, state`;
  const outcomeWithoutAnswer =
    "CASE WHEN read_at IS NULL AND acknowledged_at IS NULL THEN 'expired' ELSE 'delivered' END";
  // Behind all that wait for the VM, though the clock was set back, or that of a manager where one came from is ahead.
  const latest = "SELECT coalesce(max(ordered_at), 0) FROM messages WHERE vm_id = :vmId AND settled_at IS NULL";
  return {
    find: rows(`SELECT ${all} FROM messages WHERE message_id = :messageId`),
    insert: rows(
      `INSERT INTO messages (message_id, vm_id, vm_name, method, keys, sender, digest, params, sealed_params, bytes,
         queued_at, expires_at, begun_at, begun_at_revision, ordered_at)
       VALUES (:messageId, :vmId, :vmName, :method, :keys, :sender, :digest, :params, :sealedParams, :bytes,
         :queuedAt, :expiresAt, :begunAt, :begunAtRevision, coalesce(:orderedAt, max(:queuedAt, (${latest}))))
       RETURNING ${all}`,
    ),
    next: rows(
      `SELECT ${all} FROM messages
       WHERE vm_id = :vmId AND settled_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
       ORDER BY ordered_at, sequence LIMIT 1`,
    ),
    toMove: new Statement<MessageRow & { bytes: number }>(
      database,
      `SELECT ${all}, bytes FROM messages
       WHERE vm_id = :vmId AND settled_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
       ORDER BY ordered_at, sequence LIMIT :limit`,
    ),
    settleSeen: rows(
      `UPDATE messages SET settled_at = :at, outcome = 'delivered', ${ERASED}
       WHERE vm_id = :vmId AND settled_at IS NULL AND (read_at IS NOT NULL OR acknowledged_at IS NOT NULL)
       RETURNING ${all}`,
    ),
    startMoving: new Statement(
      database,
      `UPDATE messages SET moving_at = :at,
         begun_at_revision = min(
           coalesce(begun_at_revision, 9223372036854775807),
           coalesce((SELECT revision FROM mirrors WHERE mirrors.vm_id = messages.vm_id), 0)
         )
       WHERE sequence = :sequence`,
    ),
    stopMoving: new Statement(
      database,
      `UPDATE messages SET moving_at = NULL,
         begun_at_revision = CASE WHEN begun_at IS NULL THEN NULL ELSE begun_at_revision END
       WHERE message_id = :messageId AND moving_at = :at AND settled_at IS NULL`,
    ),
    dropMoved: rows(
      `DELETE FROM messages
       WHERE message_id = :messageId AND vm_id = :vmId AND settled_at IS NULL
         AND (begun_at IS NULL OR begun_at IS :begunAt)
       RETURNING ${all}`,
    ),
    refuseMoved: rows(
      `UPDATE messages SET settled_at = :at, outcome = :outcome, refusal = :refusal, ${ERASED}
       WHERE message_id = :messageId AND vm_id = :vmId AND settled_at IS NULL
         AND (begun_at IS NULL OR begun_at IS :begunAt)
       RETURNING ${all}`,
    ),
    rememberMoved: new Statement(
      database,
      "INSERT OR REPLACE INTO moved_messages VALUES (:messageId, :vmId, :digest, :to, :at)",
    ),
    movedTo: new Statement<{ digest: Uint8Array; moved_to: string }>(
      database,
      "SELECT digest, moved_to FROM moved_messages WHERE message_id = :messageId",
    ),
    cameBack: new Statement(database, "DELETE FROM moved_messages WHERE message_id = :messageId"),
    // After the machine went back in time the same message meets a lower revision.
    begin: new Statement(
      database,
      `UPDATE messages SET begun_at = coalesce(begun_at, :now),
         begun_at_revision = min(coalesce(begun_at_revision, :revision), :revision)
       WHERE sequence = :sequence`,
    ),
    settle: rows(
      `UPDATE messages SET settled_at = :at, outcome = :outcome, result = :result, refusal = :refusal, ${ERASED}
       WHERE message_id = :messageId AND settled_at IS NULL RETURNING ${all}`,
    ),
    settleForgotten: rows(
      `UPDATE messages SET settled_at = :at, ${ERASED}, outcome = ${outcomeWithoutAnswer}
       WHERE message_id = :messageId AND settled_at IS NULL
         AND :answersSince > 0 AND :answersSince >= coalesce(begun_at_revision, 0)
       RETURNING ${all}`,
    ),
    expire: rows(
      `UPDATE messages SET settled_at = :now, ${ERASED}, outcome = ${outcomeWithoutAnswer}
       WHERE sequence IN (
         SELECT sequence FROM messages
         WHERE settled_at IS NULL AND expires_at <= :now
           AND ((begun_at IS NULL AND moving_at IS NULL) OR expires_at <= :unanswered)
         LIMIT :limit
       )
       RETURNING ${all}`,
    ),
    markRead: rows(
      `UPDATE messages SET read_at = :at
       WHERE message_id = :messageId AND vm_id = :vmId AND read_at IS NULL RETURNING ${all}`,
    ),
    acknowledge: rows(
      `UPDATE messages SET acknowledged_at = :at, acknowledgement = :acknowledgement
       WHERE message_id = :messageId AND vm_id = :vmId AND acknowledged_at IS NULL RETURNING ${all}`,
    ),
    ofVm: rows(`SELECT ${all} FROM messages WHERE vm_id = :vmId ORDER BY sequence DESC LIMIT :limit`),
    pendingOfVm: new Statement<Pick<MessageRow, "message_id" | "method" | "keys" | "queued_at">>(
      database,
      `SELECT message_id, method, keys, queued_at FROM messages
       WHERE vm_id = :vmId AND settled_at IS NULL ORDER BY ordered_at, sequence`,
    ),
    usageOfVm: new Statement<Usage>(database, "SELECT messages, bytes FROM pending WHERE vm_id = :vmId"),
    usage: new Statement<Usage>(database, "SELECT messages, bytes FROM pending_total"),
    pendingCounts: new Statement<{ vm_id: string; messages: number }>(database, "SELECT vm_id, messages FROM pending"),
    states: new Statement<{ state: MessageState; messages: number }>(
      database,
      "SELECT state, messages FROM message_states",
    ),
    forget: new Statement(database, "DELETE FROM messages WHERE vm_id = :vmId"),
    forgetMoved: new Statement(database, "DELETE FROM moved_messages WHERE vm_id = :vmId"),
    pruneMovedOld: new Statement(database, "DELETE FROM moved_messages WHERE vm_id = :vmId AND moved_at < :before"),
    pruneMovedMany: new Statement(
      database,
      `DELETE FROM moved_messages WHERE message_id IN (
         SELECT message_id FROM moved_messages WHERE vm_id = :vmId ORDER BY moved_at DESC LIMIT -1 OFFSET :kept
       )`,
    ),
    vmAfter: new Statement<{ vm_id: string | null }>(
      database,
      `SELECT min(vm_id) AS vm_id FROM (
         SELECT min(vm_id) AS vm_id FROM messages WHERE vm_id > :vmId
         UNION ALL SELECT min(vm_id) FROM moved_messages WHERE vm_id > :vmId
       )`,
    ),
    pruneOld: new Statement(database, "DELETE FROM messages WHERE vm_id = :vmId AND settled_at < :before"),
    pruneMany: new Statement(
      database,
      `DELETE FROM messages WHERE sequence IN (
         SELECT sequence FROM messages WHERE vm_id = :vmId AND settled_at IS NOT NULL
         ORDER BY sequence DESC LIMIT -1 OFFSET :kept
       )`,
    ),
  };
}

function holdsSecret(change: Change): boolean {
  return change.method === "set" && change.params.entries.some(({ secret }) => secret === true);
}

function usedBefore(messageId: string): Kept {
  return { type: "conflict", message: `messageId ${messageId} was used before, for another change` };
}

function overLimit(whose: string, unit: "messages" | "bytes", limit: number): Kept {
  const message = `${limit} ${unit} may wait ${whose}, and no more; nothing was kept`;
  return { type: "over-limit", message, limit };
}

function detailsOf(settlement: Settlement): { result?: string; refusal?: string } {
  switch (settlement.type) {
    case "delivered":
      return { result: JSON.stringify(settlement.result) };
    case "refused":
      return { refusal: JSON.stringify(settlement.refusal) };
    case "expired":
      return {};
    default:
      return unreachable(settlement);
  }
}

function expectRow(row: MessageRow | undefined, messageId: string): MessageRow {
  if (row === undefined) throw new CommandError("failed", `no message ${messageId} is known`);
  return row;
}

/** RETURNING gives rows in no certain order. */
function inOrder(rows: MessageRow[]): MessageRow[] {
  return rows.sort((one, other) => one.sequence - other.sequence);
}
