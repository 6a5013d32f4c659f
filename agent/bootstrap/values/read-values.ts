/** Values from a file or from the standard input. */
import { createReadStream } from "node:fs";
import { unlessAborted } from "../../../shared/abort.ts";
import { CommandError, usageError } from "../../../shared/cli/failure.ts";
import { MAX_CACHE_LIMIT } from "../../../shared/protocol/limits.ts";
import type { Values } from "../module.ts";
import { parseValues } from "./parse-values.ts";

/** What `agent -l` prints of the largest cache, however it is laid out. */
const MAX_TEXT_BYTES = 2 * MAX_CACHE_LIMIT;

export type ValuesSource = { from: "file"; path: string } | { from: "stdin"; stdin: () => AsyncIterable<Uint8Array> };

/** Throws CommandError, and what `interrupt` is aborted with: whoever writes to a pipe may never end. */
export async function readValues(source: ValuesSource, interrupt: AbortSignal): Promise<Values> {
  const origin = source.from === "file" ? source.path : "the standard input";
  const bytes = await unlessAborted(interrupt, readAll(source, origin));
  return parseValues(textOf(bytes, origin), origin);
}

async function readAll(source: ValuesSource, origin: string): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const piece of source.from === "file" ? createReadStream(source.path) : source.stdin()) {
      pieces.push(piece as Uint8Array);
      length += (piece as Uint8Array).length;
      if (length > MAX_TEXT_BYTES) break;
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CommandError("failed", `cannot read the values from ${origin}: ${reason}`, {}, { cause: error });
  }
  if (length <= MAX_TEXT_BYTES) return Buffer.concat(pieces);
  throw new CommandError("over-limit", `${origin} is over the limit of ${MAX_TEXT_BYTES} bytes for values`, {
    limit: MAX_TEXT_BYTES,
  });
}

function textOf(bytes: Uint8Array, origin: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw usageError(`${origin} is not UTF-8; give values that are other bytes as {"base64": "..."}`);
  }
}
