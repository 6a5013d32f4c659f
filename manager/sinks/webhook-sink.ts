/** Events to an HTTP endpoint, one POST each, signed as Standard Webhooks 1.0.0 says and with its schedule of retries. */
import type { KeyObject } from "node:crypto";
import { once } from "node:events";
import { Agent as HttpAgent, type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest, type RequestOptions } from "node:https";
import { urlToHttpOptions } from "node:url";
import type { BodyFormat } from "../../shared/api/event-schemas.ts";
import { systemCode } from "../../shared/cli/failure.ts";
import { version } from "../../shared/version.ts";
import type { ConnectionState } from "../connection-state.ts";
import type { Event } from "../events/event.ts";
import { parseWebhookUrl } from "./endpoint-url.ts";
import { eventJson, MAX_EVENT_BYTES } from "./event-json.ts";
import { httpReason } from "./http-reason.ts";
import { AttemptLimit, OrderedDelivery, stopped } from "./ordered-delivery.ts";
import type { Attempted, Outcome, Sink } from "./sink.ts";
import { keyOfSecret, webhookHeaders } from "./standard-webhooks.ts";
import type { TargetGuard } from "./target-guard.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** From the name's look-up to the last byte of the answer: within the 15 to 30 s that the specification recommends. */
const ATTEMPT_TIMEOUT_MS = 15 * SECOND_MS;

/** The specification's schedule, after the first attempt. */
const RETRY_SCHEDULE_MS = [
  5 * SECOND_MS,
  5 * MINUTE_MS,
  30 * MINUTE_MS,
  2 * HOUR_MS,
  5 * HOUR_MS,
  10 * HOUR_MS,
  14 * HOUR_MS,
  20 * HOUR_MS,
  24 * HOUR_MS,
];

/**
 * One event is tried seven times within a day: so many failures and no success are of at least eight events, and an evening
 * without the receiver, or one event that it cannot take, disables nothing. Not measured.
 */
const DISABLE_AFTER = { failures: 50, durationMs: 24 * HOUR_MS };

/** So many requests a receiver gets at the same time; a batch keeps them busy for some rounds. Not measured. */
const REQUESTS_AT_ONCE = 4;
const BATCH_SIZE = 16;

/** Between two events a connection stays open for so long: shorter than what servers commonly keep one. */
const IDLE_CONNECTION_MS = 10 * SECOND_MS;

/** Answers are not read for what they say, only so that the connection can be used again. */
const MAX_ANSWER_BYTES = 64 * 1024;

/** A receiver that asks for a longer pause is asked again after this one. */
const MAX_RETRY_AFTER_MS = 24 * HOUR_MS;

const contentTypes: Record<BodyFormat, string> = {
  cloudevents: "application/cloudevents+json; charset=utf-8",
  cloudstack: "application/json",
};

export interface WebhookSinkOptions {
  /** `https://USER:PASSWORD@HOST/PATH?QUERY`; user and password go as HTTP's basic authentication. */
  url: string;
  /** `whsec_...`; each signs. */
  secrets: readonly string[];
  format: BodyFormat;
  /** The manager's machine, which is the source of events. */
  host: string;
  /** Undefined when the endpoint may lead anywhere. */
  guard: TargetGuard | undefined;
  /** Whether `http:` is allowed. */
  allowsHttp: boolean;
  /** PEM, of the receiver's authority; the system's when undefined. */
  ca?: string | undefined;
  attemptTimeoutMs?: number;
}

export class WebhookSink implements Sink {
  readonly type = "webhook";
  readonly target: string;
  readonly batchSize = BATCH_SIZE;
  readonly retryScheduleMs = RETRY_SCHEDULE_MS;
  readonly disableAfter = DISABLE_AFTER;
  readonly keepsAttempts = true;
  readonly #options: WebhookSinkOptions;
  readonly #url: URL;
  readonly #keys: readonly KeyObject[];
  readonly #request: RequestOptions;
  readonly #agent: HttpAgent;
  readonly #delivery: OrderedDelivery;

  /** Throws CommandError when the URL or a secret is none. */
  constructor(options: WebhookSinkOptions) {
    this.#options = options;
    this.#url = parseWebhookUrl(options.url);
    this.target = shownUrl(this.#url);
    this.#keys = options.secrets.map(keyOfSecret);
    this.#agent = this.#newAgent();
    this.#request = this.#requestOptions();
    this.#delivery = new OrderedDelivery({
      resourcesAtOnce: REQUESTS_AT_ONCE,
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
    // It connects when there is an event.
  }

  async close(): Promise<void> {
    await this.#delivery.close();
    this.#agent.destroy();
  }

  /** An agent of its own: nobody else's connections, and no proxy out of the environment. */
  #newAgent(): HttpAgent {
    const options = { keepAlive: true, maxSockets: REQUESTS_AT_ONCE, timeout: IDLE_CONNECTION_MS };
    return this.#url.protocol === "https:" ? new HttpsAgent(options) : new HttpAgent(options);
  }

  #requestOptions(): RequestOptions {
    const { guard, ca } = this.#options;
    return {
      ...urlToHttpOptions(this.#url),
      method: "POST",
      agent: this.#agent,
      // Whatever the environment says (NODE_TLS_REJECT_UNAUTHORIZED).
      rejectUnauthorized: true,
      ...(ca !== undefined && { ca }),
      ...(guard !== undefined && { lookup: guard.lookup }),
    };
  }

  async #attempt(event: Event, stop: AbortSignal): Promise<Outcome> {
    const { format, host, attemptTimeoutMs = ATTEMPT_TIMEOUT_MS } = this.#options;
    const body = eventJson(event, format, host);
    if (body === undefined) {
      return { type: "rejected", reason: `the event is larger than ${MAX_EVENT_BYTES} bytes without its values too` };
    }
    using limit = new AttemptLimit(attemptTimeoutMs, stop);
    try {
      this.#assertAllowed();
      return outcomeOf(await this.#post(event, body, limit.signal));
    } catch (error) {
      if (stop.aborted) return stopped;
      if (limit.signal.aborted) return { type: "failed", reason: `no answer within ${attemptTimeoutMs / SECOND_MS} s` };
      return { type: "failed", reason: httpReason(error) };
    }
  }

  /** At each attempt: what is not allowed today may be tomorrow. */
  #assertAllowed(): void {
    if (this.#url.protocol !== "https:" && !this.#options.allowsHttp) {
      throw new Error("an endpoint without TLS needs events.targets.http in the manager's configuration");
    }
    this.#options.guard?.assertAddress(this.#url.hostname);
  }

  /**
   * A connection that was kept may have been closed by the receiver at this very moment: that is nobody's failure, so the
   * event goes over another one. The receiver knows an event that reached it twice by its id.
   */
  async #post(event: Event, body: Buffer, signal: AbortSignal): Promise<IncomingMessage> {
    const headers = {
      ...webhookHeaders({ id: event.id, time: Date.now(), body }, this.#keys),
      "content-type": contentTypes[this.#options.format],
      "user-agent": `vmmessaged/${version}`,
    };
    const send = this.#url.protocol === "https:" ? httpsRequest : httpRequest;
    const request = send({ ...this.#request, headers, signal });
    request.end(body);
    try {
      return await answerTo(request, signal);
    } catch (error) {
      if (!request.reusedSocket || signal.aborted || systemCode(error) !== "ECONNRESET") throw error;
      return await this.#post(event, body, signal);
    }
  }
}

/** The head of the answer, when its body has been read as far as it is. Rejects when there is none. */
async function answerTo(request: ClientRequest, signal: AbortSignal): Promise<IncomingMessage> {
  // An error after the answer's head is the body's, which nobody needs.
  request.on("error", () => undefined);
  const [response] = (await once(request, "response", { signal })) as [IncomingMessage];
  await readAway(response);
  return response;
}

/** What does not end within its limits is cut off, with its connection: its head has said what became of the event. */
async function readAway(response: IncomingMessage): Promise<void> {
  let bytes = 0;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > MAX_ANSWER_BYTES) return;
    }
  } catch {
    // As above.
  }
}

function outcomeOf({ statusCode: status = 0, headers }: IncomingMessage): Outcome {
  if (status >= 200 && status < 300) return { type: "delivered", status };
  if (status === 410) return { type: "gone", reason: "it answered 410 Gone", status };
  if (status >= 300 && status < 400) {
    return {
      type: "failed",
      reason: `it answered ${status}, and redirects are not followed: name its new URL`,
      status,
    };
  }
  const retryAfterMs = parseRetryAfter(headers["retry-after"], Date.now());
  return {
    type: "failed",
    reason: `it answered ${status}`,
    status,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
}

/**
 * Milliseconds to wait, at most a day, out of HTTP's Retry-After (RFC 9110, section 10.2.3): seconds, or a date.
 * Undefined for what is neither.
 *
 * @param now milliseconds since 1970
 */
export function parseRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  const waitMs = /^\d+$/.test(value) ? Number(value) * SECOND_MS : Date.parse(value) - now;
  return Number.isNaN(waitMs) ? undefined : Math.min(Math.max(waitMs, 0), MAX_RETRY_AFTER_MS);
}

/** Without user and password, and without the query and most of the path, where receivers have their tokens. */
function shownUrl({ origin, pathname, search }: URL): string {
  const [, first = "", ...more] = pathname.split("/");
  const isLonger = more.some((segment) => segment !== "");
  return `${origin}/${first}${isLonger ? "/…" : search === "" ? "" : "?…"}`;
}
