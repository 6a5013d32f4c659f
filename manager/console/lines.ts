/** Lines of an input without a terminal, each bounded. */
/** A message's longest value is 32 KiB; quoted, with the other words, it is seldom longer than this. */
export const MAX_LINE_BYTES = 64 * 1024;

const NEWLINE = 0x0a;

export type Line = { type: "line"; text: string } | { type: "too-long" };

export class LineSplitter {
  #pieces: Uint8Array[] = [];
  #length = 0;

  /** The lines that end in this chunk. */
  *split(chunk: Uint8Array): Generator<Line> {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, end));
      yield this.#take();
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
  }

  /** The last line, when it does not end in a newline. */
  *end(): Generator<Line> {
    if (this.#length > 0) yield this.#take();
  }

  #keep(piece: Uint8Array): void {
    this.#length += piece.length;
    if (this.#length <= MAX_LINE_BYTES) this.#pieces.push(piece);
    else this.#pieces = [];
  }

  #take(): Line {
    const bytes = Buffer.concat(this.#pieces);
    const line: Line =
      this.#length > MAX_LINE_BYTES
        ? { type: "too-long" }
        : { type: "line", text: bytes.toString("utf8").replace(/\r$/, "") };
    this.#pieces = [];
    this.#length = 0;
    return line;
  }
}
