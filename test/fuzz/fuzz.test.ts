import fc from "fast-check";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { encodeFrame, FrameDecoder, type FrameEvent } from "../../shared/protocol/frame.ts";
import { parseMessage } from "../../shared/protocol/message.ts";
import { playEpisode, SEQUENCES_PER_EPISODE } from "./episode.ts";

const SEED = 20130121;
const SEQUENCES = 1_000_000;

describe("whatever bytes arrive and however they are cut", () => {
  it(
    "one million sequences give events or violations, the same whole as in pieces, within one frame's memory",
    { timeout: 300_000 },
    async () => {
      for (let episode = 0; episode < SEQUENCES / SEQUENCES_PER_EPISODE; episode += 1) {
        playEpisode(SEED, episode);
        if (episode % 500 === 0) await nextTurn();
      }
    },
  );
});

describe("properties that shrink to the smallest case", () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 12 }), { maxLength: 12 });
  const frames = fc.array(
    fc.oneof(
      pieces,
      fc.jsonValue().map((json) => [encodeFrame(json)]),
    ),
    { maxLength: 6 },
  );

  it("pieces mean what the whole means", () => {
    fc.assert(
      fc.property(frames, (parts) => {
        const cut = new FrameDecoder();
        const whole = new FrameDecoder();
        const ofPieces: FrameEvent[] = parts.flat().flatMap((piece) => cut.push(piece));
        expect(ofPieces).toEqual(whole.push(Buffer.concat(parts.flat())));
        expect(cut.damagedFrames).toBe(whole.damagedFrames);
      }),
      { seed: SEED },
    );
  });

  it("a frame gives back what was put in, whatever stood before it", () => {
    fc.assert(
      fc.property(pieces, fc.jsonValue(), (before, json) => {
        const decoder = new FrameDecoder();
        for (const piece of before) decoder.push(piece);
        expect(decoder.push(encodeFrame(json)).at(-1)).toEqual({ type: "payload", text: JSON.stringify(json) });
      }),
      { seed: SEED },
    );
  });

  it("any JSON is a message of some kind", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(parseMessage(text)).toHaveProperty("type");
      }),
      { seed: SEED },
    );
  });
});
