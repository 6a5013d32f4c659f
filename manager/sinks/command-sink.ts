/**
 * Events to programs of root's configuration: `command:NAME`, and gateways of text messages (`sms:NUMBER?gateway=NAME`).
 * A program is started for each event, without a shell, and has it on its standard input as a line of JSON.
 */
import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { pause, unlessAborted } from "../../shared/abort.ts";
import type { BodyFormat } from "../../shared/api/event-schemas.ts";
import { systemCode } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { ProgramConfig } from "../config.ts";
import type { Event } from "../events/event.ts";
import { eventJson, MAX_EVENT_BYTES } from "./event-json.ts";
import { AttemptLimit, OrderedDelivery, stopped } from "./ordered-delivery.ts";
import { MAX_RUNS_PER_SECOND, MAX_TEXTS_PER_HOUR, type RateLimit } from "./rate-limits.ts";
import type { Attempted, Outcome, Sink, SinkConnection } from "./sink.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** A program that fails is on this machine, where somebody sees and mends it within a day. */
const RETRY_SCHEDULE_MS = [10 * SECOND_MS, MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS];

/** As webhooks: so many failures in a row are of several events, and a day is long enough to mend a program. */
const DISABLE_AFTER = { failures: 50, durationMs: 24 * HOUR_MS };

/** One program runs at a time, so a batch takes as long as all of them. Not measured. */
const BATCH_SIZE = 8;

/** A program that was asked to end has so long to do it. Not measured. */
const END_GRACE_MS = 5 * SECOND_MS;

/** What a program wrote before it ended is there by then; what it left running may hold its stderr open for ever. */
const STDERR_GRACE_MS = 200;

/** The end of what it wrote is where a program says what is wrong. */
const MAX_STDERR_BYTES = 1024;

/** sysexits.h: try again later. */
const EX_TEMPFAIL = 75;

/** Nothing of the manager's own environment reaches a program: it may hold secrets. */
const BASE_ENVIRONMENT = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LANG: "C.UTF-8",
};

/** Of a variable: the longest names of VMs, and ids. */
const MAX_VARIABLE_LENGTH = 256;

export type CommandSinkOptions = {
  /** Of the command or gateway. */
  name: string;
  /** As the configuration has it now. */
  program: () => ProgramConfig | undefined;
  format: BodyFormat;
  /** The manager's machine, which is the source of events. */
  host: string;
  /** Of texts by number, or of runs by the command's name. */
  limit: RateLimit;
  /** Milliseconds since 1970. */
  now?: () => number;
  endGraceMs?: number;
} & ({ type: "command" } | { type: "sms"; number: string });

export class CommandSink implements Sink {
  readonly type: "command" | "sms";
  readonly target: string;
  readonly batchSize = BATCH_SIZE;
  readonly retryScheduleMs = RETRY_SCHEDULE_MS;
  readonly disableAfter = DISABLE_AFTER;
  readonly keepsAttempts = true;
  readonly #options: CommandSinkOptions;
  readonly #now: () => number;
  readonly #delivery: OrderedDelivery;

  constructor(options: CommandSinkOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.type = options.type;
    this.target = options.type === "sms" ? `sms:${options.number}?gateway=${options.name}` : `command:${options.name}`;
    this.#delivery = new OrderedDelivery({
      resourcesAtOnce: 1,
      attempt: (event, signal) => this.#attempt(event, signal),
    });
  }

  deliver(events: readonly Event[], signal: AbortSignal): Promise<Attempted[]> {
    return this.#delivery.deliver(events, signal);
  }

  connection(): SinkConnection {
    return { state: "idle" };
  }

  start(): void {
    // A program is started when there is an event.
  }

  /** Settles when no program runs any more. */
  close(): Promise<void> {
    return this.#delivery.close();
  }

  async #attempt(event: Event, stop: AbortSignal): Promise<Outcome> {
    const { name, type, format, host } = this.#options;
    const program = this.#options.program();
    if (program === undefined) {
      const where = type === "sms" ? "events.gateways" : "events.commands";
      return { type: "failed", reason: `${where} in the manager's configuration has no '${name}' any more` };
    }
    const json = eventJson(event, format, host);
    if (json === undefined) {
      return { type: "rejected", reason: `the event is larger than ${MAX_EVENT_BYTES} bytes without its values too` };
    }
    const overLimit = this.#takeTurn();
    if (overLimit !== undefined) return overLimit;
    using limit = new AttemptLimit(program.timeout, stop);
    const start = (): StartedProgram => this.#start(program, event);
    const end = await runProgram(start, json, limit.signal, this.#options.endGraceMs);
    return end.type === "ended" && stop.aborted ? stopped : outcomeOf(end, program.timeout);
  }

  /** Also one that fails counts: it may have sent its text, or have cost what it costs. */
  #takeTurn(): Outcome | undefined {
    const options = this.#options;
    // The same number, with and without its plus.
    const receiver = options.type === "sms" ? options.number.replace(/^\+/, "") : options.name;
    const turn = options.limit.take([receiver], this.#now());
    if (turn.type === "taken") return undefined;
    const what =
      options.type === "sms"
        ? `${MAX_TEXTS_PER_HOUR} text messages were sent to this number within an hour`
        : `its program was started ${MAX_RUNS_PER_SECOND} times within a second`;
    return { type: "unavailable", reason: `${what}; the next is after ${rfc3339(turn.freeAt)}` };
  }

  #start({ run: [file, ...args] }: ProgramConfig, event: Event): StartedProgram {
    const number = this.#options.type === "sms" ? [this.#options.number] : [];
    return spawn(file, [...args, ...number], {
      cwd: "/",
      env: { ...BASE_ENVIRONMENT, ...variablesOf(event) },
      // A process group of its own, so that what it starts can be ended with it.
      detached: true,
      stdio: ["pipe", "ignore", "pipe"],
    });
  }
}

type StartedProgram = ChildProcessByStdio<Writable, null, Readable>;

type ProgramEnd =
  | { type: "not-started"; reason: string }
  | { type: "exited"; code: number; stderr: string }
  /** By somebody else. */
  | { type: "killed"; by: string; stderr: string }
  /** By us, since it was aborted. */
  | { type: "ended"; stderr: string };

function outcomeOf(end: ProgramEnd, timeoutMs: number): Outcome {
  switch (end.type) {
    case "not-started":
      return { type: "failed", reason: `its program cannot be started: ${end.reason}` };
    case "exited":
      return end.code === 0 ? { type: "delivered" } : failed(exitInWords(end.code), end.stderr);
    case "killed":
      return failed(`its program was ended by ${end.by}`, end.stderr);
    case "ended":
      return failed(`its program did not end within ${timeoutMs / SECOND_MS} s`, end.stderr);
    default:
      return unreachable(end);
  }
}

function exitInWords(code: number): string {
  return code === EX_TEMPFAIL ? "its program cannot do it now" : `its program exited with ${code}`;
}

function failed(what: string, stderr: string): Outcome {
  return { type: "failed", reason: stderr === "" ? what : `${what}: ${stderr}` };
}

async function runProgram(
  start: () => StartedProgram,
  json: Buffer,
  signal: AbortSignal,
  endGraceMs = END_GRACE_MS,
): Promise<ProgramEnd> {
  let child: StartedProgram;
  try {
    child = start();
    await once(child, "spawn");
  } catch (error) {
    return { type: "not-started", reason: systemCode(error) ?? String(error) };
  }
  // A program that needs no more than to know that there is an event need not read it.
  child.stdin.on("error", () => undefined).end(Buffer.concat([json, Buffer.from("\n")]));
  const readStderr = tailOf(child.stderr);
  const exited = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  const closed = once(child, "close");
  const wasEnded = await endWhenAborted(child, exited, signal, endGraceMs);
  const [code, by] = await exited;
  await atMost(STDERR_GRACE_MS, closed);
  child.stderr.destroy();
  const stderr = readStderr();
  if (wasEnded) return { type: "ended", stderr };
  return code === null ? { type: "killed", by: by ?? "a signal", stderr } : { type: "exited", code, stderr };
}

/** Settles when the program has ended by itself, or was told to end and has, or was killed for not doing so. True when told. */
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
    await atMost(graceMs, exited);
    // Also what it started, and did not take with it.
    signalGroup(child, "SIGKILL");
    return true;
  }
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (systemCode(error) !== "ESRCH") throw error;
  }
}

/** Settles as the work has, or after so long. */
async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const settled = new AbortController();
  const settle = (): void => {
    settled.abort();
  };
  work.then(settle, settle);
  await pause(ms, settled.signal);
}

/** The end of what a program wrote, as one line. */
function tailOf(stderr: Readable): () => string {
  let tail = Buffer.alloc(0);
  stderr.on("data", (piece: Buffer) => {
    tail = Buffer.concat([tail, piece]).subarray(-MAX_STDERR_BYTES);
  });
  return () => printable(tail.toString().trim().replaceAll(/\s+/g, " "));
}

function variablesOf({ id, type, resourceType, resourceUUID, resourceName }: Event): Record<string, string> {
  const isOfVm = resourceType === "VirtualMachine";
  return {
    VMMESSAGE_EVENT_ID: harmless(id),
    VMMESSAGE_EVENT_TYPE: harmless(type),
    VMMESSAGE_EVENT_VM: harmless(isOfVm ? (resourceName ?? "") : ""),
    VMMESSAGE_EVENT_VM_ID: harmless(isOfVm ? resourceUUID : ""),
  };
}

/**
 * What a careless script may use as an argument or a file's name: letters, digits and ` ._:@+-`, no option and no hidden
 * file. The event on the standard input has it as it is.
 */
function harmless(text: string): string {
  return text.slice(0, MAX_VARIABLE_LENGTH).replaceAll(/[^\p{L}\p{N} ._:@+-]|^[.-]/gu, "_");
}
