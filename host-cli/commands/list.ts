import { listAll } from "../../shared/list-all.ts";
import type { WireEntry } from "../../shared/protocol/message.ts";
import { ageInWords } from "../../shared/terminal-text.ts";
import type { ListCommand } from "../command.ts";
import { type Context, openGuest } from "../open-guest.ts";
import { tableLines } from "../table.ts";
import { shownValue, Transcript } from "../transcript.ts";

/** What a table shows of a value; `-q`, `--json` and `--quiet` show all of it. */
const MAX_SHOWN_VALUE = 48;

const HEADER = ["KEY", "VALUE", "SET BY", "AGE", "REVISION", "NOTES"];

/** `list [PREFIX]` */
export async function list(command: ListCommand, context: Context): Promise<void> {
  const { output } = context;
  await using guest = await openGuest(command, context, new Transcript(output, "quiet"));
  const all = await listAll(guest, command.prefix);
  if (command.style === "json") output.json({ vm: guest.vm.name, ...all });
  else if (command.style === "quiet") for (const { key } of all.entries) output.line(key);
  else if (all.entries.length === 0) output.note(`'${guest.vm.name}' has no such keys`);
  else for (const line of tableLines(HEADER, all.entries.map(tableRow))) output.line(line);
}

function tableRow(entry: WireEntry): string[] {
  const { key, setBy, ageMs, revision } = entry;
  return [key, tableValue(entry), setBy, ageInWords(ageMs), String(revision), notes(entry)];
}

function tableValue(entry: WireEntry): string {
  if (entry.value === undefined && entry.base64 === undefined) return "";
  const value = shownValue(entry);
  return value.length <= MAX_SHOWN_VALUE ? value : `${value.slice(0, MAX_SHOWN_VALUE - 3)}...`;
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
