/** The last lines that a program printed, of all its streams in the order they came; of all the rest nothing is kept. */
import type { Readable } from "node:stream";
import { readUnhurried } from "../unhurried-reading.ts";

/** Longer than any value, so that a secret that was printed is a whole one, which can be masked. */
const MAX_KEPT_LINE_BYTES = 64 * 1024;

const LINE_END = /[\r\n]/;

export class LastLines {
  readonly #maxLines: number;
  readonly #lines: string[] = [];
  readonly #open = new Set<OpenLine>();
  readonly #endings: readonly (() => void)[];

  constructor(maxLines: number, ...streams: Readable[]) {
    this.#maxLines = maxLines;
    this.#endings = streams.map((stream) => {
      const line = new OpenLine();
      this.#open.add(line);
      return readUnhurried(stream, (piece) => {
        this.#take(piece, line);
      });
    });
  }

  /** Reads no more, whoever still has the other end. The lines without the spaces around them, and without empty ones. */
  close(): string[] {
    for (const end of this.#endings) end();
    for (const line of this.#open) this.#keep(line.end());
    this.#open.clear();
    return this.#lines;
  }

  /** As Latin-1, a character for each byte: no line end is part of another character in UTF-8, and a piece may end within one. */
  #take(piece: Buffer, line: OpenLine): void {
    const [first = "", ...others] = piece.toString("latin1").split(LINE_END);
    const last = others.pop();
    line.add(first);
    if (last === undefined) return;
    this.#keep(line.end());
    // Of a flood only the end is worth the work.
    const whole = others.filter((bytes) => bytes.trim() !== "").slice(-this.#maxLines);
    for (const bytes of whole) {
      line.add(bytes);
      this.#keep(line.end());
    }
    line.add(last);
  }

  #keep(line: string): void {
    if (line === "") return;
    this.#lines.push(line);
    if (this.#lines.length > this.#maxLines) this.#lines.shift();
  }
}

/** A line that may go on, as Latin-1: a character for each byte. */
class OpenLine {
  #bytes = "";
  #isTooLong = false;

  add(bytes: string): void {
    this.#isTooLong ||= this.#bytes.length + bytes.length > MAX_KEPT_LINE_BYTES;
    this.#bytes = this.#isTooLong ? "" : this.#bytes + bytes;
  }

  /** The line, and begins the next one. */
  end(): string {
    const line = this.#isTooLong
      ? `(a line of more than ${MAX_KEPT_LINE_BYTES} bytes)`
      : Buffer.from(this.#bytes, "latin1").toString().trim();
    this.#bytes = "";
    this.#isTooLong = false;
    return line;
  }
}
