/** Reads what a program prints; one that prints without end has to wait now and then. */
import type { Readable } from "node:stream";

/** What a program may print before it has to wait, and how long: a flood must not keep the agent busy. Not measured. */
const BURST_BYTES = 256 * 1024;
const BURST_PAUSE_MS = 10;

/** Hands over each piece as it comes, until the function that is returned is called: it reads no more, whoever still has the other end. */
export function readUnhurried(stream: Readable, take: (piece: Buffer) => void): () => void {
  let burstBytes = 0;
  let timer: NodeJS.Timeout | undefined;
  stream.on("error", () => undefined);
  stream.on("data", (piece: Buffer) => {
    take(piece);
    burstBytes += piece.length;
    if (burstBytes < BURST_BYTES) return;
    burstBytes = 0;
    stream.pause();
    timer = setTimeout(() => {
      stream.resume();
    }, BURST_PAUSE_MS);
  });
  return () => {
    clearTimeout(timer);
    stream.destroy();
  };
}
