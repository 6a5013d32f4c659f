/** The API's description of itself (OpenAPI 3.1), generated from the schemas that check requests and shape answers. */
import swagger, { type FastifyDynamicSwaggerOptions } from "@fastify/swagger";
import type { FastifyInstance } from "fastify";
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from "fastify-type-provider-zod";
import * as z from "zod/mini";
import type { $ZodTypes } from "zod/v4/core";
import type { Endpoint } from "../../shared/api/endpoints.ts";
import * as events from "../../shared/api/event-schemas.ts";
import * as schemas from "../../shared/api/schemas.ts";
import { version } from "../../shared/version.ts";
import { PROBLEM_TYPE } from "./problems.ts";
import { querySchema } from "./request-parts.ts";

/** Schemas that the document names, and refers to wherever they are part of another one. */
const named = {
  AuditRecord: schemas.auditRecord,
  ChangedBatch: schemas.changedBatch,
  CreatedToken: schemas.createdToken,
  DeadLetter: events.deadLetter,
  DeliveryAttempt: events.deliveryAttempt,
  Event: events.event,
  EventFilter: events.eventFilter,
  EventPage: events.eventPage,
  EventPosition: events.eventPosition,
  FleetRequest: schemas.fleetRequest,
  FleetResult: schemas.fleetResult,
  FleetSummary: schemas.fleetSummary,
  Health: schemas.health,
  ImageSave: events.imageSave,
  KeyAnswer: schemas.keyAnswer,
  KeyList: schemas.keyList,
  NewImageSave: events.newImageSave,
  NewMessage: schemas.newMessage,
  NewNotify: events.newNotify,
  NewSubscription: events.newSubscription,
  NewToken: schemas.newToken,
  Notify: events.notify,
  PendingChange: schemas.pendingChange,
  PingAnswer: schemas.pingAnswer,
  Problem: schemas.problem,
  Receipt: schemas.receipt,
  ReceivedMessage: schemas.receivedMessage,
  Sink: events.sink,
  Subscription: events.subscription,
  SubscriptionChange: events.subscriptionChange,
  Token: schemas.token,
  User: schemas.user,
  UserChange: schemas.userChange,
  VmRef: schemas.vmRef,
  VmSummary: schemas.vmSummary,
};

/** Registers what collects the routes; the document is `app.swagger()`, once the app is ready. */
export async function describeApi(app: FastifyInstance): Promise<void> {
  const schemaRegistry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(named)) schemaRegistry.add(schema, { id });
  const transforming = { schemaRegistry, zodToJsonConfig: { override: allowMoreMembers } };
  const transformObject = createJsonSchemaTransformObject(transforming);
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: { title: "vmmessaged", version, description: "Messages to and from virtual machines" },
      components: {
        securitySchemes: {
          basic: { type: "http", scheme: "basic" },
          bearer: { type: "http", scheme: "bearer" },
        },
      },
      // The empty one: a Unix socket that stands for a principal asks for none.
      security: [{ basic: [] }, { bearer: [] }, {}],
    },
    transform: createJsonSchemaTransform(transforming),
    transformObject: (document) => withoutUnused(transformObject(document)),
  } satisfies FastifyDynamicSwaggerOptions);
}

/** A route's schema, for Fastify's checks and for the document. */
export function routeSchema(operationId: string, endpoint: Endpoint) {
  const { summary, params, body } = endpoint;
  return {
    operationId,
    summary,
    ...(params !== undefined && { params }),
    querystring: querySchema(endpoint),
    ...(body !== undefined && { body }),
    response: responses(endpoint.stream === undefined ? jsonAnswer(endpoint) : streamAnswer(endpoint.stream)),
  };
}

/** Of an answer that is text as it is. */
export function textRouteSchema(operationId: string, summary: string, contentType: string) {
  const response = responses({ description: summary, content: { [contentType]: { schema: z.string() } } });
  return { operationId, summary, querystring: z.strictObject({}), response };
}

function responses(success: object) {
  const problem = { description: "A problem (RFC 9457)", content: { [PROBLEM_TYPE]: { schema: schemas.problem } } };
  return { 200: success, default: problem };
}

function jsonAnswer({ summary, answer }: Endpoint) {
  return { description: summary, content: { "application/json": { schema: answer ?? z.object({}) } } };
}

/** OpenAPI 3.1 has no words for a stream: the schema is that of each event, its data being JSON. */
function streamAnswer(stream: NonNullable<Endpoint["stream"]>) {
  const events = Object.entries({ ...stream, error: schemas.problem }).map(([name, data]) => {
    return z.object({ event: z.literal(name), data, id: z.optional(z.string()) });
  });
  const description = "Server-sent events; the schema is that of each, its data as JSON";
  return { description, content: { "text/event-stream": { schema: z.union(events) } } };
}

/** What is not said to be strict can get more members in a later version: a client is not to refuse them. */
function allowMoreMembers({ zodSchema, jsonSchema }: { zodSchema: $ZodTypes; jsonSchema: object }): void {
  const { def } = zodSchema._zod;
  if (def.type === "object" && def.catchall === undefined) Reflect.deleteProperty(jsonSchema, "additionalProperties");
}

type Document = ReturnType<ReturnType<typeof createJsonSchemaTransformObject>>;

/** Each named schema comes in a form for requests and one for answers, of which most need one. */
function withoutUnused(document: Document): Document {
  if (!("components" in document)) return document;
  const { schemas: all = {} } = document.components ?? {};
  const used = new Set<string>();
  const visit = (part: unknown): void => {
    for (const [, name = ""] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (used.has(name)) continue;
      used.add(name);
      visit(all[name] ?? {});
    }
  };
  visit(document.paths ?? {});
  const kept = Object.fromEntries(Object.entries(all).filter(([name]) => used.has(name)));
  return { ...document, components: { ...document.components, schemas: kept } } as Document;
}
