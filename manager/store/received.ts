/** Messages from guests, each kept once. A guest can send as many as it likes: only its newest stay. */
import type { DatabaseSync } from "node:sqlite";
import type { ReceivedMessage } from "../../shared/api/schemas.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Params } from "../../shared/protocol/message.ts";
import type { StoreLimits } from "./limits.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { Statement } from "./statement.ts";
import type { ReceivedFromGuest } from "./store.ts";

/** A VM's oldest are dropped when it sent this many more, on average: at each one it would cost more than keeping it. */
const TRIM_EVERY = 32;

interface ReceivedRow {
  vm_id: string;
  vm_name: string;
  message_id: string;
  kind: ReceivedFromGuest["kind"];
  received_at: number;
  params: string;
}

export class Received {
  readonly #limits: StoreLimits;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(database: DatabaseSync, limits: StoreLimits) {
    this.#limits = limits;
    this.#statements = prepare(database);
  }

  /** False when it was kept before. */
  keep({ vm, kind, messageId, receivedAt, params }: ReceivedFromGuest): boolean {
    const json = JSON.stringify({ ...params, messageId: undefined });
    const row = this.#statements.insert.first({
      vmId: vm.id,
      vmName: vm.name,
      messageId,
      kind,
      receivedAt,
      params: json,
      bytes: Buffer.byteLength(json),
    });
    if (row === undefined) return false;
    if (row.sequence % TRIM_EVERY === 0) this.pruneVm(vm.id);
    return true;
  }

  from(vmId: string, limit: number): ReceivedMessage[] {
    return this.#statements.fromVm.all({ vmId, limit }).map(receivedMessage);
  }

  forgetVm(vmId: string): void {
    this.#statements.forget.run({ vmId });
  }

  vmAfter(vmId: string): string | undefined {
    return this.#statements.vmAfter.first({ vmId })?.vm_id ?? undefined;
  }

  pruneVm(vmId: string): void {
    this.#statements.prune.run({ vmId, kept: this.#limits.receivedPerVm, bytes: this.#limits.receivedBytesPerVm });
  }
}

function prepare(database: DatabaseSync) {
  return {
    insert: new Statement<{ sequence: number }>(
      database,
      `INSERT INTO received (vm_id, vm_name, message_id, kind, received_at, params, bytes)
       VALUES (:vmId, :vmName, :messageId, :kind, :receivedAt, :params, :bytes)
       ON CONFLICT (vm_id, message_id) DO NOTHING RETURNING sequence`,
    ),
    fromVm: new Statement<ReceivedRow>(
      database,
      `SELECT vm_id, vm_name, message_id, kind, received_at, params FROM received
       WHERE vm_id = :vmId ORDER BY sequence DESC LIMIT :limit`,
    ),
    forget: new Statement(database, "DELETE FROM received WHERE vm_id = :vmId"),
    vmAfter: new Statement<{ vm_id: string | null }>(
      database,
      "SELECT min(vm_id) AS vm_id FROM received WHERE vm_id > :vmId",
    ),
    prune: new Statement(
      database,
      `DELETE FROM received WHERE vm_id = :vmId AND sequence <= (
         SELECT max(sequence) FROM (
           SELECT sequence, row_number() OVER newest AS place, sum(bytes) OVER newest AS bytes_so_far
           FROM received WHERE vm_id = :vmId WINDOW newest AS (ORDER BY sequence DESC)
         ) WHERE place > :kept OR bytes_so_far > :bytes
       )`,
    ),
  };
}

function receivedMessage(row: ReceivedRow): ReceivedMessage {
  return {
    vm: { id: row.vm_id, name: row.vm_name },
    kind: row.kind,
    receivedAt: rfc3339(row.received_at),
    messageId: row.message_id,
    ...contents(row),
  };
}

function contents({ kind, params }: ReceivedRow): Partial<ReceivedMessage> {
  switch (kind) {
    case "event": {
      const { event, data } = JSON.parse(params) as Params<"event">;
      return { name: event, ...(data === undefined ? {} : { data }) };
    }
    case "acknowledge":
    case "report":
      // Their members are named as the API names them.
      return JSON.parse(params) as Partial<ReceivedMessage>;
    default:
      return unreachable(kind);
  }
}
