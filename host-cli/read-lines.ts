/** Files that name things one a line: VMs, queues, endpoints, secrets. */
import { createReadStream } from "node:fs";
import { unlessAborted } from "../shared/abort.ts";
import { usageError } from "../shared/cli/failure.ts";
import type { Context } from "./context.ts";

/** As many names of VMs at their longest as a manager takes in one request. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** Without empty lines and those that begin with `#`. @param file `-` is stdin. Throws CommandError (usage). */
export async function readLines(flag: string, file: string, { stdin, interrupt }: Context): Promise<string[]> {
  const text = await unlessAborted(interrupt, read(flag, file === "-" ? stdin() : createReadStream(file)));
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

async function read(flag: string, source: AsyncIterable<Uint8Array>): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const piece of source) {
      length += piece.length;
      if (length > MAX_FILE_BYTES) throw new Error(`it is over ${MAX_FILE_BYTES} bytes`);
      pieces.push(piece);
    }
  } catch (error) {
    throw usageError(`${flag}: ${error instanceof Error ? error.message : String(error)}`);
  }
  return Buffer.concat(pieces).toString();
}
