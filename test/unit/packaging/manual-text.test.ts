/** From texts to mdoc(7): nothing that a text says is markup. */
import { describe, expect, test } from "vitest";
import { helpBlocks } from "../../../packaging/manual/help-text.ts";
import { argument, body, display, list, prose, section } from "../../../packaging/manual/mdoc.ts";
import { usageLine } from "../../../packaging/manual/usage.ts";

describe("prose", () => {
  test.each([
    [".Sh is a macro", "\\%.Sh is a macro"],
    ["'it' is quoted", "\\(aqit\\(aq is quoted"],
    ["a\\b", "\\%a\\(rsb"],
    ["say --every 10", "say \\-\\-every \\%10"],
    ["~/x `y` ^", "\\(ti/x \\(gay\\(ga \\%\\(ha"],
    ["µ and 😀", "\\%\\[u00B5] and \\%\\[u1F600]"],
  ])("%s is shown as it is", (text, source) => {
    expect(prose(text)).toEqual([source]);
  });

  test("each sentence has a line", () => {
    expect(prose("One is here.\n  Two, e.g. this.  Three")).toEqual(["One is here.", "Two, \\%e.g. this.", "Three"]);
  });
});

test.each([
  ["VM", "\\&VM"],
  ["Fl", "\\&Fl"],
  ["%A", "\\&%A"],
  [".", "\\&."],
  ["|", "\\&|"],
  ["", '""'],
  ['say "hi"', '"say \\(dqhi\\(dq"'],
  ["key=value", "key=value"],
])("the argument '%s' of a macro is no macro, delimiter or quote", (text, source) => {
  expect(argument(text)).toBe(source);
});

test("a line of a display that looks like a request is none", () => {
  expect(display([".ex", "  'ft"])).toEqual([".Bd -literal -offset indent", "\\&.ex", "  \\(aqft", ".Ed"]);
});

test("space stands between paragraphs, and lists bring their own", () => {
  const items = list([{ term: "Fl x", body: ["why"] }]);
  expect(body(["one"], [], ["two"], items)).toEqual(["one", ".Pp", "two", ...items]);
  expect(section("FILES", [])).toEqual([]);
});

test.each([
  ["agent -l | -g KEY", ".Nm agent Fl l | Fl g Ar \\&KEY"],
  ["[--every TIME] -- COMMAND [ARGS...]", ".Nm agent Oo Fl \\-every Ar TIME Oc Fl \\- Ar COMMAND Oo Ar ARGS ... Oc"],
  ["run [...]", ".Nm agent Cm run Oo No ... Oc"],
  ["[options] [command]", ".Nm agent Oo Ar options Oc Oo Ar command Oc"],
  ["[-k KEY2 ...]", ".Nm agent Oo Fl k Ar KEY2 No ... Oc"],
  ["--otherwise defaults|fail", ".Nm agent Fl \\-otherwise Cm defaults|fail"],
])("the usage '%s' becomes macros", (usage, source) => {
  expect(usageLine(usage, "agent")).toBe(source);
});

describe("a text after the help", () => {
  test("is paragraphs, and titles with two columns below", () => {
    const text = "\nIt does\nthis.\n\nExamples:\n  a -x   one\n  a -yy  two,\n         and more\n  a\nAnd so on.\n";
    expect(helpBlocks(text)).toEqual([
      { type: "paragraph", text: "It does this." },
      {
        type: "table",
        title: "Examples",
        rows: [
          { term: "a -x", meaning: "one" },
          { term: "a -yy", meaning: "two, and more" },
          { term: "a", meaning: "" },
        ],
      },
      { type: "paragraph", text: "And so on." },
    ]);
  });

  test("has a third column that explains the second", () => {
    expect(helpBlocks("Codes:\n  2  CRITICAL  also no answer")).toEqual([
      { type: "table", title: "Codes", rows: [{ term: "2", meaning: "CRITICAL: also no answer" }] },
    ]);
  });

  test("is shown as it is where its lines have other indents, with what stands beside them above", () => {
    expect(helpBlocks("The file:\n  keys:\n    port: 80    a number\n      - x")).toEqual([
      { type: "literal", title: "The file", lines: ["keys:", "  # a number", "  port: 80", "    - x"] },
    ]);
  });
});
