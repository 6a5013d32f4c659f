import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseCommandLine, quoteWord, splitWords } from "../../../../manager/console/command-line.ts";

describe("words", () => {
  it.each([
    ["sendVmMessage Vm name=a", ["sendVmMessage", "Vm", "name=a"]],
    ["  a \t b\r\n", ["a", "b"]],
    ["", []],
    ["   ", []],
    ['message="two words"', ["message=two words"]],
    ["message='two words'", ["message=two words"]],
    ["message=two\\ words", ["message=two words"]],
    ['a"b c"d', ["ab cd"]],
    [`'it'"'"'s'`, ["it's"]],
    ['"a\\"b\\\\c"', ['a"b\\c']],
    ['"C:\\dir"', ["C:\\dir"]],
    ["'C:\\dir'", ["C:\\dir"]],
    ["a\\'b", ["a'b"]],
    ['message=""', ["message="]],
    ["''", [""]],
    ['"line 1\nline 2"', ["line 1\nline 2"]],
    ["größe=東京", ["größe=東京"]],
    ["$HOME `id` $(id) * #", ["$HOME", "`id`", "$(id)", "*", "#"]],
  ])("are read as a shell reads them: %j", (line, words) => {
    expect(splitWords(line)).toEqual(words);
  });

  it.each([
    ['a "b', /double quote is not closed/],
    ['a "b\\"', /double quote is not closed/],
    ["a 'b", /single quote is not closed/],
    ["a b\\", /ends in a backslash/],
  ])("that do not end are refused: %j", (line, problem) => {
    expect(() => splitWords(line)).toThrow(problem);
  });

  it("that were quoted are read back as they were", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary" })), (words) => {
        expect(splitWords(words.map(quoteWord).join(" "))).toEqual(words);
      }),
    );
  });

  it("of the longest line are split in no time, closed or not", () => {
    const long = "\\a".repeat(32 * 1024);
    expect(splitWords(`"${long}"`)).toEqual([long]);
    expect(() => splitWords(`"${long}`)).toThrow(/not closed/);
  });
});

describe("a command line", () => {
  it("has a verb, operands and attributes; verb and names of attributes in any case", () => {
    const line = parseCommandLine("SENDvmMessage Vm Name=Web1 KEY=a=b message='x y'");
    expect(line?.verb).toBe("sendvmmessage");
    expect(line?.operands).toEqual(["Vm"]);
    expect([...(line?.attributes ?? [])]).toEqual([
      ["name", "Web1"],
      ["key", "a=b"],
      ["message", "x y"],
    ]);
  });

  it("without words is none", () => {
    expect(parseCommandLine("  ")).toBeUndefined();
  });

  it("with an attribute twice is refused", () => {
    expect(() => parseCommandLine("show Vm name=a NAME=b")).toThrow("name= is given twice");
  });

  it("that is not UTF-8 is refused, for no value is changed in silence", () => {
    expect(() => parseCommandLine("sendVmMessage Vm name=a key=k message=\ufffd")).toThrow(/not UTF-8/);
  });
});
