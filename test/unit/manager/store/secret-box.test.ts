import { describe, expect, test } from "vitest";
import { canonicalJson } from "../../../../manager/store/canonical-json.ts";
import { boxWithKey } from "./tables.ts";

describe("a secret box", () => {
  test("opens what it sealed, for what it was sealed for", () => {
    const box = boxWithKey(1);
    const sealed = box.seal("hunter2 \u00e9\u{1f600}", "m1");
    expect(Buffer.from(sealed).includes("hunter2")).toBe(false);
    expect(box.open(sealed, "m1")).toBe("hunter2 \u00e9\u{1f600}");
    expect(box.open(sealed, "m2")).toBeUndefined();
    expect(boxWithKey(2).open(sealed, "m1")).toBeUndefined();
  });

  test("seals the same text differently each time", () => {
    const box = boxWithKey(1);
    expect(box.seal("a", "m")).not.toEqual(box.seal("a", "m"));
  });

  test("opens nothing that was changed or cut, at any byte", () => {
    const box = boxWithKey(1);
    const sealed = Buffer.from(box.seal("ab", "m"));
    for (let place = 0; place < sealed.length; place += 1) {
      const changed = Buffer.from(sealed);
      changed.writeUInt8(changed.readUInt8(place) ^ 1, place);
      expect(box.open(changed, "m")).toBeUndefined();
      expect(box.open(sealed.subarray(0, place), "m")).toBeUndefined();
    }
  });
});

test("canonical JSON is the same for objects whose members have another order, and for no others", () => {
  expect(canonicalJson({ b: [{ d: 1, c: null }], a: undefined })).toBe('{"b":[{"c":null,"d":1}]}');
  expect(canonicalJson([{ a: 1, b: 2 }])).toBe(canonicalJson([{ b: 2, a: 1 }]));
  expect(canonicalJson([1, 2])).not.toBe(canonicalJson([2, 1]));
});
