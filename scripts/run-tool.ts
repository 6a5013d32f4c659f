// Runs programs of this machine to their ends.
import { execFile, type ExecFileOptions } from "node:child_process";
import { promisify } from "node:util";

/** Lists of a Node's symbols are this long. */
const MAX_OUTPUT_BYTES = 2 ** 26;

/** Returns what it prints; throws with what it said on its standard error when it fails. */
export async function runTool(
  program: string,
  args: readonly string[],
  options: ExecFileOptions = {},
): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args, {
    maxBuffer: MAX_OUTPUT_BYTES,
    ...options,
    encoding: "utf8",
  });
  return stdout;
}
