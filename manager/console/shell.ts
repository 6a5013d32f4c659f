/** What runs in a session: one command, the lines of a pipe, or a terminal with a prompt. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { createInterface, type Interface } from "node:readline";
import { Readable } from "node:stream";
import { usageError } from "../../shared/cli/failure.ts";
import type { Answer } from "./answer.ts";
import { type Interpreter, refusal } from "./interpreter.ts";
import { type Line, LineSplitter, MAX_LINE_BYTES } from "./lines.ts";
import { TerminalOutput, type TerminalWindow } from "./terminal-output.ts";

const PROMPT = "OVM> ";

/**
 * The longest line that is typed, in characters: a key in the middle of one costs readline work for all of it, and a key
 * is answered with the whole line. Longer ones can come through a pipe.
 */
const MAX_TYPED_LINE = 16 * 1024;

/** What is given to readline at once: with each key answered by the whole line, 1 MiB. */
const TYPED_PIECE_BYTES = 64;

const lineTooLong = usageError(`the line is over ${MAX_LINE_BYTES} bytes`);
const typedLineTooLong = usageError(`the line is over ${MAX_TYPED_LINE} characters; give it to ssh through a pipe`);

const CARRIAGE_RETURN = 0x0d;
const NEWLINE = 0x0a;

/** A session of a client, whatever it came by. */
export interface Session {
  /** Ends with the client's input, or when the session is gone. Nothing is read ahead while the last chunk is worked on. */
  input(): AsyncIterable<Uint8Array>;
  /** Settles when the client takes it, or is gone. Never rejects. */
  write(text: string): Promise<void>;
  /** Aborted when the client is gone, or has to go. */
  readonly gone: AbortSignal;
  readonly newline: "\n" | "\r\n";
}

/** Runs one command. Resolves with the exit status: that of {@link exitCodes}. */
export async function runOne(line: string, session: Session, interpreter: Interpreter): Promise<number> {
  const reply = await interpreter.reply(line, session.gone);
  if (reply.type !== "answer") return 0;
  await show(reply.answer, session);
  return reply.answer.exitCode;
}

/** Runs each line of the input, without prompt or echo. Resolves with the last command's exit status, as a shell does. */
export async function runLines(session: Session, interpreter: Interpreter): Promise<number> {
  let exitCode = 0;
  for await (const line of linesOf(session.input())) {
    if (session.gone.aborted) break;
    const reply = line.type === "line" ? await interpreter.reply(line.text, session.gone) : refusal(lineTooLong);
    if (reply.type === "end") break;
    if (reply.type === "nothing") continue;
    await show(reply.answer, session);
    exitCode = reply.answer.exitCode;
  }
  return exitCode;
}

async function* linesOf(input: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  const splitter = new LineSplitter();
  for await (const chunk of input) yield* splitter.split(chunk);
  yield* splitter.end();
}

/** Shows a prompt and lets lines be edited. Resolves with the last command's exit status when the user leaves. */
export async function runTerminal(session: Session, window: TerminalWindow, interpreter: Interpreter): Promise<number> {
  const terminal = new Terminal(session, window, interpreter);
  try {
    return await terminal.run();
  } finally {
    terminal.close();
  }
}

async function show(answer: Answer, session: Session): Promise<void> {
  await session.write(answer.lines.map((line) => line + session.newline).join(""));
}

/** node:readline on a session: it is given little at a time, so that it never gets ahead of what the client takes. */
class Terminal {
  readonly #session: Session;
  readonly #interpreter: Interpreter;
  readonly #keys = new Readable({ read: () => undefined });
  readonly #output: TerminalOutput;
  readonly #editor: Interface;
  #line: string | undefined;
  #isLeft = false;
  #isSkipping = false;
  #exitCode = 0;

  constructor(session: Session, window: TerminalWindow, interpreter: Interpreter) {
    this.#session = session;
    this.#interpreter = interpreter;
    this.#output = new TerminalOutput(session, window);
    this.#editor = createInterface({
      input: this.#keys,
      output: this.#output,
      terminal: true,
      prompt: PROMPT,
      crlfDelay: Infinity,
    });
    this.#editor.on("line", (line) => (this.#line = line));
    this.#editor.on("SIGINT", () => {
      this.#clearLine("^C");
    });
    // Without a listener readline stops the whole process.
    this.#editor.on("SIGTSTP", () => undefined);
    this.#editor.on("close", () => (this.#isLeft = true));
  }

  async run(): Promise<number> {
    this.#editor.prompt();
    for await (const chunk of this.#session.input()) {
      for (const piece of piecesOf(chunk)) {
        await this.#type(piece);
        if (this.#isLeft || this.#session.gone.aborted) return this.#exitCode;
      }
    }
    return this.#exitCode;
  }

  close(): void {
    this.#editor.close();
    this.#keys.destroy();
    this.#output.destroy();
  }

  async #type(piece: Uint8Array): Promise<void> {
    if (this.#isSkipping) {
      await this.#skip(piece);
      return;
    }
    this.#keys.push(piece);
    await nextTurn();
    await this.#output.drained(this.#session.gone);
    const line = this.#line;
    this.#line = undefined;
    if (line !== undefined) await this.#run(line);
    else if (this.#isLeft) await this.#session.write("\r\n");
    else if (this.#editor.line.length > MAX_TYPED_LINE) this.#isSkipping = true;
  }

  async #run(line: string): Promise<void> {
    const reply = await this.#interpreter.reply(line, this.#session.gone);
    if (reply.type === "end") {
      this.#isLeft = true;
      return;
    }
    if (reply.type === "answer") await this.#show(reply.answer);
    this.#editor.prompt();
  }

  async #show(answer: Answer): Promise<void> {
    this.#exitCode = answer.exitCode;
    await show(answer, this.#session);
  }

  /** Passes over the rest of a line that is too long. */
  async #skip(piece: Uint8Array): Promise<void> {
    if (!endsLine(piece)) return;
    this.#isSkipping = false;
    this.#clearLine("");
    await this.#output.drained(this.#session.gone);
    await this.#show(refusal(typedLineTooLong).answer);
    this.#editor.prompt();
  }

  #clearLine(mark: string): void {
    this.#editor.write(null, { ctrl: true, name: "e" });
    this.#editor.write(null, { ctrl: true, name: "u" });
    this.#output.write(`${mark}\r\n`);
    if (mark !== "") this.#editor.prompt();
  }
}

/** Small, and none goes beyond the end of a line: the next line is read when this one is done. */
function* piecesOf(chunk: Uint8Array): Generator<Uint8Array> {
  let start = 0;
  while (start < chunk.length) {
    const piece = chunk.subarray(start, start + TYPED_PIECE_BYTES);
    const lineEnd = piece.findIndex((byte) => byte === CARRIAGE_RETURN || byte === NEWLINE);
    const end = lineEnd === -1 ? piece.length : lineEnd + 1;
    yield piece.subarray(0, end);
    start += end;
  }
}

function endsLine(piece: Uint8Array): boolean {
  const last = piece.at(-1);
  return last === CARRIAGE_RETURN || last === NEWLINE;
}
