/** What a command line names, with what its file names. */
import { usageError } from "../shared/cli/failure.ts";
import type { Context } from "./context.ts";
import type { Lines } from "./event-command.ts";
import { readLines } from "./read-lines.ts";

/** Throws CommandError (usage) when the file cannot be read, or has none. */
export async function linesGiven(flag: string, { given, file }: Lines, context: Context): Promise<string[]> {
  const fromFile = file === undefined ? [] : await readLines(flag, file, context);
  if (file !== undefined && fromFile.length === 0) throw usageError(`${flag}: ${file} names none, one a line`);
  return [...given, ...fromFile];
}
