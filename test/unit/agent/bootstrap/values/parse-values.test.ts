import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseValues } from "../../../../../agent/bootstrap/values/parse-values.ts";
import { CommandError } from "../../../../../shared/cli/failure.ts";
import { MAX_ENTRIES_PER_CHANGE, MAX_VALUE } from "../../../../../shared/protocol/limits.ts";
import { keyProblem, listLine, type Value, valueFromBytes } from "../../../../../shared/protocol/value.ts";

function parsed(text: string): Record<string, Value> {
  return Object.fromEntries([...parseValues(text, "FILE")].map(([key, { value }]) => [key, value]));
}

function failureOf(text: string): CommandError {
  try {
    parseValues(text, "FILE");
  } catch (error) {
    if (error instanceof CommandError) return error;
    throw error;
  }
  throw new Error("it was taken");
}

describe("values are read from", () => {
  test.each([
    ["an object of JSON", '{"a": "1", "b": "two\\nlines"}', { a: "1", b: "two\nlines" }],
    ["an object over several lines", '{\n\t"a": "1",\n\t"b": ""\n}\n', { a: "1", b: "" }],
    ["the lines of a list", '{"a":"1"}\n{"b":"2"}\n', { a: "1", b: "2" }],
    ["lines with ends of another system and empty ones between", '{"a":"1"}\r\n\r\n{"b":"2"}\r\n', { a: "1", b: "2" }],
    ["YAML", "# ours\na: 1\nb: |\n  two\n  lines\nc: 'it''s'\n", { a: "1", b: "two\nlines\n", c: "it's" }],
    ["keys below `keys`", "keys:\n  a: x\n", { a: "x" }],
    ["keys below `keys` in JSON", '{"keys": {"a": "x"}}', { a: "x" }],
    ["a key of that name", "keys: x\n", { keys: "x" }],
    ["nothing", "", {}],
    ["a comment", "# nobody\n", {}],
    ["an empty object", "{}", {}],
  ])("%s", (_, text, values) => {
    expect(parsed(text)).toEqual(values);
  });

  test.each([
    ["numbers are the text that was written", '{"a": 1.10, "b": -0, "c": 1e3}', { a: "1.10", b: "-0", c: "1e3" }],
    ["a long number loses no digit", "a: 12345678901234567890", { a: "12345678901234567890" }],
    ["true and false are text", "a: true\nb: False\nc: yes", { a: "true", b: "False", c: "yes" }],
    ["a date is text", "a: 2026-11-21", { a: "2026-11-21" }],
    ["base64 of text is text", '{"a": {"base64": "aGk="}}', { a: "hi" }],
    ["base64 of other bytes is bytes", '{"a": {"base64": "/w=="}}', { a: Buffer.from([0xff]) }],
    ["a list is its JSON", "a:\n  - {name: bob, uid: 7}\n  - x", { a: '[{"name":"bob","uid":7},"x"]' }],
    ["a key may be a number", "8080: x", { "8080": "x" }],
  ])("where %s", (_, text, values) => {
    expect(parsed(text)).toEqual(values);
  });

  test("none is a secret unless a module says so", () => {
    expect(parseValues("a: x", "FILE").get("a")).toEqual({ value: "x", isSecret: false });
  });
});

describe("a text is refused with the line", () => {
  test.each([
    ["where a key stands twice", "a: 1\nb: 2\na: 3\n", "FILE, line 3: 'a' stands there twice, first in line 1"],
    [
      "where a list names a key twice",
      '{"a":"1"}\n\n{"a":"2"}\n',
      "FILE, line 3: 'a' stands there twice, first in line 1",
    ],
    [
      "where a list has a secret",
      '{"a":"1"}\n{"db.password":null}\n',
      "FILE, line 2: 'db.password' has no value (a list shows null",
    ],
    ["where a key has no value", "a: 1\nb:\n", "FILE, line 2: 'b' has no value"],
    ["of a key that is none", '{"a": "1",\n"b=c": "2"}', "FILE, line 2: 'b=c': a key cannot contain '='"],
    ["of an empty key", '{"": "1"}', "FILE, line 1: '': a key cannot be empty"],
    ["of a key that is too long", `a: 1\n${"k".repeat(257)}: 2`, "line 2: 'kkk"],
    ["of base64 that is none", '{"a": {"base64": "?"}}', "FILE, line 1: the value of 'a' is not {\"base64\""],
    ["of base64 that is not alone", '{"a": {"base64": "aGk=", "b": 1}}', 'is not {"base64"'],
    ["of half a character", '{"a": "\\ud800"}', "has to be well-formed Unicode"],
    ["of an alias", "a: &x 1\nb: *x\n", "FILE, line 2: the value of 'b' is an alias"],
    ["of an alias inside a value", "a: &x 1\nb: [*x]\n", "FILE, line 2: the value of 'b' is an alias"],
    ["of a number in a list that JSON would change", "a: [12345678901234567890]", "JSON cannot carry unchanged"],
    ["of a tag that is not known", "a: !vault x\n", "FILE, line 1: it is neither JSON nor YAML: tag resolve failed"],
    ["that is no map", "- a\n- b\n", "FILE, line 1: needs keys with their values"],
    ["that is a word", "hunter2", "FILE, line 1: needs keys with their values"],
    [
      "where the host's secrets stand",
      "keys:\n  a: 1\nsecrets:\n  b: {prompt: x}\n",
      "FILE, line 3: 'secrets' cannot stand beside keys",
    ],
    ["where another key stands beside `keys`", "keys: {a: 1}\nb: 2\n", "FILE, line 2: 'b' cannot stand beside keys"],
    ["of a broken line", '{"a":"1"}\n{"b":"hunter2}\n', "FILE, line 2: it is neither JSON nor YAML"],
    ["of a broken object", '{"a": "1",\n"b": hunter2"\n', "it is neither JSON nor YAML"],
    ["of two documents", "a: 1\n---\nb: 2\n", "it is neither JSON nor YAML: multiple docs"],
    ["that is nested without an end", "[".repeat(100_000), "it is neither JSON nor YAML"],
  ])("%s", (_, text, message) => {
    const failure = failureOf(text);
    expect(failure.code).toBe("usage");
    expect(failure.message).toContain(message);
    expect(failure.message).not.toContain("hunter2");
  });

  test.each([
    [
      "a value is over its limit",
      `a: 1\nb: ${"x".repeat(MAX_VALUE + 1)}`,
      "line 2: the value of 'b' is over the limit",
    ],
    [
      "there are too many keys",
      Array.from({ length: MAX_ENTRIES_PER_CHANGE + 1 }, (_, index) => `{"k${index}":"x"}`).join("\n"),
      `line ${MAX_ENTRIES_PER_CHANGE + 1}: more than ${MAX_ENTRIES_PER_CHANGE} keys`,
    ],
  ])("when %s", (_, text, message) => {
    expect(failureOf(text)).toMatchObject({ code: "over-limit", message: expect.stringContaining(message) as string });
  });
});

const value = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.uint8Array().map((bytes) => valueFromBytes(bytes)),
);
const key = fc.string({ unit: "grapheme", minLength: 1 }).filter((text) => keyProblem(text) === undefined);

test("whatever `agent -l` prints is read as it was", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(key, value), { selector: ([name]) => name, maxLength: 8 }), (entries) => {
      const text = entries.map(([name, given]) => `${listLine(name, given)}\n`).join("");
      const read = [...parseValues(text, "FILE")].map(([name, given]) => [name, given.value]);
      expect(read).toEqual(entries);
    }),
  );
});
