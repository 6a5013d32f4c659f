/** One request to an OpenStack service and its answer, both in JSON. Redirects are not followed. */
import { once } from "node:events";
import { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import * as z from "zod/mini";
import { CommandError } from "../../../shared/cli/failure.ts";
import { printable } from "../../../shared/terminal-text.ts";
import { version } from "../../../shared/version.ts";
import { httpReason } from "../http-reason.ts";
import { AttemptLimit } from "../ordered-delivery.ts";

/** Keystone's catalogue has some 300 bytes for each endpoint: enough for a large cloud's. Not measured. */
export const MAX_ANSWER_BYTES = 256 * 1024;

/** Enough of a service's own words to understand them. Not measured. */
const MAX_WORDS = 300;

export interface Request {
  /** Who is asked, for messages: `Keystone`. */
  who: string;
  method: "GET" | "POST";
  url: string;
  headers?: Readonly<Record<string, string>>;
  body?: unknown;
  /** PEM, of the service's authority; when undefined, those that Node knows. */
  ca: string | undefined;
  /** From the name's look-up to the last byte of the answer. */
  timeoutMs: number;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  /** Undefined when it was no JSON, too large, or cut short: the status has said what became of the request. */
  body: unknown;
}

/** Rejects with CommandError `unreachable`, without anything of the request but its URL, when there is no answer. */
export async function exchange(request: Request, stop: AbortSignal): Promise<Answer> {
  const { timeoutMs } = request;
  using limit = new AttemptLimit(timeoutMs, stop);
  try {
    return await answerTo(send(request, limit.signal), limit.signal);
  } catch (error) {
    const isLate = limit.signal.aborted && !stop.aborted;
    const reason = isLate ? `no answer within ${timeoutMs / 1_000} s` : httpReason(error);
    throw new CommandError("unreachable", `${address(request)}: ${reason}`, {}, { cause: error });
  }
}

/** `Keystone at https://keystone.example:5000/v3` */
export function address({ who, url }: Pick<Request, "who" | "url">): string {
  return `${who} at ${shownUrl(url)}`;
}

/** Without user and password, and without a query. */
export function shownUrl(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`.replace(/\/$/, "");
}

/** A connection for each request: there are few, and one that was kept may just have been closed by the other end. */
function send({ method, url, headers, body, ca }: Request, signal: AbortSignal): ClientRequest {
  const start = url.startsWith("https:") ? httpsRequest : httpRequest;
  const request = start(url, {
    method,
    agent: false,
    // Whatever the environment says (NODE_TLS_REJECT_UNAUTHORIZED).
    rejectUnauthorized: true,
    ...(ca !== undefined && { ca }),
    headers: {
      accept: "application/json",
      "user-agent": `vmmessaged/${version}`,
      ...(body !== undefined && { "content-type": "application/json" }),
      ...headers,
    },
    signal,
  });
  return request.end(body === undefined ? undefined : JSON.stringify(body));
}

async function answerTo(request: ClientRequest, signal: AbortSignal): Promise<Answer> {
  // An error after the answer's head is the body's.
  request.on("error", () => undefined);
  const [response] = (await once(request, "response", { signal })) as [IncomingMessage];
  const { statusCode: status = 0, headers } = response;
  return { status, headers, body: await jsonIn(response) };
}

async function jsonIn(response: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > MAX_ANSWER_BYTES) return undefined;
      pieces.push(piece);
    }
    return JSON.parse(Buffer.concat(pieces).toString()) as unknown;
  } catch {
    return undefined;
  }
}

/** A service's own faults have a name: `{"badRequest": {"message": "..."}}`; those of what stands before it have none. */
const fault = z.object({ message: z.string() });

/**
 * What a service says went wrong, for people; empty when it says nothing.
 *
 * @param secret it knows this, and may say it back
 */
export function wordsIn({ body }: Pick<Answer, "body">, secret: string | undefined): string {
  const parts: unknown[] =
    typeof body === "object" && body !== null ? [body, ...(Object.values(body) as unknown[])] : [];
  const [text = ""] = parts.flatMap((part) => fault.safeParse(part).data?.message ?? []);
  const words = secret === undefined || secret === "" ? text : text.replaceAll(secret, "*****");
  return printable(words.slice(0, MAX_WORDS));
}
