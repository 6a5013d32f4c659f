/**
 * Events to programs of root's configuration: `command:NAME`, and gateways of text messages (`sms:NUMBER?gateway=NAME`).
 * A program is started for each event, without a shell, and has it on its standard input as a line of JSON.
 */
import type { BodyFormat } from "../../shared/api/event-schemas.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { ProgramConfig } from "../config.ts";
import type { ConnectionState } from "../connection-state.ts";
import type { Event } from "../events/event.ts";
import { type ProgramEnd, runProgram } from "../run-program.ts";
import { eventJson, MAX_EVENT_BYTES } from "./event-json.ts";
import { OrderedDelivery, stopped } from "./ordered-delivery.ts";
import { MAX_RUNS_PER_SECOND, MAX_TEXTS_PER_HOUR, type RateLimit } from "./rate-limits.ts";
import type { Attempted, Outcome, Sink } from "./sink.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** A program that fails is on this machine, where somebody sees and mends it within a day. */
const RETRY_SCHEDULE_MS = [10 * SECOND_MS, MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS];

/** As webhooks: so many failures in a row are of several events, and a day is long enough to mend a program. */
const DISABLE_AFTER = { failures: 50, durationMs: 24 * HOUR_MS };

/** One program runs at a time, so a batch takes as long as all of them. Not measured. */
const BATCH_SIZE = 8;

/** sysexits.h: try again later. */
const EX_TEMPFAIL = 75;

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

  connection(): ConnectionState {
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
    const furtherArguments = this.#options.type === "sms" ? [this.#options.number] : [];
    const { endGraceMs } = this.#options;
    return outcomeOf(await runProgram({ program, furtherArguments, event, json, endGraceMs }, stop), program.timeout);
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
}

function outcomeOf(end: ProgramEnd, timeoutMs: number): Outcome {
  switch (end.type) {
    case "not-started":
      return { type: "failed", reason: `its program cannot be started: ${end.reason}` };
    case "exited":
      return end.code === 0 ? { type: "delivered" } : failed(exitInWords(end.code), end.stderr);
    case "killed":
      return failed(`its program was ended by ${end.by}`, end.stderr);
    case "stopped":
      return stopped;
    case "timed-out":
      return failed(`its program did not end within ${timeoutMs / SECOND_MS} s`, end.stderr);
    default:
      return unreachable(end);
  }
}

function exitInWords(code: number): string {
  return code === EX_TEMPFAIL ? "its program cannot do it now" : `its program exited with ${code}`;
}

function failed(what: string, stderr: string): Outcome {
  const said = printable(stderr.trim().replaceAll(/\s+/g, " "));
  return { type: "failed", reason: said === "" ? what : `${what}: ${said}` };
}
