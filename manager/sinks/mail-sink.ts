/** One mail for each event, for people. */
import type { Event } from "../events/event.ts";
import { cloudEvent } from "../events/bodies.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { printable } from "../../shared/terminal-text.ts";
import { MailError, type Mailer } from "./mailer.ts";
import type { Attempted, Outcome, Sink, SinkConnection } from "./sink.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/**
 * A VM that restarts all the time fills no mailbox: what is over this waits, and nothing is lost. More than people read,
 * not measured.
 */
const MAX_MAILS_PER_HOUR = 60;

export interface MailSinkOptions {
  to: readonly string[];
  mailer: Pick<Mailer, "send" | "check">;
  /** The manager's machine. */
  host: string;
  /** Milliseconds since 1970. */
  now?: () => number;
}

export class MailSink implements Sink {
  readonly type = "mail";
  readonly target: string;
  readonly batchSize = 20;
  /** Grey-listing servers take a mail minutes after they first saw it, others when somebody has seen to them. */
  readonly retryScheduleMs = [MINUTE_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS];
  readonly disableAfter = undefined;
  readonly keepsAttempts = true;
  readonly #options: MailSinkOptions;
  readonly #now: () => number;
  /** When the mails of the last hour were sent, the oldest first. */
  #sentAt: number[] = [];
  #connection: SinkConnection = { state: "idle" };

  constructor(options: MailSinkOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.target = `mailto:${options.to.join(",")}`;
  }

  async deliver(events: readonly Event[], signal: AbortSignal): Promise<Attempted[]> {
    const attempted: Attempted[] = [];
    const stuck = new Set<string>();
    let unavailable: Outcome | undefined;
    for (const event of events) {
      const skipped = unavailable ?? (stuck.has(event.resourceUUID) ? ({ type: "held" } as const) : undefined);
      const attempt = skipped ? { outcome: skipped, durationMs: 0 } : await this.#attempt(event, signal);
      if (attempt.outcome.type === "unavailable") unavailable = attempt.outcome;
      if (attempt.outcome.type === "failed") stuck.add(event.resourceUUID);
      attempted.push(attempt);
    }
    return attempted;
  }

  connection(): SinkConnection {
    return this.#connection;
  }

  start(): void {
    this.#options.mailer.check().then(
      () => {
        this.#connection = { state: "idle" };
      },
      (error: unknown) => {
        this.#connection = { state: "disconnected", reason: reasonOf(error) };
      },
    );
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #attempt(event: Event, signal: AbortSignal): Promise<Attempted> {
    const startedAt = performance.now();
    const outcome = this.#overLimit() ?? (await this.#send(event, signal));
    return { outcome, durationMs: performance.now() - startedAt };
  }

  #overLimit(): Outcome | undefined {
    const now = this.#now();
    this.#sentAt = this.#sentAt.filter((at) => at > now - HOUR_MS);
    const [oldest = now] = this.#sentAt;
    if (this.#sentAt.length < MAX_MAILS_PER_HOUR) return undefined;
    const reason = `${MAX_MAILS_PER_HOUR} mails were sent within an hour; the next is after ${rfc3339(oldest + HOUR_MS)}`;
    return { type: "unavailable", reason };
  }

  async #send(event: Event, signal: AbortSignal): Promise<Outcome> {
    const { mailer, to, host } = this.#options;
    try {
      await mailer.send({
        to,
        subject: subjectOf(event),
        text: textOf(event, host),
        messageId: event.id,
        // RFC 3834, section 5: so that nobody's absence notice answers it.
        headers: { "X-Vmmessage-Event-Id": event.id, "Auto-Submitted": "auto-generated" },
        signal,
      });
    } catch (error) {
      return this.#failed(error);
    }
    this.#sentAt.push(this.#now());
    this.#connection = { state: "idle" };
    return { type: "delivered" };
  }

  #failed(error: unknown): Outcome {
    const reason = reasonOf(error);
    if (!(error instanceof MailError)) return { type: "rejected", reason };
    const { problem, status } = error;
    switch (problem) {
      case "unreachable":
        this.#connection = { state: "disconnected", reason };
        return { type: "unavailable", reason };
      case "deferred":
        return { type: "failed", reason, status };
      case "refused":
        return { type: "rejected", reason, status };
      default:
        return unreachable(problem);
    }
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** `[vmmessage] VM.STOPPED web1: Running -> Stopped` */
function subjectOf({ type, resourceName, oldState, newState }: Event): string {
  const states = [oldState, newState].filter((state) => state !== undefined).join(" -> ");
  return `[vmmessage] ${type}${resourceName === undefined ? "" : ` ${resourceName}`}${states === "" ? "" : `: ${states}`}`;
}

/** Names and data are others' words: what a terminal would obey is escaped, in the JSON too, where that means the same. */
function textOf(event: Event, host: string): string {
  const { type, category, time, resourceType, resourceUUID, resourceName, sequence, oldState, newState, id } = event;
  const facts: [string, string | undefined][] = [
    ["Event", `${type} (${category})`],
    ["Time", `${rfc3339(time)}${event.isResync ? " or before: found afterwards" : ""}`],
    ["Host", host],
    ["Of", [resourceType, resourceName, resourceUUID].filter(Boolean).join(" ")],
    ["State", newState === undefined ? undefined : `${oldState === undefined ? "" : `${oldState} -> `}${newState}`],
    ["Source", event.source],
    ["Number", `${sequence} of this resource`],
    ["Id", id],
    ...Object.entries({ ...event.data, ...event.value }).map(([name, value]): [string, string] => [
      name,
      inWords(value),
    ]),
  ];
  const lines = facts.flatMap(([name, value]) => (value === undefined ? [] : `${`${name}:`.padEnd(12)} ${value}`));
  const json = JSON.stringify(cloudEvent(event, host), undefined, 2).split("\n");
  return `${[...lines, "", ...json].map(printable).join("\n")}\n`;
}

function inWords(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
