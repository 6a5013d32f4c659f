/** Runs a program of a module: without a shell, in a process group of its own, which ends with it. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { unlessAborted, within } from "../../shared/abort.ts";
import { MAX_REPORTED_LINES } from "../../shared/bootstrap.ts";
import { systemCode } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import { PLAIN_ENVIRONMENT, signalGroup } from "../../shared/process-group.ts";
import { LastLines } from "./last-lines.ts";
import { ModuleError } from "./module.ts";

/** A program that was asked to end has so long to do it. Not measured. */
const END_GRACE_MS = 2_000;

/** What it printed before it ended is there by then; what left its group may hold its output open for ever. */
const OUTPUT_GRACE_MS = 200;

const STOPPED = "it was stopped";

export interface Program {
  /** A path, or a name that is looked for in the PATH of {@link PLAIN_ENVIRONMENT}. */
  file: string;
  args: readonly string[];
  /** What it reads; without, it finds the end of its input at once. */
  input?: Uint8Array;
  /** Beside {@link PLAIN_ENVIRONMENT}. */
  environment?: Readonly<Record<string, string>>;
  /** Whom it runs as, without any further groups; without, as we do. */
  user?: { uid: number; gid: number };
  /** When aborted, the program is asked to end, and soon afterwards killed. */
  signal: AbortSignal;
  /** Has its standard output kept, up to so many bytes. Without, that is something to read for people, as is its other output. */
  maxStdoutBytes?: number;
}

export type ProgramExit =
  | { type: "code"; code: number }
  | { type: "signal"; signal: NodeJS.Signals }
  /** `problem` says why, in words that name the file. */
  | { type: "not-started"; problem: string }
  /** It was killed because the signal was aborted, or because it printed more than it may. */
  | { type: "aborted" }
  | { type: "too-much-output" };

export interface ProgramRun {
  exit: ProgramExit;
  /** Empty unless it was to be kept. */
  stdout: Buffer;
  /** The last that it printed for people, at most {@link MAX_REPORTED_LINES}. Whole lines: they may hold secrets, and are masked before they are shortened. */
  lines: string[];
}

/** Why a program did not end well, with the signal also why it was stopped; undefined when it did. */
export function exitProblem(exit: ProgramExit, signal?: AbortSignal): string | undefined {
  switch (exit.type) {
    case "code":
      return exit.code === 0 ? undefined : `exit code ${exit.code}`;
    case "signal":
      return `it was ended by ${exit.signal}`;
    case "not-started":
      return exit.problem;
    case "aborted":
      return signal === undefined ? STOPPED : stopReason(signal);
    case "too-much-output":
      return "it printed more than it may";
    default:
      return unreachable(exit);
  }
}

/** Why it was stopped: whoever aborted with a ModuleError says so in its message. */
export function stopReason({ reason }: AbortSignal): string {
  return reason instanceof ModuleError ? reason.message : STOPPED;
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

/** Settles soon after the program ended, or the signal was aborted, even where no signal can end it. Never rejects. */
export async function runProgram(program: Program): Promise<ProgramRun> {
  if (program.signal.aborted) return { exit: { type: "aborted" }, stdout: Buffer.alloc(0), lines: [] };
  try {
    const child = start(program);
    if (child.pid === undefined) throw ((await once(child, "error")) as unknown[])[0];
    return await follow(child, program);
  } catch (error) {
    const problem = `'${program.file}' cannot be started: ${systemCode(error) ?? String(error)}`;
    return { exit: { type: "not-started", problem }, stdout: Buffer.alloc(0), lines: [] };
  }
}

function start({ file, args, environment, user }: Program): Child {
  return spawn(file, args, {
    cwd: "/",
    env: { ...PLAIN_ENVIRONMENT, ...environment },
    ...user,
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
  });
}

async function follow(child: Child, { input, signal, maxStdoutBytes }: Program): Promise<ProgramRun> {
  const printedTooMuch = new AbortController();
  const stop = AbortSignal.any([signal, printedTooMuch.signal]);
  const ended = endOf(child);
  const closed = once(child, "close");
  const stdout = maxStdoutBytes === undefined ? undefined : new Kept(child.stdout, maxStdoutBytes, printedTooMuch);
  const lastLines = new LastLines(MAX_REPORTED_LINES, child.stderr, ...(stdout === undefined ? [child.stdout] : []));
  give(child.stdin, input);
  const exit = await unlessAborted(stop, ended).catch(() => undefined);
  if (exit === undefined) {
    signalGroup(child, "SIGTERM");
    await within(END_GRACE_MS, ended);
  }
  // Also what the program started and left behind.
  signalGroup(child, "SIGKILL");
  await within(OUTPUT_GRACE_MS, closed);
  child.stdin.destroy();
  child.stdout.destroy();
  return {
    exit: exitOf(exit, signal, printedTooMuch.signal),
    stdout: stdout?.bytes ?? Buffer.alloc(0),
    lines: lastLines.close(),
  };
}

function exitOf(end: ProgramExit | undefined, signal: AbortSignal, printedTooMuch: AbortSignal): ProgramExit {
  if (printedTooMuch.aborted) return { type: "too-much-output" };
  return end ?? { type: signal.aborted ? "aborted" : "too-much-output" };
}

function endOf(child: Child): Promise<ProgramExit> {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => {
      resolve(code === null ? { type: "signal", signal: signal ?? "SIGKILL" } : { type: "code", code });
    });
  });
}

/** A program need not read what it is given. */
function give(stdin: Writable, input: Uint8Array = Buffer.alloc(0)): void {
  stdin.on("error", () => undefined);
  stdin.end(input);
}

/** What a program prints for us to read. */
class Kept {
  readonly #pieces: Buffer[] = [];
  #length = 0;

  constructor(stream: Readable, maxBytes: number, tooMuch: AbortController) {
    stream.on("error", () => undefined);
    stream.on("data", (piece: Buffer) => {
      if (this.#length + piece.length > maxBytes) {
        tooMuch.abort();
        // Not to be kept busy until it has ended, and to end also what does not listen to SIGTERM.
        stream.destroy();
        return;
      }
      this.#length += piece.length;
      this.#pieces.push(piece);
    });
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}
