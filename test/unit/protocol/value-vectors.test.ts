import { describe, expect, it } from "vitest";
import { requests } from "../../../shared/protocol/message.ts";
import { entryBytes, fromWireValue, keyProblem, listLine, toWireValue } from "../../../shared/protocol/value.ts";
import { textOf, valueVectors, writtenOut } from "../../vectors/load.ts";

describe("a key", () => {
  it.each(valueVectors.allowedKeys)("is allowed: values/$name", ({ key }) => {
    expect(keyProblem(textOf(key))).toBeUndefined();
    expect(requests.get.params.safeParse({ key: textOf(key) }).success).toBe(true);
  });

  it.each(valueVectors.refusedKeys)("is refused: values/$name", ({ key, problem }) => {
    expect(keyProblem(textOf(key))).toBe(problem);
    expect(requests.get.params.safeParse({ key: textOf(key) }).error?.issues[0]?.message).toBe(problem);
  });
});

describe("an entry's line", () => {
  it.each(valueVectors.lines)("is printed and counted as values/$name says", ({ key, line, bytes, ...wire }) => {
    const value = fromWireValue(wire);
    expect(listLine(key, value)).toBe(line);
    expect(entryBytes(key, value)).toBe(bytes);
  });

  it.each(valueVectors.lines)("is JSON that gives key and value back: values/$name", ({ key, line, value, base64 }) => {
    expect(Object.entries(JSON.parse(line) as object)).toEqual([[key, value ?? { base64 }]]);
  });
});

describe("the same bytes have one form on the wire", () => {
  it.each(valueVectors.base64)("values/$name", ({ base64, becomes }) => {
    expect(toWireValue(fromWireValue({ base64 }))).toEqual(becomes);
  });
});

describe("an entry of a set", () => {
  it.each(valueVectors.entries)("values/$name", ({ entry, allowed }) => {
    const params = { messageId: "m1", entries: [writtenOut(entry)] };
    expect(requests.set.params.safeParse(params).success).toBe(allowed);
  });
});
