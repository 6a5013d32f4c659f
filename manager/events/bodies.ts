/** What an event looks like to others: in CloudEvents' JSON, or as CloudStack writes it. */
import type { ShownEvent } from "../../shared/api/event-schemas.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import type { Event } from "./event.ts";

/** Digits of a sequence, so that it sorts as text does (CloudEvents' `sequence` extension). */
const SEQUENCE_DIGITS = 16;

/** Reverse DNS, as CloudEvents 1.0 (section "type") asks for. */
const TYPE_PREFIX = "org.vmmessage.";

/** An event without the value of its key. */
export function withoutValue(event: Event): Event {
  return event.value === undefined ? event : { ...event, value: undefined };
}

/** As the API shows it. */
export function shownEvent(event: Event, logId: string): ShownEvent {
  const { id, source, category, type, resourceType, resourceUUID, resourceName, sequence } = event;
  return {
    cursor: `${logId}:${event.position}`,
    id,
    time: rfc3339(event.time),
    source,
    category,
    type,
    resourceType,
    resourceUUID,
    ...(resourceName !== undefined && { resourceName }),
    sequence,
    ...(event.oldState !== undefined && { oldState: event.oldState }),
    ...(event.newState !== undefined && { newState: event.newState }),
    ...(event.isResync && { isResync: true }),
    data: { ...event.data, ...event.value },
  };
}

/** CloudEvents 1.0 in JSON (structured mode, `application/cloudevents+json`). @param host the manager's machine */
export function cloudEvent(event: Event, host: string): Record<string, unknown> {
  const { category, oldState, newState, isResync, resourceType, resourceUUID, resourceName, data, value } = event;
  return {
    specversion: "1.0",
    id: event.id,
    source: `//${encodeURIComponent(host)}/${event.source}`,
    type: `${TYPE_PREFIX}${event.type}`,
    ...(resourceUUID !== "" && { subject: resourceUUID }),
    time: rfc3339(event.time),
    datacontenttype: "application/json",
    sequence: String(event.sequence).padStart(SEQUENCE_DIGITS, "0"),
    data: {
      category,
      resourceType,
      ...(resourceUUID !== "" && { resourceUUID }),
      ...(resourceName !== undefined && { resourceName }),
      ...(oldState !== undefined && { oldState }),
      ...(newState !== undefined && { newState }),
      ...(isResync && { isResync }),
      ...data,
      ...value,
    },
  };
}

/**
 * As CloudStack's AMQP event bus writes it (ActionEventUtils, UserVmStateListener, AlertManagerImpl of Apache CloudStack),
 * with our own members beside its: consumers read by name.
 */
export function cloudStackBody(event: Event): Record<string, unknown> {
  const { id, sequence, isResync, type, resourceType, resourceUUID, resourceName, oldState, newState, data, value } =
    event;
  const own = {
    id,
    sequence,
    ...(resourceName !== undefined && { name: resourceName }),
    ...(isResync && { resync: true }),
    data: { ...data, ...value },
  };
  const eventDateTime = cloudStackTime(event.time);
  if (event.category === "ResourceStateEvent") {
    const states = { "old-state": oldState ?? "", "new-state": newState ?? "" };
    const resource = { resource: resourceType, ...states, status: "postStateTransitionEvent" };
    return { ...resource, ...own, id: resourceUUID, eventId: id, event: type, eventDateTime };
  }
  const user = typeof data["by"] === "string" ? data["by"] : "system";
  return {
    event: type,
    status: newState ?? "Completed",
    user,
    account: user,
    entity: resourceType,
    entityuuid: resourceUUID,
    [resourceType]: resourceUUID,
    description: descriptionOf(event),
    ...own,
    eventDateTime,
  };
}

function descriptionOf({ type, resourceName, data }: Event): string {
  const detail = data["detail"] ?? data["reason"];
  return `${type}${resourceName === undefined ? "" : ` of ${resourceName}`}${typeof detail === "string" ? `: ${detail}` : ""}`;
}

/** `yyyy-MM-dd HH:mm:ss Z` */
function cloudStackTime(timeMs: number): string {
  return `${rfc3339(timeMs).slice(0, 19).replace("T", " ")} +0000`;
}
