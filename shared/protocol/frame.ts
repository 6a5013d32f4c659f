/**
 * The frame, the same in both directions and on every channel:
 *
 *     0x1E  crc32 of the payload, 8 lower-case hex digits  0x20  payload, one JSON text in UTF-8  0x0A
 *
 * in the manner of RFC 7464 (JSON text sequences), with a checksum. The payload is compact JSON, so neither 0x1E nor 0x0A
 * can stand inside it, and a reader that lost its place finds it again at the next 0x1E.
 */
import { isUtf8 } from "node:buffer";
import { crc32 } from "node:zlib";
import { LocalProtocolError } from "./errors.ts";
import { FRAME_OVERHEAD, MAX_PAYLOAD } from "./limits.ts";

const RECORD_SEPARATOR = 0x1e;
const SPACE = 0x20;
const LINE_FEED = 0x0a;
const CHECKSUM_DIGITS = 8;
const PAYLOAD_OFFSET = 1 + CHECKSUM_DIGITS + 1;
const FIRST_BUFFER = 4096;
/** What stands between 0x1E and 0x0A. */
const MAX_CONTENT = CHECKSUM_DIGITS + 1 + MAX_PAYLOAD;

/** A lone line feed between frames means nothing; writing one shows whether anybody is there. */
export const NOTHING = Uint8Array.of(LINE_FEED);

/** Why bytes were dropped; the first of a burst is reported. */
export type Damage = "garbage" | "cut-short" | "too-long" | "malformed" | "checksum";

export type FrameEvent = { type: "payload"; text: string } | { type: "damaged"; damage: Damage };

/** Wraps one message. Throws LocalProtocolError when it is larger than a frame may be. */
export function encodeFrame(message: unknown): Buffer {
  const text = JSON.stringify(message);
  const length = Buffer.byteLength(text);
  if (length > MAX_PAYLOAD) {
    throw new LocalProtocolError(`a message of ${length} bytes is over the frame's limit of ${MAX_PAYLOAD}`);
  }
  const frame = Buffer.allocUnsafe(length + FRAME_OVERHEAD);
  frame[0] = RECORD_SEPARATOR;
  frame.write(checksum(text), 1, "latin1");
  frame[PAYLOAD_OFFSET - 1] = SPACE;
  frame.write(text, PAYLOAD_OFFSET, "utf8");
  frame[PAYLOAD_OFFSET + length] = LINE_FEED;
  return frame;
}

function checksum(payload: string | Buffer): string {
  return crc32(payload).toString(16).padStart(CHECKSUM_DIGITS, "0");
}

/**
 * Finds frames in a stream of bytes, however they are cut. Never buffers more than one frame. Damage is reported once per
 * burst (until the next sound frame) and always counted.
 */
export class FrameDecoder {
  /** The bytes after 0x1E of a frame whose end has not arrived. */
  #partial = Buffer.allocUnsafe(FIRST_BUFFER);
  #partialLength = 0;
  #isInFrame = false;
  /** One stretch of bytes between frames counts once, however it is cut. */
  #isGapCounted = false;
  #isInBurst = false;
  #damagedFrames = 0;

  /** How often something that is no sound frame was dropped. */
  get damagedFrames(): number {
    return this.#damagedFrames;
  }

  /** The memory held for a frame whose end has not arrived. */
  get bufferSize(): number {
    return this.#partial.length;
  }

  push(chunk: Uint8Array): FrameEvent[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const events: FrameEvent[] = [];
    let at = 0;
    while (at < bytes.length) {
      at = this.#isInFrame ? this.#readFrame(bytes, at, events) : this.#skipGap(bytes, at, events);
    }
    return events;
  }

  /** Skips to the next 0x1E and takes it. */
  #skipGap(bytes: Buffer, from: number, events: FrameEvent[]): number {
    const separator = bytes.indexOf(RECORD_SEPARATOR, from);
    const gap = bytes.subarray(from, separator === -1 ? bytes.length : separator);
    if (!this.#isGapCounted && gap.some((byte) => byte !== LINE_FEED)) {
      this.#isGapCounted = true;
      this.#reportDamage("garbage", events);
    }
    if (separator === -1) return bytes.length;
    this.#isInFrame = true;
    return separator + 1;
  }

  /** Takes bytes up to the frame's 0x0A, or up to the 0x1E that shows that it was cut short. */
  #readFrame(bytes: Buffer, from: number, events: FrameEvent[]): number {
    // The separator first: it bounds the search for the line feed, so that a flood of separators costs one pass.
    const separator = bytes.indexOf(RECORD_SEPARATOR, from);
    const before = bytes.subarray(from, separator === -1 ? bytes.length : separator);
    const lineFeed = before.indexOf(LINE_FEED);
    const content = lineFeed === -1 ? before : before.subarray(0, lineFeed);
    const stop = from + content.length;
    if (this.#partialLength + content.length > MAX_CONTENT) {
      this.#leaveFrame(true);
      this.#reportDamage("too-long", events);
      return stop;
    }
    if (lineFeed !== -1) {
      this.#finish(this.#join(content), events);
      return stop + 1;
    }
    if (separator === -1) {
      this.#keep(content);
      return stop;
    }
    this.#leaveFrame(false);
    this.#reportDamage("cut-short", events);
    return stop;
  }

  #finish(frame: Buffer, events: FrameEvent[]): void {
    this.#leaveFrame(false);
    const payload = frame.subarray(CHECKSUM_DIGITS + 1);
    if (frame[CHECKSUM_DIGITS] !== SPACE || !isUtf8(payload)) {
      this.#reportDamage("malformed", events);
    } else if (frame.toString("latin1", 0, CHECKSUM_DIGITS) !== checksum(payload)) {
      this.#reportDamage("checksum", events);
    } else {
      this.#isInBurst = false;
      events.push({ type: "payload", text: payload.toString() });
    }
  }

  #leaveFrame(isGapCounted: boolean): void {
    this.#isInFrame = false;
    this.#isGapCounted = isGapCounted;
    this.#partialLength = 0;
  }

  #reportDamage(damage: Damage, events: FrameEvent[]): void {
    this.#damagedFrames += 1;
    if (this.#isInBurst) return;
    this.#isInBurst = true;
    events.push({ type: "damaged", damage });
  }

  #join(rest: Buffer): Buffer {
    if (this.#partialLength === 0) return rest;
    this.#keep(rest);
    return this.#partial.subarray(0, this.#partialLength);
  }

  #keep(bytes: Buffer): void {
    const needed = this.#partialLength + bytes.length;
    if (needed > this.#partial.length) {
      const larger = Buffer.allocUnsafe(Math.min(MAX_CONTENT, Math.max(needed, this.#partial.length * 2)));
      this.#partial.copy(larger, 0, 0, this.#partialLength);
      this.#partial = larger;
    }
    bytes.copy(this.#partial, this.#partialLength);
    this.#partialLength = needed;
  }
}
