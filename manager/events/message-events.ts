/**
 * The events that follow from what becomes of a message, made from its receipt as it is then: names and results, and
 * nothing of the values that it carries.
 */
import type { MessageState, Receipt, VmRef } from "../../shared/api/schemas.ts";
import type { EventType } from "../../shared/event-types.ts";
import type { Params } from "../../shared/protocol/message.ts";
import { type NewEvent, vmEvent } from "./event.ts";

/** It was accepted: somebody sent it, and it waits. */
export function keptEvents(receipt: Receipt): NewEvent[] {
  const time = Date.parse(receipt.queuedAt);
  const data = dataOf(receipt);
  return [
    vmEvent("MESSAGE.SEND", receipt.vm, time, { data }),
    vmEvent("MESSAGE.QUEUED", receipt.vm, time, { newState: receipt.state, data }),
  ];
}

/** It waited at another manager, on the machine `movedFrom`, and waits here now. Nobody sent it a second time. */
export function movedHereEvent(receipt: Receipt, movedFrom: string, at: number): NewEvent {
  return vmEvent("MESSAGE.QUEUED", receipt.vm, at, {
    newState: receipt.state,
    data: { ...dataOf(receipt), movedFrom },
  });
}

/** It waits here no more, but at the manager on the machine `movedTo`, which tells what becomes of it. */
export function movedAwayEvent(receipt: Receipt, movedTo: string, at: number): NewEvent {
  const data = { ...dataOf(receipt), movedTo };
  return vmEvent("MESSAGE.MOVED", receipt.vm, at, { oldState: receipt.state, newState: "moved", data });
}

/** It was delivered, refused, or waited too long. A program may have read it before its guest's answer came. */
export function settledEvent(receipt: Receipt): NewEvent {
  const before = stateOf({ ...receipt, state: "queued", deliveredAt: undefined });
  return stateEvent(settledType(receipt), receipt, before, receipt.deliveredAt ?? receipt.endedAt);
}

/** A program in the guest fetched what it set. */
export function readEvent(receipt: Receipt): NewEvent {
  return stateEvent("MESSAGE.READ", receipt, stateOf({ ...receipt, readAt: undefined }), receipt.readAt);
}

/** A program in the guest acknowledged it. */
export function acknowledgedEvent(receipt: Receipt): NewEvent {
  const before = stateOf({ ...receipt, acknowledgedAt: undefined });
  return stateEvent("MESSAGE.ACKNOWLEDGED", receipt, before, receipt.acknowledgedAt);
}

/** What a program in the guest said: its data is a member of its own, so that it cannot pass for one of ours. */
export function guestEvent(vm: VmRef, { event, messageId, data }: Params<"event">, receivedAt: number): NewEvent {
  return vmEvent(`GUEST.${event}`, vm, receivedAt, { data: { messageId, ...(data !== undefined && { data }) } });
}

function stateEvent(type: EventType, receipt: Receipt, oldState: MessageState, at: string | undefined): NewEvent {
  const time = Date.parse(at ?? receipt.queuedAt);
  return vmEvent(type, receipt.vm, time, { oldState, newState: receipt.state, data: dataOf(receipt) });
}

function settledType({ state }: Receipt): EventType {
  switch (state) {
    case "refused":
      return "MESSAGE.REFUSED";
    case "expired":
      return "MESSAGE.EXPIRED";
    default:
      return "MESSAGE.DELIVERED";
  }
}

/** As the store derives it: the guest's answer decides when it is no, else the farthest that it came. */
function stateOf({ state, acknowledgedAt, readAt, deliveredAt }: Receipt): MessageState {
  if (state === "refused" || state === "expired") return state;
  if (acknowledgedAt !== undefined) return "acknowledged";
  if (readAt !== undefined) return "read";
  return deliveredAt === undefined ? "queued" : "delivered";
}

function dataOf({ messageId, method, keys, by, refusal, isUnconfirmed, acknowledgement }: Receipt): NewEvent["data"] {
  return {
    messageId,
    method,
    keys,
    by,
    ...(refusal !== undefined && { refusal: { code: refusal.code, message: refusal.message } }),
    ...(isUnconfirmed === true && { isUnconfirmed }),
    ...(acknowledgement !== undefined && { acknowledgement }),
  };
}
