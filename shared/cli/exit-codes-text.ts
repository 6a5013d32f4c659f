/** The table of exit codes as `--help` prints it. */
import { type ErrorCode, exitCodeMeanings, exitCodes } from "../protocol/errors.ts";

const lines = (Object.entries(exitCodes) as [ErrorCode, number][]).map(
  ([code, number]) => `  ${String(number).padStart(2)}  ${code.padEnd(13)}  ${exitCodeMeanings[code]}`,
);

export const exitCodesText = `Exit codes, and the same names in --json:
   0                 done
${lines.join("\n")}`;
