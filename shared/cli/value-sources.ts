/** Where the values of a set come from: the command line, files, stdin. */
import { createReadStream } from "node:fs";
import { MAX_VALUE } from "../protocol/limits.ts";
import type { NewEntry } from "../protocol/message.ts";
import { toWireValue, valueBytes, valueFromBytes } from "../protocol/value.ts";
import { CommandError } from "./failure.ts";

export type ValueSource =
  | { from: "argument"; key: string; value: string }
  | { from: "file"; key: string; path: string }
  | { from: "stdin"; key: string };

/** What a set gives to all of its entries. */
export type EntryAttributes = Pick<NewEntry, "ttlMs" | "secret" | "readOnly">;

/** Reads all values; `stdin` is opened only when one comes from there. Bytes that are not UTF-8 travel as base64. */
export async function readEntries(
  { values, attributes }: { values: readonly ValueSource[]; attributes: EntryAttributes },
  stdin: () => AsyncIterable<Uint8Array>,
): Promise<NewEntry[]> {
  const entries: NewEntry[] = [];
  for (const source of values) {
    const bytes = await readValue(source, stdin);
    if (bytes.length > MAX_VALUE) {
      throw new CommandError("over-limit", `the value of '${source.key}' is over the limit of ${MAX_VALUE} bytes`, {
        key: source.key,
        limit: MAX_VALUE,
      });
    }
    entries.push({ key: source.key, ...toWireValue(valueFromBytes(bytes)), ...attributes });
  }
  return entries;
}

async function readValue(source: ValueSource, stdin: () => AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  switch (source.from) {
    case "argument":
      return valueBytes(source.value);
    case "stdin":
      return readBounded(stdin());
    case "file":
      try {
        return await readBounded(createReadStream(source.path));
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        throw new CommandError("failed", `cannot read the value of '${source.key}': ${reason}`, { key: source.key });
      }
  }
}

/** Stops as soon as it is too much: the source may have no end. */
async function readBounded(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of source) {
    pieces.push(piece);
    length += piece.length;
    if (length > MAX_VALUE) break;
  }
  return Buffer.concat(pieces);
}
