import { expect, it } from "vitest";
import { type Line, LineSplitter, MAX_LINE_BYTES } from "../../../../manager/console/lines.ts";

function split(...chunks: (string | Uint8Array)[]): Line[] {
  const splitter = new LineSplitter();
  return [...chunks.flatMap((chunk) => [...splitter.split(Buffer.from(chunk))]), ...splitter.end()];
}

const line = (text: string): Line => ({ type: "line", text });

it("lines end in newlines, and the last one in nothing", () => {
  expect(split("a\nb\r\n\nc")).toEqual([line("a"), line("b"), line(""), line("c")]);
  expect(split("a\n")).toEqual([line("a")]);
  expect(split()).toEqual([]);
});

it("lines are put together from any pieces, also within a character", () => {
  const bytes = Buffer.from("größe\n東京\n");
  expect(split(...[...bytes].map((byte) => Uint8Array.of(byte)))).toEqual([line("größe"), line("東京")]);
});

it("the longest line is taken, and of a longer one nothing is kept", () => {
  const longest = "x".repeat(MAX_LINE_BYTES);
  expect(split(`${longest}\nb\n`)).toEqual([line(longest), line("b")]);
  expect(split(`${longest}x`, longest, "\nb\n")).toEqual([{ type: "too-long" }, line("b")]);
  expect(split(`${longest}x`)).toEqual([{ type: "too-long" }]);
});
