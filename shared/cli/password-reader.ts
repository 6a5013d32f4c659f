/** Reads passwords: from a terminal without showing them, else a line each from the standard input. */
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import type { ReadStream, WriteStream } from "node:tty";
import { unlessAborted } from "../abort.ts";
import { printable } from "../terminal-text.ts";
import { Interruption, usageError } from "./failure.ts";

/** Where somebody can be asked. */
export interface Asking {
  /** Opened when it is read. */
  stdin: () => AsyncIterable<Uint8Array>;
  /** Whom a password is asked of, and to whom progress is shown; undefined where there is no terminal. */
  terminal: { ask: () => ReadStream | undefined; show: WriteStream | undefined };
  /** Aborted with an Interruption when a signal asks the program to end. */
  interrupt: AbortSignal;
}

/** The longest password a manager takes, and its newline. */
const MAX_LINE_BYTES = 4 * 1024 + 1;

const NEWLINE = 0x0a;

export class PasswordReader {
  readonly #context: Asking;
  #input: AsyncIterator<Uint8Array> | undefined;
  #rest: Uint8Array = new Uint8Array();

  constructor(context: Asking) {
    this.#context = context;
  }

  /** There is a terminal with somebody at it. */
  get canAsk(): boolean {
    const { terminal } = this.#context;
    return terminal.show !== undefined && terminal.ask() !== undefined;
  }

  /** @param what whose it is. Throws CommandError (usage) when there is none, Interruption at Ctrl-C. */
  async read(what: string): Promise<string> {
    const password = await this.readOptional(what);
    if (password === "") throw usageError(`no ${what} was given`);
    return password;
  }

  /** Empty where none is given. Throws Interruption at Ctrl-C. */
  async readOptional(what: string): Promise<string> {
    return this.canAsk ? this.#ask(what) : this.#readLine();
  }

  /** A new one, which on a terminal has to be typed twice. */
  async readNew(what: string): Promise<string> {
    const password = await this.read(what);
    if (!this.canAsk || (await this.read(`${what}, again`)) === password) return password;
    throw usageError("the two passwords are not the same");
  }

  async #ask(what: string): Promise<string> {
    const input = this.#context.terminal.ask();
    const { show } = this.#context.terminal;
    if (input === undefined || show === undefined) throw usageError("there is no terminal");
    const nowhere = new Writable({
      write: (_piece, _encoding, done) => {
        done();
      },
    });
    const lines = createInterface({ input, output: nowhere, terminal: true });
    show.write(`${printable(what)}: `);
    try {
      return await unlessAborted(this.#context.interrupt, firstLine(lines));
    } finally {
      lines.close();
      show.write("\n");
    }
  }

  async #readLine(): Promise<string> {
    this.#input ??= this.#context.stdin()[Symbol.asyncIterator]();
    for (;;) {
      const end = this.#rest.indexOf(NEWLINE);
      if (end !== -1) return this.#take(end);
      if (this.#rest.length > MAX_LINE_BYTES) throw usageError("the password on the standard input is too long");
      const next = await unlessAborted(this.#context.interrupt, this.#input.next());
      if (next.done) return this.#take(this.#rest.length);
      this.#rest = Buffer.concat([this.#rest, next.value]);
    }
  }

  #take(length: number): string {
    const line = Buffer.from(this.#rest.subarray(0, length)).toString();
    this.#rest = this.#rest.subarray(length + 1);
    return line.replace(/\r$/, "");
  }
}

/** The terminal's keys are read one by one, Ctrl-C among them: it is no signal then. Empty when the input ends. */
export async function firstLine(lines: ReturnType<typeof createInterface>): Promise<string> {
  const ended = new AbortController();
  const { signal } = ended;
  try {
    return await Promise.race([
      once(lines, "line", { signal }).then(([line]) => String(line)),
      once(lines, "close", { signal }).then(() => ""),
      once(lines, "SIGINT", { signal }).then(() => {
        throw new Interruption("SIGINT", 130);
      }),
    ]);
  } finally {
    ended.abort();
  }
}
