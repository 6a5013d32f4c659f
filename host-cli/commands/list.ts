import { tableLines } from "../../shared/cli/table.ts";
import type { WireEntry } from "../../shared/protocol/message.ts";
import { ageInWords } from "../../shared/terminal-text.ts";
import type { ListCommand } from "../command.ts";
import type { Context } from "../context.ts";
import { openGuest } from "../open-guest.ts";
import { noteOrigin } from "../origin.ts";
import { shortValue, Transcript } from "../transcript.ts";

const HEADER = ["KEY", "VALUE", "SET BY", "AGE", "REVISION", "NOTES"];

/** `list [PREFIX]` */
export async function list(command: ListCommand, context: Context): Promise<void> {
  const { output } = context;
  await using guest = await openGuest(command, context, new Transcript(output, "quiet"));
  const { origin, ...all } = await guest.list(command.prefix);
  noteOrigin(output, command.style, guest.name, origin);
  if (command.style === "json") output.json({ vm: guest.name, ...all, ...origin });
  else if (command.style === "quiet") for (const { key } of all.entries) output.line(key);
  else if (all.entries.length === 0) output.note(`'${guest.name}' has no such keys`);
  else for (const line of tableLines(HEADER, all.entries.map(tableRow))) output.line(line);
}

function tableRow(entry: WireEntry): string[] {
  const { key, setBy, ageMs, revision } = entry;
  return [key, tableValue(entry), setBy, ageInWords(ageMs), String(revision), notes(entry)];
}

function tableValue(entry: WireEntry): string {
  return entry.value === undefined && entry.base64 === undefined ? "" : shortValue(entry);
}

function notes({ secret, gone, readOnly, ttlMs, read }: WireEntry): string {
  const all = [
    secret && "secret",
    gone && "lost at boot",
    readOnly && "read-only",
    ttlMs !== undefined && `expires in ${ageInWords(ttlMs)}`,
    read && "read",
  ];
  return all.filter((note) => typeof note === "string").join(", ");
}
