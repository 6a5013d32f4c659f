import { describe, expect, it } from "vitest";
import { encodeFrame, FrameDecoder, type FrameEvent } from "../../../shared/protocol/frame.ts";
import { bytesOf, type FrameVector, frameVectors } from "../../vectors/load.ts";
import { byteByByte, FOLLOWING, followingFrame, inPieces, whole } from "./pieces.ts";

function decode(pieces: readonly Buffer[]): { events: FrameEvent[]; damagedFrames: number } {
  const decoder = new FrameDecoder();
  const events = pieces.flatMap((piece) => decoder.push(piece));
  return { events, damagedFrames: decoder.damagedFrames };
}

function expected(event: FrameVector["events"][number]): FrameEvent {
  if ("payload" in event) return { type: "payload", text: event.payload };
  if ("payloadParts" in event) return { type: "payload", text: bytesOf(event.payloadParts).toString() };
  return { type: "damaged", damage: event.damaged } as FrameEvent;
}

describe.each(frameVectors)("frame/$name: $rule", (vector) => {
  const bytes = bytesOf(vector.bytes);
  const events = vector.events.map(expected);
  const { damagedFrames } = vector;

  it("means the same whole, byte by byte and in odd pieces", () => {
    for (const pieces of [whole(bytes), byteByByte(bytes), inPieces(bytes, 7919)]) {
      expect(decode(pieces)).toEqual({ events, damagedFrames });
    }
  });

  it("leaves the frame behind it sound", () => {
    const followed = Buffer.concat([bytes, followingFrame]);
    const atTheEnd = (vector.whenFollowed ?? []).map(expected);
    const following: FrameEvent = { type: "payload", text: JSON.stringify(FOLLOWING) };
    const result = { events: [...events, ...atTheEnd, following], damagedFrames: damagedFrames + atTheEnd.length };
    for (const pieces of [whole(followed), byteByByte(followed)]) expect(decode(pieces)).toEqual(result);
  });
});

it.each(frameVectors.filter(({ canonical }) => canonical))("frame/$name is what the encoder makes", (vector) => {
  const [event] = vector.events.map(expected);
  if (event?.type !== "payload") throw new Error("a canonical vector has a payload");
  expect(encodeFrame(JSON.parse(event.text)).equals(bytesOf(vector.bytes))).toBe(true);
});
