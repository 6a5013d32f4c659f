/** Takes the values of secrets out of text that leaves the machine or is shown. Pure. */
import { valueBytes } from "../../shared/protocol/value.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { Values } from "./module.ts";

const MASK = "***";

/** A shorter piece stands in all kinds of words: to mask it would hide the text and give the secret away. */
const MIN_LENGTH = 3;

/** Lines of one secret that are masked each by itself, the longest: a key in PEM has about fifty. */
const MAX_LINES = 512;

const ESCAPED_IN_JSON = /\\["\\]|\\[^"\\]+/g;
const NOT_ASCII = /[^ -~]/g;

/** How programs write a text that they print inside something else. */
const writings: readonly ((text: string) => string)[] = [
  (text) => text,
  inJson,
  (text) => inAsciiJson(text, (hex) => hex),
  (text) => inAsciiJson(text, (hex) => hex.toUpperCase()),
  // Python's repr() leaves the quotes as they are.
  (text) => inJson(text).replace(ESCAPED_IN_JSON, (escape) => (escape === '\\"' ? '"' : escape)),
  encodeURIComponent,
  // Shells' `set -x`: bash's, and dash's, which is Python's too.
  (text) => text.replaceAll("'", String.raw`'\''`),
  (text) => text.replaceAll("'", `'"'"'`),
];

/**
 * Masks every secret among the values: whole, and line by line, as it is, inside JSON, in a URL, in a shell's single quotes, as
 * base64, and each of these as {@link printable} writes it. The text has to be whole: a secret that was cut is not recognised.
 */
export function secretMask(values: Values): (text: string) => string {
  const secrets = [...values.values()].filter(({ isSecret }) => isSecret);
  const forms = new Set(secrets.flatMap(({ value }) => formsOf(valueBytes(value))));
  // The longest first: one secret may be a part of another.
  const masked = [...forms]
    .filter(({ length }) => length >= MIN_LENGTH)
    .sort((one, other) => other.length - one.length);
  return (text) => masked.reduce((rest, form) => rest.replaceAll(form, MASK), text);
}

function formsOf(secret: Uint8Array): string[] {
  const text = Buffer.from(secret).toString();
  const pieces = new Set([text, text.trim(), ...linesOf(text)]);
  const written = [...pieces].flatMap((piece) => writings.map((write) => write(piece)));
  const encoded = [Buffer.from(secret), Buffer.from(text.trim())].map((bytes) => bytes.toString("base64"));
  return [...written, ...written.map(printable), ...encoded];
}

function linesOf(text: string): string[] {
  const lines = new Set(text.split(/[\r\n]+/).map((line) => line.trim()));
  return [...lines].sort((one, other) => other.length - one.length).slice(0, MAX_LINES);
}

function inJson(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/** As Python's `json.dumps` does it. */
function inAsciiJson(text: string, write: (hex: string) => string): string {
  return inJson(text).replace(NOT_ASCII, (unit) => `\\u${write(unit.charCodeAt(0).toString(16).padStart(4, "0"))}`);
}
