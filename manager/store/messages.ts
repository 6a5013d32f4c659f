/** Messages to VMs: kept in order, delivered once, erased when settled; their receipts stay for a while. */
import { createHash } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { type ChangeMethod, type MessageState, messageStates, type Receipt } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Params } from "../../shared/protocol/message.ts";
import { keysOf } from "../delivery/keys-of.ts";
import { acknowledgedEvent, keptEvents, readEvent, settledEvent } from "../events/message-events.ts";
import { canonicalJson } from "./canonical-json.ts";
import type { EventTable } from "./events.ts";
import type { StoreLimits } from "./limits.ts";
import type { Answers } from "./operations.ts";
import { type MessageRow, receiptOf } from "./receipts.ts";
import type { SecretBox } from "./secret-box.ts";
import { Statement } from "./statement.ts";
import type { Change, Kept, MessageToKeep, Settlement, WaitingMessage } from "./store.ts";

/** Messages settled as expired in one request, so that others need not wait for thousands. */
const EXPIRED_AT_ONCE = 500;

/** One that was handed to the VM may still be answered for so long: an attempt takes less. */
const ANSWER_GRACE_MS = 30_000;

const ERASED = "params = NULL, sealed_params = NULL";

interface Usage {
  messages: number;
  bytes: number;
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

  #keep(message: MessageToKeep): Kept {
    const { messageId } = message.change.params;
    const digest = this.#digestOf(message);
    const known = this.#find(messageId);
    if (known !== undefined) {
      if (Buffer.compare(known.digest, digest) === 0) return { type: "known", receipt: receiptOf(known) };
      return { type: "conflict", message: `messageId ${messageId} was used before, for another change` };
    }
    const params = JSON.stringify(message.change.params);
    return this.#overLimit(message, Buffer.byteLength(params)) ?? this.#insert(message, params, digest);
  }

  /** The same for the same change to the same VM. Of a secret it tells nothing. */
  #digestOf({ vm, change: { method, params }, change }: MessageToKeep): Uint8Array {
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

  #insert({ vm, change, by, queuedAt, expiresAt }: MessageToKeep, params: string, digest: Uint8Array): Kept {
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
    });
    return { type: "new", receipt: receiptOf(expectRow(row, messageId)) };
  }

  /** Refuses on the way those whose secret cannot be decrypted: nothing could ever deliver them. */
  next(vmId: string, now: number): Answers["nextMessage"] {
    const refused: Receipt[] = [];
    for (;;) {
      const row = this.#statements.next.first({ vmId, now });
      if (row === undefined) return { next: undefined, refused };
      const next = this.#waitingMessage(row);
      if (next !== undefined) {
        // Durable before it is sent: from now on nobody can say that it was not done, until the guest has answered.
        if (row.begun_at === null) this.#statements.begin.run({ sequence: row.sequence, now });
        return { next, refused };
      }
      refused.push(this.settle(row.message_id, { type: "refused", refusal: KEY_IS_GONE }, now));
    }
  }

  #waitingMessage(row: MessageRow): WaitingMessage | undefined {
    const params = row.sealed_params === null ? row.params : this.#secrets.open(row.sealed_params, row.message_id);
    if (params === null || params === undefined) return undefined;
    return {
      messageId: row.message_id,
      change: { method: row.method, params: JSON.parse(params) as Params<ChangeMethod> } as Change,
      queuedAt: row.queued_at,
      expiresAt: row.expires_at ?? undefined,
    };
  }

  settle(messageId: string, settlement: Settlement, at: number): Receipt {
    const { result, refusal } = detailsOf(settlement);
    const settled = this.#statements.settle.first({ messageId, outcome: settlement.type, result, refusal, at });
    if (settled === undefined) return receiptOf(expectRow(this.#find(messageId), messageId));
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
  }

  /** The first VM after that id that has messages. */
  vmAfter(vmId: string): string | undefined {
    return this.#statements.vmAfter.first({ vmId })?.vm_id ?? undefined;
  }

  pruneVm(vmId: string, now: number): void {
    this.#statements.pruneOld.run({ vmId, before: now - this.#limits.receiptAgeMs });
    this.#statements.pruneMany.run({ vmId, kept: this.#limits.receiptsPerVm });
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
    "queued_at, expires_at, begun_at, settled_at, outcome, result, refusal, read_at, acknowledged_at, acknowledgement";
  const all = `${columns}, ${times}, state`;
  return {
    find: rows(`SELECT ${all} FROM messages WHERE message_id = :messageId`),
    insert: rows(
      `INSERT INTO messages (message_id, vm_id, vm_name, method, keys, sender, digest, params, sealed_params, bytes,
         queued_at, expires_at)
       VALUES (:messageId, :vmId, :vmName, :method, :keys, :sender, :digest, :params, :sealedParams, :bytes,
         :queuedAt, :expiresAt)
       RETURNING ${all}`,
    ),
    next: rows(
      `SELECT ${all} FROM messages
       WHERE vm_id = :vmId AND settled_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
       ORDER BY sequence LIMIT 1`,
    ),
    begin: new Statement(database, "UPDATE messages SET begun_at = :now WHERE sequence = :sequence"),
    settle: rows(
      `UPDATE messages SET settled_at = :at, outcome = :outcome, result = :result, refusal = :refusal, ${ERASED}
       WHERE message_id = :messageId AND settled_at IS NULL RETURNING ${all}`,
    ),
    expire: rows(
      `UPDATE messages SET settled_at = :now, ${ERASED},
         outcome = CASE WHEN read_at IS NULL AND acknowledged_at IS NULL THEN 'expired' ELSE 'delivered' END
       WHERE sequence IN (
         SELECT sequence FROM messages
         WHERE settled_at IS NULL AND expires_at <= :now AND (begun_at IS NULL OR expires_at <= :unanswered) LIMIT :limit
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
       WHERE vm_id = :vmId AND settled_at IS NULL ORDER BY sequence`,
    ),
    usageOfVm: new Statement<Usage>(database, "SELECT messages, bytes FROM pending WHERE vm_id = :vmId"),
    usage: new Statement<Usage>(database, "SELECT messages, bytes FROM pending_total"),
    pendingCounts: new Statement<{ vm_id: string; messages: number }>(database, "SELECT vm_id, messages FROM pending"),
    states: new Statement<{ state: MessageState; messages: number }>(
      database,
      "SELECT state, messages FROM message_states",
    ),
    forget: new Statement(database, "DELETE FROM messages WHERE vm_id = :vmId"),
    vmAfter: new Statement<{ vm_id: string | null }>(
      database,
      "SELECT min(vm_id) AS vm_id FROM messages WHERE vm_id > :vmId",
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
