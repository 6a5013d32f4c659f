/** Keys and values: what is allowed in them, how they are counted, printed and sent. */
import { MAX_KEY } from "./limits.ts";

/** Text, or bytes that are not UTF-8. The same bytes always have the same form. */
export type Value = string | Uint8Array;

/** A value as JSON carries it: exactly one of the two. */
export type WireValue = { value: string } | { base64: string };

// C0 and C1 controls and DEL.
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f]/;
const UNESCAPED_CONTROL_CHARACTERS = /[\u007f-\u009f]/g;

/** Why `key` cannot be a key, or undefined when it can. */
export function keyProblem(key: string): string | undefined {
  if (key === "") return "a key cannot be empty";
  if (!key.isWellFormed()) return "a key must be well-formed Unicode";
  if (CONTROL_CHARACTER.test(key)) return "a key cannot contain control characters";
  if (key.includes("=")) return "a key cannot contain '='";
  if (key.startsWith(" ") || key.endsWith(" ")) return "a key cannot begin or end with a space";
  const length = Buffer.byteLength(key);
  if (length > MAX_KEY) return `a key of ${length} bytes is over the limit of ${MAX_KEY}`;
  return undefined;
}

/** Bytes from a file, a pipe or base64 as a value: text when they are UTF-8. */
export function valueFromBytes(bytes: Uint8Array): Value {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(buffer);
  } catch {
    return buffer;
  }
}

export function valueBytes(value: Value): Uint8Array {
  return typeof value === "string" ? Buffer.from(value) : value;
}

export function toWireValue(value: Value): WireValue {
  return typeof value === "string" ? { value } : { base64: Buffer.from(value).toString("base64") };
}

export function fromWireValue(wire: { value?: string | undefined; base64?: string | undefined }): Value {
  if (wire.base64 !== undefined) return valueFromBytes(Buffer.from(wire.base64, "base64"));
  return wire.value ?? "";
}

/**
 * The line that `agent -l` prints for an entry, without its newline: `{"key":"value"}`, bytes as
 * `{"key":{"base64":"..."}}`, and `{"key":null}` for a secret, whose value no list holds.
 */
export function listLine(key: string, value: Value | null): string {
  const shown = value instanceof Uint8Array ? toWireValue(value) : value;
  return escapeControls(JSON.stringify({ [key]: shown }));
}

/** What an entry counts towards the cache's limit: the UTF-8 bytes of its line, a secret's with its value. */
export function entryBytes(key: string, value: Value): number {
  return Buffer.byteLength(listLine(key, value));
}

/** JSON.stringify leaves DEL and the C1 controls as they are; a terminal would obey them. */
function escapeControls(json: string): string {
  return json.replace(UNESCAPED_CONTROL_CHARACTERS, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
