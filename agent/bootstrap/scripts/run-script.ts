/** Runs a module's script as any program of a module, with a time-out; how it failed in words. */
import { existsSync } from "node:fs";
import { durationInWords } from "../../../shared/cli/duration.ts";
import { unreachable } from "../../../shared/protocol/errors.ts";
import { printable } from "../../../shared/terminal-text.ts";
import { ModuleError } from "../module.ts";
import { readBeginning } from "../read-beginning.ts";
import { type Program, type ProgramRun, runProgram } from "../run-program.ts";

/** What a script may answer with: twice the largest value, and more than a cache holds by default. */
const MAX_ANSWER_BYTES = 64 * 1024;

/** What the kernel reads of a script to find its interpreter (execve(2)). */
const MAX_INTERPRETER_LINE_BYTES = 256;

export interface ScriptRun extends Omit<Program, "maxStdoutBytes"> {
  timeoutMs: number;
}

export interface ScriptEnd {
  /** The exit code. */
  code: number;
  stdout: Buffer;
  /** The last that it printed on its standard error. */
  lines: readonly string[];
}

/** Settles soon after the time-out or the signal at the latest. Throws ModuleError when the script did not exit by itself. */
export async function runScript({ timeoutMs, ...program }: ScriptRun): Promise<ScriptEnd> {
  const overdue = new ModuleError(`it did not end within ${durationInWords(timeoutMs)}`);
  const timeUp = new AbortController();
  const timer = setTimeout(() => {
    timeUp.abort(overdue);
  }, timeoutMs);
  try {
    const signal = AbortSignal.any([program.signal, timeUp.signal]);
    const run = await runProgram({ ...program, signal, maxStdoutBytes: MAX_ANSWER_BYTES });
    return await endOf(run, program.file, signal);
  } finally {
    clearTimeout(timer);
  }
}

async function endOf({ exit, stdout, lines }: ProgramRun, file: string, signal: AbortSignal): Promise<ScriptEnd> {
  switch (exit.type) {
    case "code":
      return { code: exit.code, stdout, lines };
    case "signal":
      throw new ModuleError(`it was ended by ${exit.signal}`, lines);
    case "not-started":
      throw new ModuleError(`${exit.problem}${await interpreterProblem(file)}`);
    case "aborted":
      throw new ModuleError(whyStopped(signal.reason), lines);
    case "too-much-output":
      throw new ModuleError(`it printed more than ${MAX_ANSWER_BYTES} bytes on its standard output`, lines);
    default:
      return unreachable(exit);
  }
}

function whyStopped(reason: unknown): string {
  // Of whoever's time-out was the first, which says what it is.
  if (reason instanceof ModuleError) return reason.message;
  const isTimeOut = reason instanceof Error && reason.name === "TimeoutError";
  return isTimeOut ? "it did not end in time" : "it was stopped before it ended";
}

/** The system says of a script whose interpreter is not there that the script is not there. */
async function interpreterProblem(file: string): Promise<string> {
  const beginning = await readBeginning(file, MAX_INTERPRETER_LINE_BYTES).catch(() => Buffer.alloc(0));
  const [, interpreter] = /^#![ \t]*([^ \t\n]+)/.exec(beginning.toString()) ?? [];
  if (interpreter === undefined || existsSync(interpreter)) return "";
  return `, since its interpreter '${printable(interpreter)}' does not exist`;
}
