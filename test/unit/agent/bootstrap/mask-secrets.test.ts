/** No form in which programs print a secret survives. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { secretMask } from "../../../../agent/bootstrap/mask-secrets.ts";
import type { Value } from "../../../../shared/protocol/value.ts";
import { printable } from "../../../../shared/terminal-text.ts";

const MAX_VALUE_BYTES = 32 * 1024;

function maskOf(...secrets: Value[]): (text: string) => string {
  return secretMask(new Map(secrets.map((value, index) => [`s${index}`, { value, isSecret: true }])));
}

function unicodeEscaped(text: string, toHex: (code: number) => string): string {
  const escaped = Array.from({ length: text.length }, (_, index) => {
    const code = text.charCodeAt(index);
    return code >= 0x20 && code < 0x7f ? text.charAt(index) : `\\u${toHex(code).padStart(4, "0")}`;
  });
  return escaped.join("");
}

function printedForms(secret: string): string[] {
  const json = JSON.stringify(secret).slice(1, -1);
  const forms = [
    secret,
    json,
    unicodeEscaped(json, (code) => code.toString(16)),
    unicodeEscaped(json, (code) => code.toString(16).toUpperCase()),
    encodeURIComponent(secret),
    secret.split("'").join("'\\''"),
    Buffer.from(secret).toString("base64"),
  ];
  return [...forms, ...forms.map(printable)];
}

// Of asterisks only the mask itself would be a secret.
const characters = fc.oneof(
  fc.constantFrom("'", '"', "\\", "\t", "\n", "\u007f", "\u001b", "\u202e", "\u2028", "ä", "😀", " ", "%", "/"),
  fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
);
const secrets = fc
  .array(characters, { minLength: 3, maxLength: 40 })
  .map((parts) => parts.join(""))
  .filter((text) => !text.includes("*"));

test("a secret is recognised however it was written, alone and in a text", () => {
  fc.assert(
    fc.property(secrets, (secret) => {
      const mask = maskOf(secret);
      for (const form of printedForms(secret)) {
        expect(mask(`exit: ${form}, and so on`)).not.toContain(form);
        expect(printable(mask(form))).not.toContain(form);
      }
    }),
    { numRuns: 500 },
  );
});

test.each([
  [
    "what Python's json.dumps makes of it",
    "pässwörd😀",
    String.raw`{"p": "p\u00e4ssw\u00f6rd\ud83d\ude00"}`,
    '{"p": "***"}',
  ],
  ["the same in capitals", "pässwörd", String.raw`p\u00E4ssw\u00F6rd`, "***"],
  ["what Python's repr() makes of it", 'a\\b"c\td', String.raw`KeyError: 'a\\b"c\td'`, "KeyError: '***'"],
  ["what is made printable too early", "pass\tword-long", String.raw`pass\u0009word-long`, "***"],
  ["in a URL", "p@ss w/rd", "http://u:p%40ss%20w%2Frd@h", "http://u:***@h"],
  ["in a shell's quotes", "it's me", String.raw`+ login 'it'\''s me'`, "+ login '***'"],
  ["in those of another shell", "it's me", `+ login 'it'"'"'s me'`, "+ login '***'"],
  ["without the line end that its file has", "hunter2\n", `hunter2 ${btoa("hunter2")}`, "*** ***"],
])("is recognised: %s", (_, secret, text, shown) => {
  expect(maskOf(secret)(text)).toBe(shown);
});

test.each([
  ["of one line", "äx'y".repeat(MAX_VALUE_BYTES / 5)],
  [
    "of very many",
    Array.from({ length: MAX_VALUE_BYTES / 6 }, (_, index) => index.toString(36).padStart(5, "ä")).join("\n"),
  ],
  ["of nothing but line ends", "\n".repeat(MAX_VALUE_BYTES)],
])("a large secret %s is masked soon", (_, secret) => {
  const startMs = performance.now();
  const mask = maskOf(secret);
  const text = "a line that a program printed ".repeat(2_000);
  for (let count = 0; count < 5; count++) expect(mask(text)).toBe(text);
  expect(mask(`<${secret}>`)).toBe("<***>");
  expect(performance.now() - startMs).toBeLessThan(5_000);
});
