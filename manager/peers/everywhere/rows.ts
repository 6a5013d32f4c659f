/** Rows of the API's table, asked of another manager for somebody who asked here. */
import type * as z from "zod/mini";
import { type Endpoint, type EndpointName, endpoints } from "../../../shared/api/endpoints.ts";
import { CommandError } from "../../../shared/cli/failure.ts";
import { describeIssues } from "../../../shared/protocol/message.ts";
import type { StreamEvent } from "../../api/event-stream.ts";
import type { Handler, Handlers, Request } from "../../api/handler.ts";
import { DEFAULT_WAIT_MS } from "../../delivery/messages.ts";
import { type Callee, type Caller, MisdirectedError } from "../caller.ts";
import { ANSWER_TIMEOUT_MS, type AskedEndpoint, type Peer } from "../wire.ts";

/** A checked request of whichever row: whoever passes it on knows which. */
export interface RowRequest extends Pick<Request<EndpointName>, "who" | "lastEventId" | "signal"> {
  params: unknown;
  query: unknown;
  body: unknown;
}

type EndpointPart<N extends EndpointName, Part extends string> =
  (typeof endpoints)[N] extends Record<Part, infer Schema> ? Schema : never;
export type AnsweredRow = { [N in EndpointName]: EndpointPart<N, "stream"> extends never ? N : never }[EndpointName];
export type StreamedRow = Exclude<EndpointName, AnsweredRow>;
export type AnswerOf<N extends AnsweredRow> = Awaited<ReturnType<Handler<N>>>;
export type EventOf<N extends StreamedRow> = ReturnType<Handler<N>> extends AsyncIterable<infer Event> ? Event : never;

/** A timer of Node's cannot be longer. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

export class PeerRows {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** Rejects as {@link Caller.ask} does. */
  async ask<N extends AnsweredRow>(callee: Callee, name: N, request: RowRequest): Promise<AnswerOf<N>> {
    const options = {
      signal: request.signal,
      timeoutMs: Math.min(ANSWER_TIMEOUT_MS + heldBackMs(request), MAX_TIMEOUT_MS),
      isChange: isChange(name),
    };
    const answer = await this.#caller.ask(callee, asked(name, request), options);
    const row: Endpoint = endpoints[name];
    return checked(row.answer, answer, callee, options.isChange ? "unconfirmed" : "failed") as AnswerOf<N>;
  }

  /** Throws as {@link Caller.stream} does. */
  async *stream<N extends StreamedRow>(callee: Callee, name: N, request: RowRequest): AsyncGenerator<EventOf<N>> {
    const schemas = (endpoints[name] as Endpoint).stream ?? {};
    const options = { signal: request.signal, timeoutMs: ANSWER_TIMEOUT_MS };
    const events = this.#caller.stream(callee, asked(name, request), options);
    for await (const { event, data, id } of events) {
      // An event that is not known is of a newer manager's.
      if (!Object.hasOwn(schemas, event)) continue;
      const told: StreamEvent = { event, data: checked(schemas[event], data, callee, "failed"), id };
      yield told as EventOf<N>;
    }
  }
}

/** This manager's own answer. Which handler belongs to which row the table's types say; here it is one of many. */
export async function askRow<N extends AnsweredRow>(
  handlers: Handlers,
  name: N,
  request: RowRequest,
): Promise<AnswerOf<N>> {
  const handle = handlers[name] as (request: RowRequest) => AnswerOf<N> | Promise<AnswerOf<N>>;
  return await handle(request);
}

/** This manager's own stream. */
export function streamRow<N extends StreamedRow>(
  handlers: Handlers,
  name: N,
  request: RowRequest,
): AsyncIterable<EventOf<N>> {
  const handle = handlers[name] as (request: RowRequest) => AsyncIterable<EventOf<N>>;
  return handle(request);
}

/** Whether something is changed by it, and not only asked. */
export function isChange(name: EndpointName): boolean {
  return endpoints[name].method !== "GET" && name !== "pingVm";
}

/** It was lost on its way or in the middle: it can be there again, or somebody else in its place. */
export function isLost(error: unknown): boolean {
  if (error instanceof MisdirectedError) return true;
  if (!(error instanceof CommandError)) return false;
  return error.code === "unreachable" || error.details["isMoved"] === true;
}

/** Whoever was asked cannot be reached, was lost before it answered, or lost the VM: it may be done or not. */
export function wasLost(error: unknown, { host }: Peer): error is CommandError {
  if (!(error instanceof CommandError) || error.code !== "unreachable") return false;
  // The asked manager's own word on a guest that cannot be reached names no manager.
  return error.details["host"] === host || error.details["isMoved"] === true;
}

/** How long its row may hold back the answer. */
function heldBackMs({ query, body }: RowRequest): number {
  const { waitFor, waitMs = DEFAULT_WAIT_MS } = { ...(query ?? {}), ...(body ?? {}) } as {
    waitFor?: string;
    waitMs?: number;
  };
  return waitFor === undefined ? 0 : waitMs;
}

function asked(endpoint: EndpointName, { who, params, query, body, lastEventId }: RowRequest): AskedEndpoint {
  const { name, role, vms, keys } = who;
  return {
    endpoint,
    who: { name, role, vms: [...vms], keys: [...keys] },
    ...(params !== undefined && { params }),
    ...(query !== undefined && { query: asHttpHasIt(query as object) }),
    ...(body !== undefined && { body }),
    ...(lastEventId !== undefined && { lastEventId }),
  };
}

/** All members are text, and a list is a member many times. */
function asHttpHasIt(query: object): Record<string, unknown> {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [name, Array.isArray(value) ? value : String(value)]));
}

/** Of a change, what cannot be read says no more than that something was done. */
function checked(
  schema: z.ZodMiniType | undefined,
  answer: unknown,
  { peer }: Callee,
  code: "failed" | "unconfirmed",
): unknown {
  const result = schema?.safeParse(answer);
  if (result?.success === true) return result.data;
  const saw = result === undefined ? "an answer" : describeIssues(result.error);
  throw new CommandError(code, `the manager on ${peer.host} does not answer as one of this version does (${saw})`);
}
