import { expect, it } from "vitest";
import { tableLines } from "../../shared/cli/table.ts";

it("columns are aligned, and lines have no spaces at their end", () => {
  expect(
    tableLines(
      ["KEY", "VALUE"],
      [
        ["a", "long value"],
        ["long.key", "b"],
      ],
    ),
  ).toEqual(["KEY       VALUE", "a         long value", "long.key  b"]);
});

it("a column in which nothing stands is left out", () => {
  expect(tableLines(["KEY", "NOTES", "AGE"], [["a", "", "1 day"]])).toEqual(["KEY  AGE", "a    1 day"]);
});

it("an escaped cell is as wide as it is printed", () => {
  expect(
    tableLines(
      ["K", "V"],
      [
        ["\u202e", "x"],
        ["a", "y"],
      ],
    ),
  ).toEqual(["K       V", "\\u202e  x", "a       y"]);
});
