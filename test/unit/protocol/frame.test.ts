import { describe, expect, it } from "vitest";
import { LocalProtocolError } from "../../../shared/protocol/errors.ts";
import { encodeFrame, FrameDecoder, NOTHING } from "../../../shared/protocol/frame.ts";
import { FRAME_OVERHEAD, MAX_PAYLOAD } from "../../../shared/protocol/limits.ts";
import { inPieces } from "./pieces.ts";

const SEPARATOR = 0x1e;

describe("the encoder", () => {
  it("refuses a message that is larger than a frame may be, before anything is sent", () => {
    const largest = "x".repeat(MAX_PAYLOAD - 2);
    expect(encodeFrame(largest)).toHaveLength(MAX_PAYLOAD + FRAME_OVERHEAD);
    expect(() => encodeFrame(`${largest}x`)).toThrow(LocalProtocolError);
    expect(() => encodeFrame("é".repeat(MAX_PAYLOAD / 2))).toThrow(/262146 bytes is over the frame's limit of 262144/);
  });

  it("makes UTF-8 of any text, lone surrogates too", () => {
    for (const text of ["\ud83d", "\u0080", "é", "東京", "😀", "a\udc00b", "\u001e\n"]) {
      const [event] = new FrameDecoder().push(encodeFrame({ text }));
      expect(event).toEqual({ type: "payload", text: JSON.stringify({ text }) });
    }
  });
});

describe("the decoder", () => {
  it("never holds more than one frame, whatever comes", () => {
    const decoder = new FrameDecoder();
    let largest = 0;
    for (const piece of inPieces(Buffer.concat([Buffer.of(SEPARATOR), Buffer.alloc(3 * MAX_PAYLOAD, "a")]), 50)) {
      decoder.push(piece);
      largest = Math.max(largest, decoder.bufferSize);
    }
    expect(largest).toBeLessThanOrEqual(MAX_PAYLOAD + FRAME_OVERHEAD);
    expect(decoder.damagedFrames).toBe(1);
  });

  it("holds nothing of frames that arrive whole", () => {
    const decoder = new FrameDecoder();
    const before = decoder.bufferSize;
    decoder.push(encodeFrame("x".repeat(MAX_PAYLOAD - 2)));
    expect(decoder.bufferSize).toBe(before);
  });

  it("gives the room of a large frame back, once it has ended", () => {
    const decoder = new FrameDecoder();
    const frame = encodeFrame("x".repeat(MAX_PAYLOAD - 2));
    for (const piece of inPieces(frame, 5_000)) decoder.push(piece);
    expect(decoder.damagedFrames).toBe(0);
    expect(decoder.bufferSize).toBe(0);
  });

  it("looks at each byte of a flood of separators a fixed number of times", () => {
    // Looked at again and again, two MiB take half a minute and more; once through, a second or two on a slow machine.
    const decoder = new FrameDecoder();
    const startedAt = performance.now();
    decoder.push(Buffer.alloc(2 * 1024 * 1024, SEPARATOR));
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    expect(decoder.damagedFrames).toBe(2 * 1024 * 1024 - 1);
  });

  it("counts a stretch of garbage once, however it is cut", () => {
    const decoder = new FrameDecoder();
    const events = inPieces(Buffer.from("garbage\nand more of it\n\n"), 3).flatMap((piece) => decoder.push(piece));
    expect(events).toEqual([{ type: "damaged", damage: "garbage" }]);
    expect(decoder.damagedFrames).toBe(1);
  });

  it("hears nothing in the line feed that shows whether anybody is there", () => {
    const decoder = new FrameDecoder();
    expect(decoder.push(NOTHING)).toEqual([]);
    expect(decoder.damagedFrames).toBe(0);
  });

  it("does not keep a view of the caller's bytes", () => {
    const decoder = new FrameDecoder();
    const frame = encodeFrame({ a: 1 });
    const first = Buffer.from(frame.subarray(0, 12));
    decoder.push(first);
    first.fill(0);
    expect(decoder.push(frame.subarray(12))).toEqual([{ type: "payload", text: '{"a":1}' }]);
  });

  it("takes a piece of a larger buffer as no more than the piece", () => {
    const frame = encodeFrame({ a: 1 });
    const surrounded = Buffer.concat([Buffer.from("xx"), frame, Buffer.from("yy")]);
    const piece = new Uint8Array(surrounded.buffer, surrounded.byteOffset + 2, frame.length);
    expect(new FrameDecoder().push(piece)).toHaveLength(1);
  });
});
