/**
 * Programs of root's configuration, each started for one event: without a shell, with the event as a line of JSON on its
 * standard input, in a process group that ends with it.
 */
import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { unlessAborted, within } from "../shared/abort.ts";
import { systemCode } from "../shared/cli/failure.ts";
import { PLAIN_ENVIRONMENT, signalGroup } from "../shared/process-group.ts";
import type { ProgramConfig } from "./config.ts";
import type { Event } from "./events/event.ts";
import { AttemptLimit } from "./sinks/ordered-delivery.ts";

/** A program that was asked to end has so long to do it. Not measured. */
const END_GRACE_MS = 5_000;

/** What a program wrote before it ended is there by then; what it left running may hold its stderr open for ever. */
const STDERR_GRACE_MS = 200;

/** The end of what it wrote is where a program says what is wrong. */
const MAX_STDERR_BYTES = 1024;

/** Of a variable: the longest names of VMs, and ids. */
const MAX_VARIABLE_LENGTH = 256;

export interface ProgramRun {
  program: ProgramConfig;
  /** After those of its configuration. */
  furtherArguments?: readonly string[];
  /** By name; each as {@link harmless} makes it. Those of the event are there anyway. */
  variables?: Readonly<Record<string, string>>;
  event: Event;
  /** What the event is on its standard input; a line's end is added. */
  json: Buffer;
  endGraceMs?: number | undefined;
}

/** `stderr`: the end of what it wrote there, as it wrote it. */
export type ProgramEnd =
  | { type: "not-started"; reason: string }
  | { type: "exited"; code: number; stderr: string }
  /** By somebody else. */
  | { type: "killed"; by: string; stderr: string }
  /** By us, since its time was over. */
  | { type: "timed-out"; stderr: string }
  /** By us, since it was to stop. */
  | { type: "stopped"; stderr: string };

/** Settles when it has ended; soon after `stop` is aborted. Never rejects. */
export async function runProgram(run: ProgramRun, stop: AbortSignal): Promise<ProgramEnd> {
  using limit = new AttemptLimit(run.program.timeout, stop);
  let child: StartedProgram;
  try {
    child = startProgram(run);
    await once(child, "spawn");
  } catch (error) {
    return { type: "not-started", reason: systemCode(error) ?? String(error) };
  }
  // A program that needs no more than to know that there is an event need not read it.
  child.stdin.on("error", () => undefined).end(Buffer.concat([run.json, Buffer.from("\n")]));
  const readStderr = tailOf(child.stderr);
  const exited = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  const closed = once(child, "close");
  const wasEnded = await endWhenAborted(child, exited, limit.signal, run.endGraceMs ?? END_GRACE_MS);
  await within(STDERR_GRACE_MS, closed);
  child.stderr.destroy();
  const stderr = readStderr();
  if (wasEnded) return { type: stop.aborted ? "stopped" : "timed-out", stderr };
  const [code, by] = await exited;
  return code === null ? { type: "killed", by: by ?? "a signal", stderr } : { type: "exited", code, stderr };
}

/**
 * What a careless script may use as an argument or a file's name: letters, digits and ` ._:@+-`, no option and no hidden
 * file. The event on the standard input has it as it is.
 */
function harmless(text: string): string {
  return text.slice(0, MAX_VARIABLE_LENGTH).replaceAll(/[^\p{L}\p{N} ._:@+-]|^[.-]/gu, "_");
}

type StartedProgram = ChildProcessByStdio<Writable, null, Readable>;

function startProgram({ program, furtherArguments = [], variables = {}, event }: ProgramRun): StartedProgram {
  const [file, ...args] = program.run;
  const given = Object.entries({ ...eventVariables(event), ...variables });
  return spawn(file, [...args, ...furtherArguments], {
    cwd: "/",
    env: { ...PLAIN_ENVIRONMENT, ...Object.fromEntries(given.map(([name, value]) => [name, harmless(value)])) },
    // A process group of its own, so that what it starts can be ended with it.
    detached: true,
    stdio: ["pipe", "ignore", "pipe"],
  });
}

function eventVariables({ id, type, resourceType, resourceUUID, resourceName }: Event): Record<string, string> {
  const isOfVm = resourceType === "VirtualMachine";
  return {
    VMMESSAGE_EVENT_ID: id,
    VMMESSAGE_EVENT_TYPE: type,
    VMMESSAGE_EVENT_VM: isOfVm ? (resourceName ?? "") : "",
    VMMESSAGE_EVENT_VM_ID: isOfVm ? resourceUUID : "",
  };
}

/**
 * Settles when the program has ended by itself, or was told to end and has, or was killed for not doing so; one that became
 * another user may go on, where we are not root. True when told.
 */
async function endWhenAborted(
  child: ChildProcess,
  exited: Promise<unknown>,
  signal: AbortSignal,
  graceMs: number,
): Promise<boolean> {
  try {
    await unlessAborted(signal, exited);
    return false;
  } catch {
    signalGroup(child, "SIGTERM");
    await within(graceMs, exited);
    // Also what it started, and did not take with it.
    signalGroup(child, "SIGKILL");
    await within(graceMs, exited);
    return true;
  }
}

/** The end of what a program wrote. */
function tailOf(stderr: Readable): () => string {
  let tail = Buffer.alloc(0);
  stderr.on("data", (piece: Buffer) => {
    tail = Buffer.concat([tail, piece]).subarray(-MAX_STDERR_BYTES);
  });
  return () => tail.toString();
}
