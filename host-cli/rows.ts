/** The answer of a command whose answer is a list: a table for people, bare names, or JSON. */
import type { Output } from "../shared/cli/output.ts";
import { tableLines } from "../shared/cli/table.ts";
import type { OutputStyle } from "./command.ts";

export interface Listing<T> {
  items: readonly T[];
  header: readonly string[];
  row: (item: T) => string[];
  /** What `--quiet` prints of an item. */
  name: (item: T) => string;
  /** What `--json` prints. */
  json: object;
  /** Said when there is nothing to list. */
  none: string;
}

export function printListing<T>(output: Output, style: OutputStyle, listing: Listing<T>): void {
  const { items, header, row, name, json, none } = listing;
  if (style === "json") output.json(json);
  else if (style === "quiet") for (const item of items) output.line(name(item));
  else if (items.length === 0) output.note(none);
  else for (const line of tableLines(header, items.map(row))) output.line(line);
}
