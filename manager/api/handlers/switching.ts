import { type EndpointName, endpoints } from "../../../shared/api/endpoints.ts";
import type { Handlers } from "../handler.ts";

/** A table whose rows are served by the one that is current when they are asked for. */
export function switching(current: () => Handlers): Handlers {
  const rows = (Object.keys(endpoints) as EndpointName[]).map((name) => {
    return [name, (request: never) => current()[name](request)] as const;
  });
  return Object.fromEntries(rows) as unknown as Handlers;
}
