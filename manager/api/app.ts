/** The API as one door serves it: every row of the table of endpoints as a route, behind the same checks. */
import { TextDecoder } from "node:util";
import {
  fastify,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerFactory,
} from "fastify";
import { serializerCompiler } from "fastify-type-provider-zod";
import * as z from "zod/mini";
import { type Endpoint, type EndpointName, endpoints, MAX_BODY_BYTES } from "../../shared/api/endpoints.ts";
import { CommandError, usageError } from "../../shared/cli/failure.ts";
import type { Authenticator } from "../access/authenticator.ts";
import type { Principal } from "../access/principal.ts";
import type { Log } from "../../shared/log.ts";
import type { Service } from "../service/service.ts";
import { principalOf } from "./authenticate.ts";
import type { Call, Calls } from "./calls.ts";
import { answerClientError } from "./client-error.ts";
import { openEventStream, type StreamEvent } from "./event-stream.ts";
import type { Handlers, Request } from "./handler.ts";
import { handlersOf } from "./handlers/index.ts";
import { type ApiLimits, MAX_PATH_PARAMETER } from "./limits.ts";
import { describeApi, routeSchema, textRouteSchema } from "./openapi.ts";
import { HttpError, PROBLEM_TYPE, refusalOf } from "./problems.ts";
import { checkedPart, encodedEvents } from "./request-parts.ts";
import type { StreamQuota } from "./stream-quota.ts";

export interface ApiParts {
  service: Service;
  /** What serves the rows of the table; the service itself when left out. */
  handlers?: Handlers;
  authenticator: Authenticator;
  log: Log;
  limits: ApiLimits;
  streams: StreamQuota;
}

/** What is particular to a door. */
export interface ApiDoor {
  /** For the log: `unix:PATH`, `https:ADDRESS:PORT`. */
  name: string;
  /** Who a request without credentials is from; undefined where they are needed, for whatever is asked. */
  principal: Principal | undefined;
  /** Where a request comes from, as in {@link Principal.via}. */
  via: (request: FastifyRequest) => string;
  calls: Calls;
  serverFactory: FastifyServerFactory;
}

/** What `/metrics` answers with: Prometheus' text format. */
const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** All routes, ready to serve on a server that listens wherever the door says. */
export async function buildApi(parts: ApiParts, door: ApiDoor): Promise<FastifyInstance> {
  const app = fastify({
    serverFactory: door.serverFactory,
    bodyLimit: MAX_BODY_BYTES,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: MAX_PATH_PARAMETER },
    clientErrorHandler: (error, socket) => {
      answerClientError(error, socket, door.calls);
    },
    frameworkErrors: (error, _request, reply) => {
      void refuse(reply, error);
    },
  });
  app.setValidatorCompiler<z.ZodMiniType>(({ schema, httpPart = "request" }) => checkedBy(schema, httpPart));
  app.setSerializerCompiler(serializerCompiler);
  acceptJsonAlone(app);
  admitRequests(app, parts, door);
  limitAnswers(app, parts.limits);
  answerFailures(app, parts.log, door);
  await describeApi(app);
  addRoutes(app, parts);
  await app.ready();
  return app;
}

/** Fastify takes an error that is returned; it does not catch one. */
function checkedBy(schema: z.ZodMiniType, part: string) {
  return (input: unknown) => {
    try {
      return { value: checkedPart(schema, part, input) };
    } catch (error) {
      return { error: error as Error };
    }
  };
}

/** A form or a text that a web page can send without asking first is refused, and bytes that are no UTF-8 are not guessed. */
function acceptJsonAlone(app: FastifyInstance): void {
  const parseJson = app.getDefaultJsonParser("error", "error");
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, body, done) => {
    let text: string;
    try {
      text = utf8.decode(body as Buffer);
    } catch {
      done(usageError("the body is not UTF-8"));
      return;
    }
    void parseJson(request, text, done);
  });
}

interface Admission {
  who: Principal;
  call: Call;
}

/**
 * Before a body is read, for every path there is or is not: room for one more request, no web page, and who asks.
 *
 * Web pages have no business here: no CORS, and what a browser sends for one (`Origin`) is refused, so that credentials it
 * remembers cannot be used from elsewhere. `Host` is not looked at: no browser reaches a Unix socket, and under another
 * name (DNS rebinding) the certificate does not fit.
 */
function admitRequests(app: FastifyInstance, { authenticator }: ApiParts, door: ApiDoor): void {
  app.decorateRequest("admission", null);
  app.addHook("onRequest", async (request, reply) => {
    forbidCaching(reply);
    const call = door.calls.begin(reply.raw);
    if (request.headers.origin !== undefined) {
      throw new HttpError(403, "not-permitted", "requests of web pages (with an Origin header) are not served");
    }
    const { authorization } = request.headers;
    const who = await principalOf({ authorization, via: door.via(request) }, door.principal, authenticator);
    request.setDecorator<Admission>("admission", { who, call });
  });
}

function admissionOf(request: FastifyRequest): Admission {
  return request.getDecorator<Admission>("admission");
}

/** Answers can hold secrets, and are of the moment. */
function forbidCaching(reply: FastifyReply): void {
  void reply.headers({ "cache-control": "no-store", "x-content-type-options": "nosniff" });
}

/** An answer has begun: from here on a connection without traffic has a reader that stalls, for streams are never silent. */
function limitAnswers(app: FastifyInstance, { stalledReaderMs }: ApiLimits): void {
  app.addHook("onSend", (_request, reply, payload, done) => {
    reply.raw.setTimeout(stalledReaderMs);
    if (!app.server.listening) void reply.header("connection", "close");
    done(null, payload);
  });
}

function answerFailures(app: FastifyInstance, log: Log, door: ApiDoor): void {
  app.setErrorHandler((error, request, reply) => {
    const failure = stopReason(error, request);
    if (refusalOf(failure).isBug) {
      log.error("request-failed", { door: door.name, route: request.routeOptions.url ?? "", error: failure });
    }
    return refuse(reply, failure);
  });
  app.setNotFoundHandler((request) => {
    throw new HttpError(404, "usage", `there is no ${request.method} ${pathOf(request)}; see /openapi.json`);
  });
}

/** What was stopped by its signal rejects in ways of its own; the signal knows why. */
function stopReason(error: unknown, request: FastifyRequest): unknown {
  const signal = request.getDecorator<Admission | null>("admission")?.call.signal;
  return signal?.aborted === true && !(error instanceof CommandError) ? signal.reason : error;
}

/** Enough of a path to recognize it. */
function pathOf({ url }: FastifyRequest): string {
  const [path = ""] = url.split("?");
  return path.length <= 200 ? path : `${path.slice(0, 200)}...`;
}

function refuse(reply: FastifyReply, error: unknown): FastifyReply {
  const { problem, headers } = refusalOf(error);
  forbidCaching(reply);
  return reply.code(problem.status).headers(headers).type(PROBLEM_TYPE).send(JSON.stringify(problem));
}

function addRoutes(app: FastifyInstance, parts: ApiParts): void {
  const handlers = parts.handlers ?? handlersOf(parts.service);
  for (const name of Object.keys(endpoints) as EndpointName[]) {
    const endpoint: Endpoint = endpoints[name];
    // Which handler belongs to which row the types of `handlersOf` have checked; here it is one of many.
    const handle = handlers[name] as (request: Request<EndpointName>) => unknown;
    app.route({
      method: endpoint.method,
      url: endpoint.path,
      schema: routeSchema(name, endpoint),
      handler: async (request, reply) => {
        if (endpoint.stream === undefined) return await handle(asked(request));
        const events = handle(asked(request)) as AsyncIterable<StreamEvent>;
        return await answerWithStream(request, reply, encodedEvents(events, endpoint.stream), parts);
      },
    });
  }
  addTextRoutes(app, parts.service);
  refuseOtherMethods(app);
}

function asked(request: FastifyRequest): Request<EndpointName> {
  const { who, call } = admissionOf(request);
  const { params, query, body } = request;
  const lastEventId = request.headers["last-event-id"];
  return { who, params, query, body, lastEventId, signal: call.signal } as Request<EndpointName>;
}

async function answerWithStream(
  request: FastifyRequest,
  reply: FastifyReply,
  events: AsyncIterable<StreamEvent>,
  { limits, streams, log }: ApiParts,
): Promise<FastifyReply> {
  const { who, call } = admissionOf(request);
  streams.take(who.name, call.signal);
  call.isStream = true;
  const stream = await openEventStream(events, {
    keepAliveMs: limits.streamKeepAliveMs,
    signal: call.signal,
    describe: (error) => {
      const { problem, isBug } = refusalOf(stopReason(error, request));
      if (isBug) log.error("stream-failed", { route: request.routeOptions.url ?? "", error });
      return problem;
    },
  });
  return reply.type("text/event-stream").send(stream);
}

function addTextRoutes(app: FastifyInstance, service: Service): void {
  app.get(
    "/metrics",
    { schema: textRouteSchema("metrics", "Metrics, for Prometheus", "text/plain") },
    async (request, reply) => {
      const text = await service.metrics(admissionOf(request).who);
      return reply.type(METRICS_TYPE).send(text);
    },
  );
  app.get(
    "/openapi.json",
    { schema: { operationId: "openapi", hide: true, querystring: z.strictObject({}) } },
    (_request, reply) => reply.type("application/json").send(JSON.stringify(app.swagger())),
  );
}

/** A path that is there for another method: 405, and which ones it has (RFC 9110, section 15.5.6). */
function refuseOtherMethods(app: FastifyInstance): void {
  const rows: Pick<Endpoint, "method" | "path">[] = Object.values(endpoints);
  const all = [...rows, { method: "GET", path: "/metrics" }, { method: "GET", path: "/openapi.json" }];
  for (const [url, group] of Map.groupBy(all, ({ path }) => path)) {
    const allowed: string[] = group.map(({ method }) => method);
    app.route({
      method: METHODS.filter((method) => !allowed.includes(method)),
      url,
      schema: { hide: true },
      onRequest: (request, _reply, done) => {
        const allow = allowed.join(", ");
        done(
          new HttpError(405, "usage", `there is no ${request.method} ${pathOf(request)}; it has ${allow}`, { allow }),
        );
      },
      handler: () => undefined,
    });
  }
}
