/** The manager's API, called: requests by the name of their endpoint, answers checked with its schema. */
import type { IncomingMessage } from "node:http";
import type * as z from "zod/mini";
import { type EndpointName, endpoints } from "../../shared/api/endpoints.ts";
import { problem } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import type { ManagerAddress } from "../door.ts";
import type { TimeLimits } from "../timing.ts";
import { addressInWords, ManagerLostError, type Trust } from "./connect.ts";
import { readEvents } from "./event-stream.ts";
import { HttpClient, type HttpRequest, readPieces, readText } from "./http.ts";

/** A problem is a sentence and some facts. */
const MAX_PROBLEM_BYTES = 256 * 1024;

/** Enough of a sentence from elsewhere, and not enough to flood a terminal. */
const MAX_DETAIL = 2_000;

type Endpoints = typeof endpoints;
type Schema = z.ZodMiniType;
type AnsweredEndpoint = { [N in EndpointName]: Endpoints[N] extends { answer: Schema } ? N : never }[EndpointName];
export type StreamedEndpoint = {
  [N in EndpointName]: Endpoints[N] extends { stream: unknown } ? N : never;
}[EndpointName];
type AnswerOf<N extends AnsweredEndpoint> = Endpoints[N] extends { answer: infer S extends Schema }
  ? z.output<S>
  : never;
export type StreamOf<N extends StreamedEndpoint> = Endpoints[N] extends {
  stream: infer S extends Record<string, Schema>;
}
  ? { [Name in keyof S & string]: { event: Name; data: z.output<S[Name]> } }[keyof S & string]
  : never;

/** What an endpoint is asked with: the parts of its path, its query (a list is a member many times), its body. */
export interface Asked {
  params?: Record<string, string>;
  query?: Record<string, string | number | boolean | readonly string[] | undefined>;
  body?: object;
}

export interface ManagerOptions {
  trust: Trust;
  /** The header's value; none when nobody is named. */
  authorization: string | undefined;
  limits: TimeLimits;
}

export class Manager implements Disposable {
  /** Where it is, for people. */
  readonly where: string;
  readonly #http: HttpClient;
  readonly #limits: TimeLimits;
  readonly #isNamed: boolean;

  constructor(address: ManagerAddress, { trust, authorization, limits }: ManagerOptions) {
    this.where = addressInWords(address);
    this.#http = new HttpClient(address, trust, authorization);
    this.#limits = limits;
    this.#isNamed = authorization !== undefined;
  }

  /** Ended by the command's time or a signal. */
  get signal(): AbortSignal {
    return this.#limits.signal;
  }

  /** Throws CommandError: what the manager says, or `unreachable` (ManagerLostError) when it does not answer. */
  async read<N extends AnsweredEndpoint>(name: N, asked: Asked = {}): Promise<AnswerOf<N>> {
    const signal = AbortSignal.any([this.signal, AbortSignal.timeout(this.#limits.answerTimeoutMs)]);
    return this.#ask(name, asked, signal);
  }

  /** As {@link read}, for an answer that the manager gives when something has happened. */
  async readLate<N extends AnsweredEndpoint>(name: N, asked: Asked): Promise<AnswerOf<N>> {
    return this.#ask(name, asked, this.signal);
  }

  /** Asks for a change of the manager's own; `unconfirmed` when no answer comes to what was sent. */
  async change<N extends AnsweredEndpoint>(name: N, asked: Asked): Promise<AnswerOf<N>> {
    try {
      return await this.read(name, asked);
    } catch (error) {
      if (!(error instanceof ManagerLostError) || !error.wasSent) throw error;
      const message = `the change was sent to the manager and not confirmed: ${error.message}; it may or may not be done`;
      throw new CommandError("unconfirmed", message, {}, { cause: error });
    }
  }

  /** The events of a stream till its end. Throws as {@link read} does. */
  async *stream<N extends StreamedEndpoint>(name: N, asked: Asked, signal = this.signal): AsyncGenerator<StreamOf<N>> {
    const schemas = endpoints[name].stream as Record<string, Schema>;
    const response = await this.#request(name, { ...asked, accept: "text/event-stream" }, signal);
    this.#assertType(response, "text/event-stream");
    for await (const { event = "", data } of readEvents(readPieces(response, signal))) {
      // An event that is not known is of a newer manager's.
      if (!Object.hasOwn(schemas, event)) continue;
      yield { event, data: this.#checked(schemas[event], data) } as StreamOf<N>;
    }
  }

  [Symbol.dispose](): void {
    this.#http.close();
  }

  async #ask<N extends AnsweredEndpoint>(name: N, asked: Asked, signal: AbortSignal): Promise<AnswerOf<N>> {
    const response = await this.#request(name, { ...asked, accept: "application/json" }, signal);
    this.#assertType(response, "application/json");
    return this.#checked(endpoints[name].answer, await readText(response, signal)) as AnswerOf<N>;
  }

  async #request(
    name: EndpointName,
    { accept, ...asked }: Asked & Pick<HttpRequest, "accept">,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const { method, path } = endpoints[name];
    const body = asked.body === undefined ? undefined : JSON.stringify(asked.body);
    const response = await this.#http.request({ method, path: filledIn(path, asked), accept, body }, signal);
    if (response.statusCode === 200) return response;
    throw await this.#refusal(response, signal);
  }

  async #refusal(response: IncomingMessage, signal: AbortSignal): Promise<CommandError> {
    const text = await readText(response, signal, MAX_PROBLEM_BYTES);
    const said = problem.safeParse(parsed(text));
    if (!said.success) return this.#notAManager(`HTTP status ${response.statusCode ?? "none"}`);
    const { code, detail, details } = said.data;
    const sentence = detail.length <= MAX_DETAIL ? detail : `${detail.slice(0, MAX_DETAIL)}...`;
    const needsName = response.statusCode === 401 && !this.#isNamed;
    const remedy = needsName ? "; say who asks: -u USER and -p -, --token-file, or a credentials file" : "";
    return new CommandError(code, `${sentence}${remedy}`, details ?? {});
  }

  #assertType(response: IncomingMessage, type: string): void {
    const actual = response.headers["content-type"] ?? "no content type";
    if (actual.startsWith(type)) return;
    response.destroy();
    throw this.#notAManager(actual);
  }

  #checked(schema: Schema | undefined, text: string): unknown {
    const answer = schema?.safeParse(parsed(text));
    if (answer?.success) return answer.data;
    const [issue] = answer?.error.issues ?? [];
    throw this.#notAManager(issue === undefined ? "no schema" : `${issue.path.join(".")}: ${issue.message}`);
  }

  #notAManager(saw: string): CommandError {
    const message = `${this.where} does not answer as a vmmessage manager of this version does (${saw.slice(0, 200)})`;
    return new CommandError("failed", message);
  }
}

function filledIn(path: string, { params = {}, query = {} }: Asked): string {
  const filled = path.replace(/:([a-zA-Z]+)/g, (_, name: string) => encodeURIComponent(params[name] ?? ""));
  const search = new URLSearchParams();
  for (const [name, value = []] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one));
  }
  return search.size === 0 ? filled : `${filled}?${search.toString()}`;
}

/** Undefined when it is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
