/** The two streams. All text is made harmless to terminals; only `raw` prints bytes as they came. */
import { once } from "node:events";
import type { Writable } from "node:stream";
import { printable } from "../terminal-text.ts";
import { systemCode } from "./failure.ts";

export class Output {
  readonly #program: string;
  readonly #stdout: Writable;
  readonly #stderr: Writable;
  readonly #readerGone = new AbortController();

  /** @param program its name, which begins each line of stderr */
  constructor(program: string, { stdout, stderr }: { stdout: Writable; stderr: Writable }) {
    this.#program = program;
    this.#stdout = stdout;
    this.#stderr = stderr;
    stdout.on("error", (error: Error) => {
      if (systemCode(error) !== "EPIPE") this.note(`cannot write: ${error.message}`);
      this.#readerGone.abort();
    });
    stderr.on("error", () => undefined);
  }

  /** Aborted when nobody reads the answers any more (`| head`). */
  get readerGone(): AbortSignal {
    return this.#readerGone.signal;
  }

  /** A line of the answer. */
  line(text: string): void {
    this.#write(`${printable(text)}\n`);
  }

  /** An answer for programs. Whatever `printable` escapes stands inside strings, where the escape means the same. */
  json(answer: object): void {
    this.line(JSON.stringify(answer));
  }

  /** A line of a list as it is counted, byte for byte; JSON has made its control characters harmless already. */
  listLine(line: string): void {
    this.#write(`${line}\n`);
  }

  /** The bytes of a value and one newline. */
  raw(bytes: Uint8Array): void {
    this.#write(bytes);
    this.#write("\n");
  }

  /** Something to know beside the answer, on stderr. */
  note(text: string): void {
    this.#stderr.write(`${this.#program}: ${printable(text)}\n`);
  }

  /** Settles when the reader has taken what was printed, or is gone. */
  async drained(): Promise<void> {
    if (!this.#stdout.writableNeedDrain || this.readerGone.aborted) return;
    await once(this.#stdout, "drain", { signal: this.readerGone }).catch(() => undefined);
  }

  #write(piece: string | Uint8Array): void {
    if (!this.readerGone.aborted) this.#stdout.write(piece);
  }
}
