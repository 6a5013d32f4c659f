/** Words of templates' problems: one line, and not the longest. */
import { printable } from "../../../shared/terminal-text.ts";

/** Named in one message: a file with a thousand mistakes is corrected step by step. */
const MAX_NAMED_PROBLEMS = 8;

export function shortened(text: string, maxLength: number): string {
  const line = printable(text);
  return line.length <= maxLength ? line : `${line.slice(0, maxLength - 3).toWellFormed()}...`;
}

export function together(problems: readonly string[]): string {
  const named = problems.slice(0, MAX_NAMED_PROBLEMS).join("; ");
  const left = problems.length - MAX_NAMED_PROBLEMS;
  return left <= 0 ? named : `${named}; and ${left} more`;
}
