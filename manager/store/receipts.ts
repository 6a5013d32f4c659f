/** A row of `messages` as the receipt it stands for. */
import type { ChangeMethod, MessageState, Receipt } from "../../shared/api/schemas.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";

export interface MessageRow {
  sequence: number;
  message_id: string;
  vm_id: string;
  vm_name: string;
  method: ChangeMethod;
  keys: string;
  sender: string;
  digest: Uint8Array;
  params: string | null;
  sealed_params: Uint8Array | null;
  queued_at: number;
  expires_at: number | null;
  /** When it was first handed to the VM. */
  begun_at: number | null;
  /** When it was first given to another manager that may or may not have it. */
  moving_at: number | null;
  /** Of the guest's cache, the revision when it was first handed to the VM or given away, or an earlier one. */
  begun_at_revision: number | null;
  settled_at: number | null;
  outcome: "delivered" | "refused" | "expired" | null;
  result: string | null;
  refusal: string | null;
  read_at: number | null;
  acknowledged_at: number | null;
  acknowledgement: string | null;
  state: MessageState;
}

export function receiptOf(row: MessageRow): Receipt {
  const isDelivered = row.outcome === "delivered";
  const isUnconfirmed = row.outcome === "expired" && (row.begun_at ?? row.moving_at) !== null;
  return {
    messageId: row.message_id,
    vm: { id: row.vm_id, name: row.vm_name },
    method: row.method,
    keys: JSON.parse(row.keys) as string[],
    state: row.state,
    by: row.sender,
    queuedAt: rfc3339(row.queued_at),
    ...optionalTime("expiresAt", row.expires_at),
    ...optionalTime(isDelivered ? "deliveredAt" : "endedAt", row.settled_at),
    ...(isUnconfirmed && { isUnconfirmed }),
    ...optionalTime("readAt", row.read_at),
    ...optionalTime("acknowledgedAt", row.acknowledged_at),
    ...optionalJson<Receipt, "result">("result", row.result),
    ...optionalJson<Receipt, "refusal">("refusal", row.refusal),
    ...optionalJson<Receipt, "acknowledgement">("acknowledgement", row.acknowledgement),
  };
}

function optionalTime<Name extends string>(name: Name, timeMs: number | null): Partial<Record<Name, string>> {
  return timeMs === null ? {} : ({ [name]: rfc3339(timeMs) } as Record<Name, string>);
}

function optionalJson<Shape, Name extends keyof Shape>(name: Name, json: string | null): Partial<Pick<Shape, Name>> {
  return json === null ? {} : ({ [name]: JSON.parse(json) as unknown } as Pick<Shape, Name>);
}
