/** What the console answers to a line, shaped as Oracle VM's CLI shapes it. */
import { CommandError } from "../../shared/cli/failure.ts";
import { exitCodes } from "../../shared/protocol/errors.ts";
import { printable } from "../../shared/terminal-text.ts";
import { formatLocalTime } from "./local-time.ts";

/** `lines` go under `Data:`; none means there is no such part. */
export type Outcome = { type: "done"; lines: readonly string[] } | { type: "failed"; error: CommandError };

/** Lines without their ends, harmless to terminals, and the exit status of a session that ends with this. */
export interface Answer {
  lines: string[];
  exitCode: number;
}

export function shapeAnswer(line: string, outcome: Outcome, time: Date): Answer {
  const head = (status: string): string[] => [
    `Command: ${line}`,
    `Status: ${status}`,
    `Time: ${formatLocalTime(time)}`,
  ];
  if (outcome.type === "failed") {
    const { code, message } = outcome.error;
    return { lines: [...head("Failure"), `Error Msg: ${message}`].map(printable), exitCode: exitCodes[code] };
  }
  const data = outcome.lines.length === 0 ? [] : ["Data:", ...outcome.lines.map((each) => `  ${each}`)];
  return { lines: [...head("Success"), ...data].map(printable), exitCode: 0 };
}
