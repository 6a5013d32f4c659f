/** Ways in which the same bytes can arrive. */
import { encodeFrame } from "../../../shared/protocol/frame.ts";

export const LINE_FEEDS = Buffer.from("\n\n");

/** Long inputs are not fed byte by byte but in pieces of a size that divides nothing. */
const SHORT = 8192;
const ODD_PIECE = 997;

export function whole(bytes: Buffer): Buffer[] {
  return [bytes];
}

export function byteByByte(bytes: Buffer): Buffer[] {
  return inPieces(bytes, bytes.length <= SHORT ? 1 : ODD_PIECE);
}

export function inPieces(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => {
    return bytes.subarray(index * size, (index + 1) * size);
  });
}

/** The payloads in bytes that are known to be sound frames. */
export function payloadsOf(bytes: Uint8Array): unknown[] {
  return Buffer.from(bytes)
    .toString()
    .split("\n")
    .filter((frame) => frame !== "")
    .map((frame) => JSON.parse(frame.slice(10)) as unknown);
}

export const FOLLOWING = { following: true };
export const followingFrame = encodeFrame(FOLLOWING);
