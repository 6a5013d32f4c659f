import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  entryBytes,
  fromWireValue,
  listLine,
  toWireValue,
  valueBytes,
  valueFromBytes,
} from "../../../shared/protocol/value.ts";

describe("a value", () => {
  it("survives the wire byte for byte, whatever its bytes are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const back = fromWireValue(toWireValue(valueFromBytes(bytes)));
        expect(Buffer.from(valueBytes(back)).equals(bytes)).toBe(true);
      }),
    );
  });

  it("is text when its bytes are UTF-8 and bytes otherwise", () => {
    expect(valueFromBytes(Buffer.from("größe"))).toBe("größe");
    expect(valueFromBytes(Uint8Array.of(0xff, 0xfe))).toBeInstanceOf(Uint8Array);
    expect(valueFromBytes(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))).toBe("\ufeffa");
  });
});

describe("an entry's line", () => {
  it("holds no control character and no line end, whatever key and value are", () => {
    const anyText = fc.string({ unit: "binary", maxLength: 20 });
    fc.assert(
      fc.property(anyText, anyText, (key, value) => {
        const line = listLine(key, value);

        expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
        expect(JSON.parse(line)).toEqual(Object.fromEntries([[key, value]]));
        expect(entryBytes(key, value)).toBe(Buffer.byteLength(line));
      }),
    );
  });

  it("of a secret shows its name alone, while its value counts", () => {
    expect(listLine("token", null)).toBe('{"token":null}');
    expect(entryBytes("token", "s3cret")).toBe('{"token":"s3cret"}'.length);
  });
});
