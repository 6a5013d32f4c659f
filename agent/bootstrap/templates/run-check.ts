/** A template's own check: a command that ends with exit code 0 when what was rendered is well. */
import { ModuleError } from "../module.ts";
import { exitProblem, runProgram } from "../run-program.ts";
import { shortened } from "./words.ts";

const MAX_SHOWN_COMMAND = 100;

/** A command as a person would type it, more or less. */
export function commandInWords(command: readonly string[]): string {
  return `'${shortened(command.join(" "), MAX_SHOWN_COMMAND)}'`;
}

/** Started without a shell. Throws ModuleError with the last that it printed. */
export async function runCheck(command: readonly string[], signal: AbortSignal): Promise<void> {
  const [file = "", ...args] = command;
  const { exit, lines } = await runProgram({ file, args, signal });
  const problem = exitProblem(exit, signal);
  if (problem !== undefined) throw new ModuleError(`check ${commandInWords(command)} failed: ${problem}`, lines);
}
