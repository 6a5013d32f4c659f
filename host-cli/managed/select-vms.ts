/** The VMs that a command line names, with those of its file. */
import { createReadStream } from "node:fs";
import type { VmSelection } from "../../shared/api/schemas.ts";
import { unlessAborted } from "../../shared/abort.ts";
import { usageError } from "../../shared/cli/failure.ts";
import type { FleetSelection } from "../command.ts";
import type { Context } from "../context.ts";

/** What a manager takes in one request (shared/api/schemas.ts). */
const MAX_NAMES = 10_000;

/** So many names at their longest. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** Throws CommandError (usage) when the file cannot be read, or names none. */
export async function selectVms(selection: FleetSelection, context: Context): Promise<VmSelection> {
  if (selection.all) return { all: true };
  const fromFile = selection.file === undefined ? [] : await namesFrom(selection.file, context);
  const names = [...new Set([...selection.names, ...fromFile])];
  if (names.length === 0) throw usageError(`--vms-from: ${selection.file ?? ""} names no VM, one a line`);
  if (names.length > MAX_NAMES) throw usageError(`${names.length} VMs are named; at most ${MAX_NAMES} can be at once`);
  return { names };
}

async function namesFrom(file: string, { stdin, interrupt }: Context): Promise<string[]> {
  const text = await unlessAborted(interrupt, read(file === "-" ? stdin() : createReadStream(file)));
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

async function read(source: AsyncIterable<Uint8Array>): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const piece of source) {
      length += piece.length;
      if (length > MAX_FILE_BYTES) throw new Error(`it is over ${MAX_FILE_BYTES} bytes`);
      pieces.push(piece);
    }
  } catch (error) {
    throw usageError(`--vms-from: ${error instanceof Error ? error.message : String(error)}`);
  }
  return Buffer.concat(pieces).toString();
}
