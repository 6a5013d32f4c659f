import { eventTypes } from "../../shared/event-types.ts";
import type { EventTypesCommand } from "../event-command.ts";
import type { Context } from "../context.ts";
import { printListing } from "../rows.ts";

/** `events --types`: what there is to hear of. */
export function printEventTypes({ style }: EventTypesCommand, { output }: Context): void {
  const types = Object.entries(eventTypes).map(([type, { category, resource, meaning }]) => {
    return { type, category, resourceType: resource, meaning };
  });
  printListing(output, style, {
    items: types,
    header: ["TYPE", "CATEGORY", "MEANING"],
    row: ({ type, category, meaning }) => [type, category, meaning],
    name: ({ type }) => type,
    json: { types },
    none: "",
  });
}
