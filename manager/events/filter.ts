/** Which events somebody wants, and which somebody may see. */
import type { EventFilter } from "../../shared/api/event-schemas.ts";
import { matchesPattern, matchesVm } from "../../shared/vm-pattern.ts";
import { mayDo, maySeeAll, maySeeVm, mayUseKey } from "../access/permissions.ts";
import type { Principal } from "../access/principal.ts";
import type { Event } from "./event.ts";

export type EventMatcher = (event: Event) => boolean;

/** What is left out of the filter limits nothing. */
export function matcherOf({ categories, types, vms, keys }: EventFilter): EventMatcher {
  return (event) => {
    const key = event.data["key"];
    return (
      (categories?.includes(event.category) ?? true) &&
      (types?.some((pattern) => matchesPattern(pattern, event.type)) ?? true) &&
      (vms?.some((pattern) => isOfVm(event, pattern)) ?? true) &&
      (typeof key !== "string" || (keys?.some((prefix) => key.startsWith(prefix)) ?? true))
    );
  };
}

/**
 * Events of VMs that somebody may see; those that name keys when they may use each of them; those of requests for many
 * VMs when they may see every VM, and those of the manager itself, which name users and endpoints, when they administer it.
 */
export function maySeeEvent(who: Pick<Principal, "role" | "vms" | "keys" | "limits">, event: Event): boolean {
  const vm = vmOf(event);
  if (vm === undefined) return maySeeAll(who) && (event.resourceType === "AsyncJob" || mayDo(who, "admin"));
  return maySeeVm(who, vm) && keysIn(event).every((key) => mayUseKey(who, key));
}

function isOfVm(event: Event, pattern: string): boolean {
  const vm = vmOf(event);
  return vm !== undefined && matchesVm(pattern, vm);
}

function vmOf({ resourceType, resourceUUID, resourceName }: Event): { id: string; name: string } | undefined {
  if (resourceType !== "VirtualMachine") return undefined;
  return { id: resourceUUID, name: resourceName ?? resourceUUID };
}

/** A message without keys clears: it is of every key. */
function keysIn({ type, data }: Event): string[] {
  const { key, keys } = data;
  if (typeof key === "string") return [key];
  if (!type.startsWith("MESSAGE.")) return [];
  const named = Array.isArray(keys) ? keys.filter((one) => typeof one === "string") : [];
  return named.length > 0 ? named : [""];
}
