/** An event inside the manager: made once, written to the log, then told to whoever wants to hear of it. */
import { type EventCategory, type EventType, eventTypeRow, type ResourceType } from "../../shared/event-types.ts";
import type { VmRef } from "../../shared/api/schemas.ts";

/** What whoever makes an event says; the log adds the number of its resource and its position. */
export interface NewEvent {
  /** Milliseconds since 1970: when it happened, or was found to have happened. */
  time: number;
  source: EventSource;
  category: EventCategory;
  type: EventType;
  resourceType: ResourceType;
  resourceUUID: string;
  resourceName: string | undefined;
  oldState: string | undefined;
  newState: string | undefined;
  isResync: boolean;
  data: Readonly<Record<string, unknown>>;
  /** Of KEY.SET, what was set: shown to those alone who asked for values. A secret's is never here. */
  value?: EventValue | undefined;
  /** The sink that it speaks of, which is not told of it: a sink's trouble must not make it more of the same. */
  about?: string | undefined;
  /** Only this sink is told. */
  only?: string | undefined;
  /** These sinks are told whatever they want to hear of. */
  also?: readonly string[] | undefined;
}

/** Text, or bytes as base64. */
export type EventValue = { value: string } | { base64: string };

export interface Event extends NewEvent {
  /** A UUID, made when it is written. */
  id: string;
  /** Counts up by one for each event of its resource. */
  sequence: number;
  /** Its place in the log: counts up by one for each event. */
  position: number;
}

/** The manager's own component, as CloudStack names it; and what a guest said, which proves nothing. */
export type EventSource = "management-server" | "guest";

type Details = Partial<Pick<NewEvent, "oldState" | "newState" | "isResync" | "data" | "value">>;

/** Of a VM. */
export function vmEvent(type: EventType, vm: VmRef, time: number, details: Details = {}): NewEvent {
  return {
    time,
    source: type.startsWith("GUEST.") ? "guest" : "management-server",
    category: eventTypeRow(type).category,
    type,
    resourceType: "VirtualMachine",
    resourceUUID: vm.id,
    resourceName: vm.name,
    oldState: details.oldState,
    newState: details.newState,
    isResync: details.isResync ?? false,
    data: details.data ?? {},
    ...(details.value !== undefined && { value: details.value }),
  };
}

/** Of the manager itself. */
export function managerEvent(
  type: EventType,
  time: number,
  details: Details & Pick<NewEvent, "about" | "only" | "also"> = {},
): NewEvent {
  const { category } = eventTypeRow(type);
  const { oldState, newState, isResync = false, data = {}, ...rest } = details;
  return {
    time,
    source: "management-server",
    category,
    type,
    resourceType: "ManagementServer",
    resourceUUID: "",
    resourceName: undefined,
    oldState,
    newState,
    isResync,
    data,
    ...rest,
  };
}
