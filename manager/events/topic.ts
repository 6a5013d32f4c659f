/**
 * Topics of the event bus and their keys on a topic exchange, as CloudStack's event framework defines them: five parts,
 * `event-source.event-category.event-type.resource-type.resource-uuid`.
 */
import type { Event } from "./event.ts";

/** What a subscriber is interested in; what is left out is every one. */
export interface EventTopic {
  eventSource?: string | undefined;
  eventCategory?: string | undefined;
  eventType?: string | undefined;
  resourceType?: string | undefined;
  resourceUUID?: string | undefined;
}

type Identity = Pick<Event, "source" | "category" | "type" | "resourceType" | "resourceUUID">;

/** A part that is empty is `*`, in a published key a character as any other; a dot would be a part's end. */
function keyOf(parts: readonly (string | undefined)[]): string {
  return parts.map((part) => (part === undefined || part === "" ? "*" : part.replaceAll(".", "-"))).join(".");
}

/** `management-server.ActionEvent.VM-START.VirtualMachine.172dd6f8-7d36-44ef-9a03-3b342034aaa4` */
export function routingKey({ source, category, type, resourceType, resourceUUID }: Identity): string {
  return keyOf([source, category, type, resourceType, resourceUUID]);
}

/** `*.ActionEvent.*.VirtualMachine.172dd6f8-7d36-44ef-9a03-3b342034aaa4` */
export function bindingKey(topic: EventTopic): string {
  const { eventSource, eventCategory, eventType, resourceType, resourceUUID } = topic;
  return keyOf([eventSource, eventCategory, eventType, resourceType, resourceUUID]);
}

/** Selects what a broker would with {@link bindingKey}. */
export function matchesTopic(topic: EventTopic, event: Identity): boolean {
  const bound = bindingKey(topic).split(".");
  const published = routingKey(event).split(".");
  return bound.every((part, index) => part === "*" || part === published[index]);
}
