/** The VMs that a command line names, with those of its file. */
import type { VmSelection } from "../../shared/api/schemas.ts";
import { usageError } from "../../shared/cli/failure.ts";
import type { FleetSelection } from "../command.ts";
import type { Context } from "../context.ts";
import { readLines } from "../read-lines.ts";

/** What a manager takes in one request (shared/api/schemas.ts). */
const MAX_NAMES = 10_000;

/** Throws CommandError (usage) when the file cannot be read, or names none. */
export async function selectVms(selection: FleetSelection, context: Context): Promise<VmSelection> {
  if (selection.all) return { all: true };
  const fromFile = selection.file === undefined ? [] : await readLines("--vms-from", selection.file, context);
  const names = [...new Set([...selection.names, ...fromFile])];
  if (names.length === 0) throw usageError(`--vms-from: ${selection.file ?? ""} names no VM, one a line`);
  if (names.length > MAX_NAMES) throw usageError(`${names.length} VMs are named; at most ${MAX_NAMES} can be at once`);
  return { names };
}
