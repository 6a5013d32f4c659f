import { usageError } from "../../../shared/cli/failure.ts";
import type { CommandLine } from "../command-line.ts";
import { type Command, usageOf } from "./command.ts";

/** `help`, `help COMMAND`. Throws CommandError (usage). */
export function helpLines(commands: readonly Command[], { operands: [verb], attributes }: CommandLine): string[] {
  if (attributes.size > 0) throw usageError("expected: help [COMMAND]");
  if (verb === undefined) {
    return [...commands.map(usageOf), "help [COMMAND]", "exit"];
  }
  const command = commands.find((each) => each.verb.toLowerCase() === verb.toLowerCase());
  if (command === undefined) throw usageError(`there is no command '${verb}'; help lists them`);
  return [usageOf(command), `  ${command.summary}`];
}
