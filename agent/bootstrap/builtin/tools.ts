/** How the ready-made modules reach the machine that they configure, so that a test can stand between. */
import { basename } from "node:path";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { ModuleError } from "../module.ts";
import { type Program, type ProgramExit, type ProgramRun, runProgram } from "../run-program.ts";

export interface BuiltinTools {
  /** The directory in which the machine's files are found, `/` for this very machine. */
  root: string;
  run: (program: Program) => Promise<ProgramRun>;
}

export const machineTools: BuiltinTools = { root: "/", run: runProgram };

export interface NeededProgram extends Program {
  /** What it is run for, as a failure begins; the program's name when left out. */
  purpose?: string;
  /** Exit codes that are no failure. */
  goodCodes?: readonly number[];
}

/** Runs a program that has to end well. Throws ModuleError, with what it printed last. */
export async function runNeeded(
  { run }: BuiltinTools,
  program: NeededProgram,
): Promise<{ code: number; stdout: string }> {
  const { purpose = basename(program.file), goodCodes = [0] } = program;
  const { exit, stdout, lines } = await run(program);
  if (exit.type === "code" && goodCodes.includes(exit.code)) return { code: exit.code, stdout: stdout.toString() };
  const reason = [purpose, failureInWords(exit), ...lines.slice(-1)].join(": ");
  throw new ModuleError(reason, lines);
}

function failureInWords(exit: ProgramExit): string {
  switch (exit.type) {
    case "code":
      return `exit code ${exit.code}`;
    case "signal":
      return `it was ended by ${exit.signal}`;
    case "not-started":
      return exit.problem;
    case "aborted":
      return "it was ended because its time was up";
    case "too-much-output":
      return "it printed more than is read of it";
    default:
      return unreachable(exit);
  }
}
