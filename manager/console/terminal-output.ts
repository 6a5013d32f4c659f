/** What readline writes to: a session, as wide as the client's terminal. */
import { once } from "node:events";
import { Writable } from "node:stream";
import type { Session } from "./shell.ts";

/** Readline divides by the width, and a line of the widest is drawn at once. */
const MIN_COLUMNS = 8;
const MAX_COLUMNS = 4096;

/** The width of a client's terminal, as it says. */
export class TerminalWindow {
  #columns: number;
  #onResize: () => void = () => undefined;

  constructor(columns: number) {
    this.#columns = columns;
  }

  get columns(): number {
    return Math.min(Math.max(this.#columns, MIN_COLUMNS), MAX_COLUMNS);
  }

  resize(columns: number): void {
    this.#columns = columns;
    this.#onResize();
  }

  /** One listener: the terminal that is shown in it. */
  onResize(listener: () => void): void {
    this.#onResize = listener;
  }
}

export class TerminalOutput extends Writable {
  readonly #session: Session;
  readonly #window: TerminalWindow;

  constructor(session: Session, window: TerminalWindow) {
    super({ decodeStrings: false });
    this.#session = session;
    this.#window = window;
    window.onResize(() => this.emit("resize"));
  }

  /** Readline asks for it. */
  get columns(): number {
    return this.#window.columns;
  }

  /** Settles when the client has taken what was written. */
  async drained(gone: AbortSignal): Promise<void> {
    if (this.writableLength === 0) return;
    await once(this, "flushed", { signal: gone }).catch(() => undefined);
  }

  override _writev(chunks: { chunk: string }[], done: () => void): void {
    const text = chunks.map(({ chunk }) => chunk).join("");
    void this.#session.write(text).then(() => {
      done();
      if (this.writableLength === 0) this.emit("flushed");
    });
  }
}
