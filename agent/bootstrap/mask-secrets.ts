/** Takes the values of secrets out of text that leaves the machine or is shown. Pure. */
import { valueBytes } from "../../shared/protocol/value.ts";
import type { Values } from "./module.ts";

const MASK = "***";

/** A shorter piece stands in all kinds of words: to mask it would hide the text and give the secret away. */
const MIN_LENGTH = 3;

/** The forms in which a secret may be printed: whole, line by line, inside JSON, as base64. */
function formsOf(secret: Uint8Array): string[] {
  const text = Buffer.from(secret).toString();
  const lines = text.split(/[\r\n]+/).map((line) => line.trim());
  const forms = [text, ...lines].flatMap((form) => [form, JSON.stringify(form).slice(1, -1)]);
  return [...forms, Buffer.from(secret).toString("base64")];
}

/** Masks every secret among the values. */
export function secretMask(values: Values): (text: string) => string {
  const secrets = [...values.values()].filter(({ isSecret }) => isSecret);
  const forms = new Set(secrets.flatMap(({ value }) => formsOf(valueBytes(value))));
  // The longest first: one secret may be a part of another.
  const masked = [...forms]
    .filter(({ length }) => length >= MIN_LENGTH)
    .sort((one, other) => other.length - one.length);
  return (text) => masked.reduce((rest, form) => rest.replaceAll(form, MASK), text);
}
