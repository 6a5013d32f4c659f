/** The last line that a program printed, on either of its streams; of all the rest nothing is kept. */
import type { Readable } from "node:stream";

/** Kept of the end of each stream: a line that is longer is shown from its middle. */
const MAX_KEPT_BYTES = 4096;

/** What a program may print before it has to wait, and how long: a flood must not keep the agent busy. Not measured. */
const BURST_BYTES = 256 * 1024;
const BURST_PAUSE_MS = 10;

interface Followed {
  stream: Readable;
  /** The end of what came. */
  kept: Buffer;
}

export class LastLine {
  /** The one that said something last comes first. */
  #followed: readonly Followed[];
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(...streams: Readable[]) {
    this.#followed = streams.map((stream) => ({ stream, kept: Buffer.alloc(0) }));
    for (const followed of this.#followed) this.#follow(followed);
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
    for (const timer of this.#timers) clearTimeout(timer);
    for (const { stream } of this.#followed) stream.destroy();
  }

  #follow(followed: Followed): void {
    let burstBytes = 0;
    followed.stream.on("error", () => undefined);
    followed.stream.on("data", (piece: Buffer) => {
      followed.kept = Buffer.concat([followed.kept, piece.subarray(-MAX_KEPT_BYTES)]).subarray(-MAX_KEPT_BYTES);
      this.#followed = [followed, ...this.#followed.filter((one) => one !== followed)];
      burstBytes += piece.length;
      if (burstBytes < BURST_BYTES) return;
      burstBytes = 0;
      this.#rest(followed.stream);
    });
  }

  #rest(stream: Readable): void {
    stream.pause();
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      stream.resume();
    }, BURST_PAUSE_MS);
    this.#timers.add(timer);
  }
}

function lastLineOf(bytes: Buffer): string | undefined {
  return bytes
    .toString()
    .split(/[\r\n]/)
    .map((line) => line.trim())
    .findLast((line) => line !== "");
}
