import { MAX_CACHE_LIMIT } from "../../shared/protocol/limits.ts";
import type { Result, WireEntry } from "../../shared/protocol/message.ts";
import { ageInWords } from "../../shared/terminal-text.ts";
import type { ListCommand } from "../command.ts";
import { CommandError } from "../failure.ts";
import type { Guest } from "../guest.ts";
import { type Context, openGuest } from "../open-guest.ts";
import { tableLines } from "../table.ts";
import { shownValue, Transcript } from "../transcript.ts";

/** What a table shows of a value; `-q`, `--json` and `--quiet` show all of it. */
const MAX_SHOWN_VALUE = 48;

/** A cache that changes between the pages of a list is listed anew; not measured how often that is too often. */
const MAX_ATTEMPTS = 5;

/** What an entry counts towards the cache's limit beside its key and value: `{"":""}`. */
const LINE_BYTES = 7;

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

type Listed = Omit<Result<"list">, "next">;

/** All pages, true for one revision. */
async function listAll(guest: Guest, prefix: string): Promise<Listed> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const all = await listPages(guest, prefix);
    if (all !== undefined) return all;
  }
  const message = `the keys of '${guest.vm.name}' change faster than they can be listed`;
  throw new CommandError("unreachable", message, { vm: guest.vm.name });
}

/** Undefined when the cache changed between two pages. */
async function listPages(guest: Guest, prefix: string): Promise<Listed | undefined> {
  const { next: start, ...all } = await guest.read("list", { prefix });
  for (let after = start; after !== undefined;) {
    const { next, entries, epoch, revision } = await guest.read("list", { prefix, after });
    if (epoch !== all.epoch || revision !== all.revision) return undefined;
    all.entries.push(...entries);
    assertPlausible(guest, all.entries, entries.length);
    after = next;
  }
  return all;
}

/** A guest could go on for ever. */
function assertPlausible(guest: Guest, entries: WireEntry[], added: number): void {
  const bytes = entries.reduce((sum, { key, value, base64 }) => sum + lengthOf(key, value, base64) + LINE_BYTES, 0);
  if (added > 0 && bytes <= MAX_CACHE_LIMIT * 2) return;
  throw new CommandError("failed", `'${guest.vm.name}' lists more than a cache can hold`, { vm: guest.vm.name });
}

function lengthOf(...texts: (string | undefined)[]): number {
  return texts.reduce((sum, text) => sum + (text?.length ?? 0), 0);
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
