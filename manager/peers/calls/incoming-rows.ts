/** What is asked of this manager by others: whether it is served, for which VMs, and what ends it. */
import { type EndpointName, endpoints } from "../../../shared/api/endpoints.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { servings } from "./serving.ts";

/** A request's parts, checked by its row's schemas. */
export interface CheckedParts {
  params: unknown;
  query: unknown;
  body: unknown;
}

/** Throws CommandError `not-permitted`. Names come from elsewhere: what every object has is no row. */
export function assertServed(name: EndpointName): void {
  if (Object.hasOwn(servings, name) && servings[name] !== "never") return;
  throw new CommandError("not-permitted", `'${name}' is not served to other managers`);
}

/** The VMs that have to be held here for it. Throws CommandError for what other managers are not to ask for in that way. */
export function vmsNeeded(name: EndpointName, { params, query, body }: CheckedParts): string[] {
  switch (servings[name]) {
    case "vm-reading":
    case "vm-message":
    case "vm-once":
      return [(params as { vm: string }).vm.toLowerCase()];
    case "fleet":
      return fleetOf(body as { vms: { names: readonly string[] } | { all: true } });
    case "query-vm":
      if ((query as { vm?: unknown }).vm !== undefined) return [];
      throw new CommandError("not-permitted", `other managers are told of one VM, and '${name}' names none`);
    case "own":
      if ((query as { everywhere?: boolean }).everywhere !== true) return [];
      throw new CommandError("usage", "a manager tells another one of its own VMs, not of those everywhere");
    case "never":
      return [];
  }
}

export function isFleet(name: EndpointName): boolean {
  return servings[name] === "fleet";
}

/** Nothing is changed by it, so that nobody misses anything when it is ended in the middle. */
export function isReading(name: EndpointName): boolean {
  return servings[name] === "vm-reading" || endpoints[name].method === "GET";
}

/** Whether it ends when its VM moves away. */
export function endsWithMove(name: EndpointName): boolean {
  return servings[name] === "vm-reading" || servings[name] === "vm-message";
}

/** A pattern would reach VMs that are known here and held elsewhere. */
function fleetOf({ vms }: { vms: { names: readonly string[] } | { all: true } }): string[] {
  if ("names" in vms) return vms.names.map((name) => name.toLowerCase());
  throw new CommandError("usage", "a manager names the VMs of a fleet to another one by their UUIDs");
}
