/**
 * The events of a guest that configures itself from its keys, made from its reports (shared/bootstrap.ts). They are the
 * guest's word, which proves nothing: of what it says, only the members of the schemas are told.
 */
import type { VmRef } from "../../shared/api/schemas.ts";
import { type BootstrapMessage, bootstrapMessages } from "../../shared/bootstrap.ts";
import type { EventType } from "../../shared/event-types.ts";
import type { Params } from "../../shared/protocol/message.ts";
import { type NewEvent, vmEvent } from "./event.ts";

/** Undefined for a report of something else, and for one that its schema refuses. */
export function bootstrapEvent(
  vm: VmRef,
  { name, data }: Pick<Params<"report">, "name" | "data">,
  receivedAt: number,
): NewEvent | undefined {
  switch (name) {
    case "bootstrap.started": {
      const started = bootstrapMessages[name].safeParse(data);
      return started.success ? guestsEvent("BOOTSTRAP.STARTED", vm, receivedAt, started.data) : undefined;
    }
    case "bootstrap.module": {
      const ended = bootstrapMessages[name].safeParse(data);
      return ended.success ? guestsEvent("BOOTSTRAP.MODULE", vm, receivedAt, ended.data) : undefined;
    }
    case "bootstrap.ended": {
      const ended = bootstrapMessages[name].safeParse(data);
      return ended.success ? endedEvent(vm, receivedAt, ended.data) : undefined;
    }
    default:
      return undefined;
  }
}

function endedEvent(vm: VmRef, receivedAt: number, ended: BootstrapMessage<"bootstrap.ended">): NewEvent {
  // Whatever the guest makes of it, a run of which a module failed has failed.
  const isSuccess = ended.outcome === "ok" && ended.modules.every(({ outcome }) => outcome !== "error");
  const type = isSuccess ? "BOOTSTRAP.SUCCEEDED" : "BOOTSTRAP.FAILED";
  return { ...guestsEvent(type, vm, receivedAt, ended), newState: isSuccess ? "ok" : "error" };
}

type Said = BootstrapMessage<"bootstrap.started" | "bootstrap.module" | "bootstrap.ended">;

/** Whoever shows only the first members of an event's data shows what happened, and then of which run. */
function guestsEvent(
  type: EventType,
  vm: VmRef,
  receivedAt: number,
  { target, commit, run, messageId, instance, ...what }: Said,
): NewEvent {
  const data = { ...what, target, commit, run, messageId, instance };
  return { ...vmEvent(type, vm, receivedAt, { data }), source: "guest" };
}
