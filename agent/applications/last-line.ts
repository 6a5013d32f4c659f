/** The last line that a program printed, on either of its streams; of all the rest nothing is kept. */
import type { Readable } from "node:stream";
import { readUnhurried } from "../unhurried-reading.ts";

/** Kept of the end of each stream: a line that is longer is shown from its middle. */
const MAX_KEPT_BYTES = 4096;

interface Followed {
  /** The end of what came. */
  kept: Buffer;
}

export class LastLine {
  /** The one that said something last comes first. */
  #followed: readonly Followed[] = [];
  readonly #endings: readonly (() => void)[];

  constructor(...streams: Readable[]) {
    this.#endings = streams.map((stream) => {
      const followed = { kept: Buffer.alloc(0) };
      return readUnhurried(stream, (piece) => {
        this.#take(piece, followed);
      });
    });
  }

  /** As it was printed, without the spaces around it; undefined when nothing was. */
  get text(): string | undefined {
    for (const { kept } of this.#followed) {
      const line = lastLineOf(kept);
      if (line !== undefined) return line;
    }
    return undefined;
  }

  /** Reads no more, whoever still has the other end. */
  close(): void {
    for (const end of this.#endings) end();
  }

  #take(piece: Buffer, followed: Followed): void {
    followed.kept = Buffer.concat([followed.kept, piece.subarray(-MAX_KEPT_BYTES)]).subarray(-MAX_KEPT_BYTES);
    this.#followed = [followed, ...this.#followed.filter((one) => one !== followed)];
  }
}

function lastLineOf(bytes: Buffer): string | undefined {
  return bytes
    .toString()
    .split(/[\r\n]/)
    .map((line) => line.trim())
    .findLast((line) => line !== "");
}
