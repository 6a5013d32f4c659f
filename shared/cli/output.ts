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
  readonly #notesGone = new AbortController();

  /** @param program its name, which begins each line of stderr */
  constructor(program: string, { stdout, stderr }: { stdout: Writable; stderr: Writable }) {
    this.#program = program;
    this.#stdout = stdout;
    this.#stderr = stderr;
    stdout.on("error", (error: Error) => {
      if (systemCode(error) !== "EPIPE") this.note(`cannot write: ${error.message}`);
      this.#readerGone.abort();
    });
    stderr.on("error", () => {
      this.#notesGone.abort();
    });
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

  /** Settles when the readers have taken what was printed, or are gone. */
  async drained(): Promise<void> {
    await drained(this.#stdout, this.readerGone);
    await drained(this.#stderr, this.#notesGone.signal);
  }

  #write(piece: string | Uint8Array): void {
    if (!this.readerGone.aborted) this.#stdout.write(piece);
  }
}

async function drained(stream: Writable, gone: AbortSignal): Promise<void> {
  if (!stream.writableNeedDrain || gone.aborted) return;
  await once(stream, "drain", { signal: gone }).catch(() => undefined);
}
