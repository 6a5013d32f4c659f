/** One run of a check's command: started without a shell, in a process group of its own, which ends with it. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { within } from "../../shared/abort.ts";
import { durationInWords } from "../../shared/cli/duration.ts";
import { systemCode } from "../../shared/cli/failure.ts";
import { MAX_APPLICATION_REASON } from "../../shared/protocol/limits.ts";
import { PLAIN_ENVIRONMENT, signalGroup } from "../../shared/process-group.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { Check, CheckOutcome } from "./applications.ts";
import { LastLine } from "./last-line.ts";

/** A command that was asked to end has so long to do it. Not measured. */
const END_GRACE_MS = 2_000;

/** An agent that could not run for a while finds the time over, and has still to hear of a command that ended within it. */
const NEWS_MS = 50;

/** What it printed before it ended is there by then; what left its group may hold its output open for ever. */
const OUTPUT_GRACE_MS = 200;

export interface CheckRun {
  /** Settles soon after the time-out at the latest. Never rejects. */
  outcome: Promise<CheckOutcome>;
  /** Settles when the command has ended; while it sleeps in the kernel, no signal ends it. */
  ended: Promise<unknown>;
}

type Program = ChildProcessByStdio<null, Readable, Readable>;
type ProgramEnd = { code: number } | { signal: NodeJS.Signals };

/** Starts a check's command. When `stop` is aborted it is killed, and what its outcome is means nothing. */
export function startCheck(check: Check, stop: AbortSignal): CheckRun {
  const { command, timeoutMs } = check;
  const [file = "", ...args] = command;
  try {
    const program = spawn(file, args, {
      cwd: "/",
      // To do the same whoever started the agent.
      env: PLAIN_ENVIRONMENT,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    if (program.pid === undefined) return notStarted(file, once(program, "error").then(firstOf));
    const ended = endOf(program);
    return { outcome: conclude({ program, ended, timeoutMs, stop }), ended };
  } catch (error) {
    return notStarted(file, Promise.resolve(error));
  }
}

function notStarted(file: string, failure: Promise<unknown>): CheckRun {
  const outcome = failure.then((error) => failed(`'${file}' cannot be started: ${systemCode(error) ?? String(error)}`));
  return { outcome, ended: outcome };
}

function firstOf([first]: unknown[]): unknown {
  return first;
}

function endOf(program: Program): Promise<ProgramEnd> {
  return new Promise((resolve) => {
    program.once("exit", (code, signal) => {
      resolve(code === null ? { signal: signal ?? "SIGKILL" } : { code });
    });
  });
}

interface Running {
  program: Program;
  ended: Promise<ProgramEnd>;
  timeoutMs: number;
  stop: AbortSignal;
}

async function conclude({ program, ended, timeoutMs, stop }: Running): Promise<CheckOutcome> {
  const lastLine = new LastLine(program.stdout, program.stderr);
  const closed = once(program, "close");
  const end = (await within(timeoutMs, ended, stop)) ?? (await within(NEWS_MS, ended, stop));
  if (end === undefined && !stop.aborted) {
    signalGroup(program, "SIGTERM");
    await within(END_GRACE_MS, ended, stop);
  }
  // Also what the command started and left behind.
  signalGroup(program, "SIGKILL");
  await within(OUTPUT_GRACE_MS, closed, stop);
  lastLine.close();
  if (end === undefined) return failed(`it did not end within ${durationInWords(timeoutMs)}`, lastLine.text);
  if ("signal" in end) return failed(`it was ended by ${end.signal}`, lastLine.text);
  return end.code === 0 ? { isOk: true } : failed(`exit code ${end.code}`, lastLine.text);
}

function failed(what: string, lastLine?: string): CheckOutcome {
  return { isOk: false, reason: shortened(printable(lastLine === undefined ? what : `${what}: ${lastLine}`)) };
}

function shortened(text: string): string {
  if (text.length <= MAX_APPLICATION_REASON) return text;
  return `${text.slice(0, MAX_APPLICATION_REASON - 3).toWellFormed()}...`;
}
