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
const DIGITS = "0123456789abcdef";
const BITS_PER_DIGIT = 4;
const FIRST_BUFFER = 4096;
const NO_BUFFER = Buffer.alloc(0);
/** What stands between 0x1E and 0x0A. */
const MAX_CONTENT = CHECKSUM_DIGITS + 1 + MAX_PAYLOAD;

/** A lone line feed between frames means nothing; writing one shows whether anybody is there. */
export const NOTHING = Uint8Array.of(LINE_FEED);

/** Why bytes were dropped; the first of a burst is reported. */
export type Damage = "garbage" | "cut-short" | "too-long" | "malformed" | "checksum";

export type FrameEvent = { type: "payload"; text: string } | { type: "damaged"; damage: Damage };

/** Wraps one message. Throws LocalProtocolError when it is larger than a frame may be. */
export function encodeFrame(message: unknown): Buffer {
  // All of it becomes bytes at once, the checksum's digits last: that is the fastest way to both.
  const frame = Buffer.from(`\u001e00000000 ${JSON.stringify(message)}\n`);
  const length = frame.length - FRAME_OVERHEAD;
  if (length > MAX_PAYLOAD) {
    throw new LocalProtocolError(`a message of ${length} bytes is over the frame's limit of ${MAX_PAYLOAD}`);
  }
  let checksum = crc32(frame.subarray(PAYLOAD_OFFSET, PAYLOAD_OFFSET + length));
  for (let at = CHECKSUM_DIGITS; at > 0; at -= 1) {
    frame[at] = lastDigit(checksum);
    checksum >>>= BITS_PER_DIGIT;
  }
  return frame;
}

/** Whether the digits that begin at `from` are the checksum's: eight of them, lower case. */
function isChecksum(bytes: Buffer, from: number, checksum: number): boolean {
  let rest = checksum;
  for (let at = from + CHECKSUM_DIGITS - 1; at >= from; at -= 1) {
    if (bytes[at] !== lastDigit(rest)) return false;
    rest >>>= BITS_PER_DIGIT;
  }
  return true;
}

function lineFeedIn(bytes: Buffer, from: number, end: number): number | undefined {
  const at = end === bytes.length ? bytes.indexOf(LINE_FEED, from) : bytes.subarray(0, end).indexOf(LINE_FEED, from);
  return at === -1 ? undefined : at;
}

function lastDigit(checksum: number): number {
  return DIGITS.charCodeAt(checksum & 0xf);
}

/**
 * Finds frames in a stream of bytes, however they are cut. Never buffers more than one frame. Damage is reported once per
 * burst (until the next sound frame) and always counted.
 */
export class FrameDecoder {
  /** The bytes after 0x1E of a frame whose end has not arrived. Most frames arrive whole and need none of it. */
  #partial = NO_BUFFER;
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
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const events: FrameEvent[] = [];
    let at = 0;
    while (at < bytes.length) {
      at = this.#isInFrame ? this.#readFrame(bytes, at, events) : this.#skipGap(bytes, at, events);
    }
    return events;
  }

  /** Skips to the next 0x1E and takes it. */
  #skipGap(bytes: Buffer, from: number, events: FrameEvent[]): number {
    if (bytes[from] !== RECORD_SEPARATOR) {
      const separator = bytes.indexOf(RECORD_SEPARATOR, from);
      const end = separator === -1 ? bytes.length : separator;
      this.#countGap(bytes.subarray(from, end), events);
      return end;
    }
    this.#isInFrame = true;
    return from + 1;
  }

  #countGap(gap: Buffer, events: FrameEvent[]): void {
    if (this.#isGapCounted || gap.every((byte) => byte === LINE_FEED)) return;
    this.#isGapCounted = true;
    this.#reportDamage("garbage", events);
  }

  /** Takes bytes up to the frame's 0x0A, or up to the 0x1E that shows that it was cut short. */
  #readFrame(bytes: Buffer, from: number, events: FrameEvent[]): number {
    // The separator first: it bounds the search for the line feed, so that a flood of separators costs one pass.
    const separator = bytes.indexOf(RECORD_SEPARATOR, from);
    const end = separator === -1 ? bytes.length : separator;
    const lineFeed = lineFeedIn(bytes, from, end);
    const stop = lineFeed ?? end;
    if (this.#partialLength + (stop - from) > MAX_CONTENT) {
      this.#leaveFrame(true);
      this.#reportDamage("too-long", events);
    } else if (lineFeed !== undefined) {
      this.#finish(bytes, from, lineFeed, events);
      return lineFeed + 1;
    } else if (separator === -1) {
      this.#keep(bytes.subarray(from));
    } else {
      this.#leaveFrame(false);
      this.#reportDamage("cut-short", events);
    }
    return stop;
  }

  /** The frame's last bytes are here. */
  #finish(bytes: Buffer, from: number, end: number, events: FrameEvent[]): void {
    if (this.#partialLength === 0) {
      this.#judge(bytes, from, end, events);
    } else {
      this.#keep(bytes.subarray(from, end));
      this.#judge(this.#partial, 0, this.#partialLength, events);
    }
    this.#leaveFrame(false);
  }

  /** @param from where the checksum begins */
  #judge(bytes: Buffer, from: number, end: number, events: FrameEvent[]): void {
    const space = from + CHECKSUM_DIGITS;
    const payload = bytes.subarray(space + 1, end);
    if (space >= end || bytes[space] !== SPACE || !isUtf8(payload)) {
      this.#reportDamage("malformed", events);
    } else if (!isChecksum(bytes, from, crc32(payload))) {
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
    // One large frame is no reason to hold its room for as long as the channel lasts.
    if (this.#partial.length > FIRST_BUFFER) this.#partial = NO_BUFFER;
  }

  #reportDamage(damage: Damage, events: FrameEvent[]): void {
    this.#damagedFrames += 1;
    if (this.#isInBurst) return;
    this.#isInBurst = true;
    events.push({ type: "damaged", damage });
  }

  #keep(bytes: Buffer): void {
    const needed = this.#partialLength + bytes.length;
    if (needed > this.#partial.length) {
      const larger = Buffer.allocUnsafe(
        Math.min(MAX_CONTENT, Math.max(needed, FIRST_BUFFER, this.#partial.length * 2)),
      );
      this.#partial.copy(larger, 0, 0, this.#partialLength);
      this.#partial = larger;
    }
    bytes.copy(this.#partial, this.#partialLength);
    this.#partialLength = needed;
  }
}
