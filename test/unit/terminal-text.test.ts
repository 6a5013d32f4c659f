import { describe, expect, it } from "vitest";
import { ageInWords, printable } from "../../shared/terminal-text.ts";

describe("text from a guest", () => {
  it.each([
    ["\u001b[31mred", "\\u001b[31mred"],
    ["one\ntwo\r\tthree", "one\\u000atwo\\u000d\\u0009three"],
    ["\u0000\u007f\u009b31m", "\\u0000\\u007f\\u009b31m"],
    ["user\u202egnp.exe", "user\\u202egnp.exe"],
    ["\u061c\u200e\u200f\u2066\u2069", "\\u061c\\u200e\\u200f\\u2066\\u2069"],
    ["a\u2028b\u2029c", "a\\u2028b\\u2029c"],
    ["\ufeffhidden", "\\ufeffhidden"],
    ["half \ud83d of it", "half \\ud83d of it"],
  ])("is shown and not obeyed: %j", (text, shown) => {
    expect(printable(text)).toBe(shown);
  });

  it("is left as it is where it does no harm", () => {
    for (const text of ["größe 東京 😀", "C:\\path", 'say "hi"', "", "a\u00a0b"]) expect(printable(text)).toBe(text);
  });
});

describe("an age", () => {
  it.each([
    [0, "0 seconds"],
    [999, "0 seconds"],
    [1_000, "1 second"],
    [59_999, "59 seconds"],
    [60_000, "1 minute"],
    [120_000, "2 minutes"],
    [3_599_999, "59 minutes"],
    [3_600_000, "1 hour"],
    [86_399_999, "23 hours"],
    [86_400_000, "1 day"],
    [31 * 86_400_000, "31 days"],
  ])("of %i ms is '%s'", (ms, words) => {
    expect(ageInWords(ms)).toBe(words);
  });
});
