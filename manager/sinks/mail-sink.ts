/** One mail for each event, for people. */
import { unreachable } from "../../shared/protocol/errors.ts";
import { rfc3339 } from "../../shared/rfc3339.ts";
import { printable } from "../../shared/terminal-text.ts";
import type { ConnectionState } from "../connection-state.ts";
import { cloudEvent } from "../events/bodies.ts";
import type { Event } from "../events/event.ts";
import { Retries } from "../retries.ts";
import { MailError, type Mailer } from "./mailer.ts";
import { MAX_MAILS_PER_HOUR, type RateLimit } from "./rate-limits.ts";
import type { Attempted, Outcome, Sink } from "./sink.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** While the server is away, it is asked so often whether it is back. */
const CHECK_AGAIN = { firstMs: 1_000, longestMs: 5 * MINUTE_MS };

export interface MailSinkOptions {
  to: readonly string[];
  mailer: Pick<Mailer, "send" | "check">;
  /** The manager's machine. */
  host: string;
  /** Of mails, by address. */
  limit: RateLimit;
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
  readonly #closing = new AbortController();
  #isChecking = false;
  #connection: ConnectionState = { state: "idle" };

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

  connection(): ConnectionState {
    return this.#connection;
  }

  start(): void {
    void this.#check();
  }

  close(): Promise<void> {
    this.#closing.abort();
    return Promise.resolve();
  }

  /** Whether the server would take mail. */
  async #check(): Promise<boolean> {
    try {
      await this.#options.mailer.check();
      this.#connection = { state: "idle" };
      return true;
    } catch (error) {
      this.#disconnected(reasonOf(error));
      return false;
    }
  }

  #disconnected(reason: string): void {
    this.#connection = { state: "disconnected", reason };
    if (!this.#isChecking) void this.#checkTillConnected();
  }

  /** Without it, a sink would seem broken until its next event, which may be a week away. */
  async #checkTillConnected(): Promise<void> {
    const { signal } = this.#closing;
    const retries = new Retries(CHECK_AGAIN);
    this.#isChecking = true;
    let isOver = false;
    while (!isOver) {
      await retries.wait(signal);
      // A delivery may have shown meanwhile that all is well.
      isOver = signal.aborted || this.#connection.state !== "disconnected" || (await this.#check());
    }
    this.#isChecking = false;
  }

  async #attempt(event: Event, signal: AbortSignal): Promise<Attempted> {
    const startedAt = performance.now();
    const outcome = await this.#sendWithinLimit(event, signal);
    return { outcome, durationMs: performance.now() - startedAt };
  }

  async #sendWithinLimit(event: Event, signal: AbortSignal): Promise<Outcome> {
    const { to, limit } = this.#options;
    const turn = limit.take(
      to.map((address) => address.toLowerCase()),
      this.#now(),
    );
    if (turn.type === "over") {
      const next = rfc3339(turn.freeAt);
      const reason = `${MAX_MAILS_PER_HOUR} mails were sent within an hour; the next is after ${next}`;
      return { type: "unavailable", reason };
    }
    const outcome = await this.#send(event, signal);
    if (outcome.type !== "delivered") turn.giveBack();
    return outcome;
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
    this.#connection = { state: "idle" };
    return { type: "delivered" };
  }

  #failed(error: unknown): Outcome {
    const reason = reasonOf(error);
    if (!(error instanceof MailError)) return { type: "rejected", reason };
    const { problem, status } = error;
    // A server that answers is there.
    if (problem !== "unreachable" && status !== undefined) this.#connection = { state: "idle" };
    switch (problem) {
      case "unreachable":
        this.#disconnected(reason);
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
