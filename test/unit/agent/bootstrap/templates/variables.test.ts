import { describe, expect, test } from "vitest";
import { type GivenValue, type Parameter, type Values } from "../../../../../agent/bootstrap/module.ts";
import { typeValue, type ValueSchema } from "../../../../../agent/bootstrap/templates/typed-values.ts";
import { type TemplateParameter, variablesFrom } from "../../../../../agent/bootstrap/templates/variables.ts";
import type { Value } from "../../../../../shared/protocol/value.ts";

function declared(
  variable: string,
  schema: ValueSchema = { type: "string" },
  more: Partial<Parameter> = {},
): TemplateParameter {
  const plain = { aliases: [], description: "", required: false, hidden: false, password: false, keep: false };
  return { variable, schema, parameter: { key: `com.example.${variable}`, ...plain, ...more } };
}

function given(values: Record<string, Value>, isSecret = false): Values {
  return new Map(Object.entries(values).map(([key, value]): [string, GivenValue] => [key, { value, isSecret }]));
}

describe("a value", () => {
  test.each<{ text: string; schema: ValueSchema; value: unknown }>([
    { text: "", schema: { type: "string" }, value: "" },
    { text: " 1\n", schema: { type: "string" }, value: " 1\n" },
    { text: "-7", schema: { type: "integer" }, value: -7 },
    { text: "+08", schema: { type: "integer" }, value: 8 },
    { text: "1.5e3", schema: { type: "number" }, value: 1500 },
    { text: ".5", schema: { type: "number" }, value: 0.5 },
    { text: "yes", schema: { type: "boolean" }, value: true },
    { text: "0", schema: { type: "boolean" }, value: false },
    { text: '{"a":[1,null]}', schema: { type: "json" }, value: { a: [1, null] } },
    { text: "abc", schema: { type: "string", pattern: /^(?:a|abc)$/u }, value: "abc" },
    { text: "b", schema: { type: "string", enum: ["a", "b"] }, value: "b" },
    { text: "65535", schema: { type: "integer", minimum: 1, maximum: 65_535 }, value: 65_535 },
  ])("$text is a $schema.type", ({ text, schema, value }) => {
    expect(typeValue(text, schema)).toEqual({ value });
  });

  test.each<{ text: string; schema: ValueSchema; problem: string }>([
    { text: "eighty", schema: { type: "integer" }, problem: "is no integer" },
    { text: "", schema: { type: "integer" }, problem: "is no integer" },
    { text: "1\n", schema: { type: "integer" }, problem: "is no integer" },
    { text: "0x10", schema: { type: "integer" }, problem: "is no integer" },
    { text: "9007199254740993", schema: { type: "integer" }, problem: "is no integer" },
    { text: "Infinity", schema: { type: "number" }, problem: "is no number" },
    { text: "1e999", schema: { type: "number" }, problem: "is no number" },
    { text: "True", schema: { type: "boolean" }, problem: "is neither true nor false" },
    { text: "{", schema: { type: "json" }, problem: "is no JSON" },
    { text: "0", schema: { type: "integer", minimum: 1 }, problem: "is less than 1" },
    { text: "65536", schema: { type: "integer", maximum: 65_535 }, problem: "is more than 65535" },
    { text: "c", schema: { type: "string", enum: ["a", "b"] }, problem: "is none of a, b" },
    { text: "3", schema: { type: "integer", enum: [1, 2] }, problem: "is none of 1, 2" },
    { text: "ab\n", schema: { type: "string", pattern: /^(?:ab)$/u }, problem: "does not match ^(?:ab)$" },
  ])("$text $problem", ({ text, schema, problem }) => {
    expect(typeValue(text, schema)).toEqual({ problem });
  });
});

describe("a template's variables", () => {
  test("are typed, and null where nothing is given", () => {
    const parameters = [
      declared("port", { type: "integer" }),
      declared("host"),
      declared("size", { type: "integer" }, { default: "5" }),
    ];
    expect(variablesFrom(parameters, given({ "com.example.port": "80" }))?.values).toEqual({
      port: 80,
      host: null,
      size: 5,
    });
  });

  test("come from the key before its aliases, and from the first of these that is set", () => {
    const parameters = [declared("host", { type: "string" }, { aliases: ["first", "second"] })];
    expect(variablesFrom(parameters, given({ second: "2", first: "1" }))?.values).toEqual({ host: "1" });
    expect(variablesFrom(parameters, given({ first: "1", "com.example.host": "0" }))?.values).toEqual({ host: "0" });
  });

  test("are none when no key is set and the defaults do not make a whole", () => {
    const withDefault = declared("size", { type: "string" }, { default: "5" });
    expect(
      variablesFrom([withDefault, declared("host", { type: "string" }, { required: true })], given({ other: "x" })),
    ).toBeUndefined();
    expect(variablesFrom([withDefault], given({}))?.values).toEqual({ size: "5" });
    expect(variablesFrom([], given({}))?.values).toEqual({});
  });

  test("are refused with every key that is missing", () => {
    const required = { required: true };
    const parameters = [declared("a", undefined, required), declared("b", undefined, required), declared("c")];
    expect(() => variablesFrom(parameters, given({ "com.example.c": "x" }))).toThrow(
      "needs com.example.a, com.example.b, which are not set",
    );
    expect(() => variablesFrom(parameters, given({ "com.example.a": "x" }))).toThrow(
      "needs com.example.b, which is not set",
    );
  });

  test("are refused with every value that is not as it has to be, by the key that was set", () => {
    const integer: ValueSchema = { type: "integer" };
    const parameters = [declared("port", integer), declared("size", integer, { aliases: ["org.other.size"] })];
    const values = given({ "com.example.port": "eighty", "org.other.size": "\u001b[2J".repeat(100) });
    expect(() => variablesFrom(parameters, values)).toThrow(
      /^com\.example\.port: 'eighty' is no integer; org\.other\.size: '(?:\\u001b\[2J)+.*\.\.\.' is no integer$/,
    );
  });

  test("never show a secret that is refused, whether it was set as one or declared as one", () => {
    const value = { "com.example.pin": "hunter2" };
    const message = "com.example.pin: the value is no integer";
    expect(() => variablesFrom([declared("pin", { type: "integer" }, { password: true })], given(value))).toThrow(
      message,
    );
    expect(() => variablesFrom([declared("pin", { type: "integer" })], given(value, true))).toThrow(message);
  });

  test("are not made of bytes that are no text", () => {
    const values = given({ "com.example.host": Buffer.from([0xff]) });
    expect(() => variablesFrom([declared("host")], values)).toThrow(
      "com.example.host: the value is no text: its bytes are not UTF-8",
    );
  });
});
