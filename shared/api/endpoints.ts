/**
 * The manager's API as one table: the manager serves it, the CLI calls it, OpenAPI describes it. Segments that begin with
 * a colon are filled in, percent-encoded; `:vm` is a name or a UUID.
 */
import * as z from "zod/mini";
import { key, messageId, prefix, requests } from "../protocol/message.ts";
import { madeOnUse } from "../protocol/made-on-use.ts";
import * as schemas from "./schemas.ts";

/** Where it is served unless the configuration says otherwise. */
export const DEFAULT_API_PORT = 7443;

/** The largest body of a request: a change of a whole cache at its configurable limit fits, as base64. */
export const MAX_BODY_BYTES = 2 * 1024 * 1024;

const vm = z.object({ vm: z.string() });
const limit = z.optional(z.coerce.number().check(z.int(), z.minimum(1), z.maximum(1000)));
const nothing = z.object({});

/** A place in a VM's history of changes, from which a watch is resumed: `EPOCH:REVISION`. */
export const watchPosition = z
  .string()
  .check(z.regex(/^[0-9a-f]{16}:\d{1,15}$/, "must be EPOCH:REVISION, as in an event's id"));

/** What a row of the table can have. */
export interface Endpoint {
  /** GET, POST, PUT or DELETE. */
  method: string;
  path: string;
  summary: string;
  params?: z.ZodMiniType;
  /** Members that are not there are refused: a misspelt one would go unnoticed. */
  query?: z.ZodMiniType;
  body?: z.ZodMiniType;
  answer?: z.ZodMiniType;
  stream?: Record<string, z.ZodMiniType>;
}

/**
 * `answer` is the body of a 200; with `stream` the answer is a `text/event-stream` whose events are named and carry the
 * JSON of that schema. Errors are problems (`application/problem+json`).
 */
export const endpoints = madeOnUse({
  listVms: () => ({
    method: "GET",
    path: "/v1/vms",
    summary: "All VMs",
    answer: z.object({ vms: z.array(schemas.vmSummary) }),
  }),
  showVm: () => ({ method: "GET", path: "/v1/vms/:vm", summary: "One VM", params: vm, answer: schemas.vmSummary }),
  forgetVm: () => ({
    method: "DELETE",
    path: "/v1/vms/:vm",
    summary: "Forget a VM that no inventory has any more, with its messages",
    params: vm,
    answer: nothing,
  }),
  listKeys: () => ({
    method: "GET",
    path: "/v1/vms/:vm/keys",
    summary: "The keys of a VM; secrets without their values",
    params: vm,
    query: z.strictObject({ prefix: z._default(prefix, "") }),
    answer: schemas.keyList,
  }),
  getKey: () => ({
    method: "GET",
    path: "/v1/vms/:vm/keys/:key",
    summary: "One key",
    params: z.extend(vm, { key }),
    answer: schemas.keyAnswer,
  }),
  watchKeys: () => ({
    method: "GET",
    path: "/v1/vms/:vm/watch",
    summary: "Keys and every change of them",
    params: vm,
    query: z.strictObject({ prefix: z._default(prefix, ""), since: z.optional(watchPosition) }),
    stream: { changed: schemas.changedBatch, link: schemas.vmSummary },
  }),
  sendMessage: () => ({
    method: "POST",
    path: "/v1/vms/:vm/messages",
    summary: "Send a change, now or when the VM answers",
    params: vm,
    body: schemas.newMessage,
    answer: schemas.receipt,
  }),
  listSent: () => ({
    method: "GET",
    path: "/v1/vms/:vm/messages",
    summary: "What was sent to a VM, the newest first",
    params: vm,
    query: z.strictObject({ limit }),
    answer: schemas.receipts,
  }),
  listReceived: () => ({
    method: "GET",
    path: "/v1/vms/:vm/received",
    summary: "What came from a VM, the newest first",
    params: vm,
    query: z.strictObject({ limit }),
    answer: schemas.receivedMessages,
  }),
  getReceipt: () => ({
    method: "GET",
    path: "/v1/messages/:messageId",
    summary: "What became of a message",
    params: z.object({ messageId }),
    query: z.strictObject({
      waitFor: z.optional(z.enum(["delivered", "acknowledged"])),
      waitMs: z.optional(z.coerce.number().check(z.int(), z.minimum(0), z.maximum(2 ** 31 - 1))),
    }),
    answer: schemas.receipt,
  }),
  infoVm: () => ({
    method: "GET",
    path: "/v1/vms/:vm/info",
    summary: "What the agent says of itself",
    params: vm,
    answer: requests.info.result,
  }),
  pingVm: () => ({
    method: "POST",
    path: "/v1/vms/:vm/ping",
    summary: "One round trip to the agent",
    params: vm,
    answer: schemas.pingAnswer,
  }),
  sendFleet: () => ({
    method: "POST",
    path: "/v1/fleet",
    summary: "One request for many VMs",
    body: schemas.fleetRequest,
    stream: { begin: z.object({ vms: z.int() }), result: schemas.fleetResult, summary: schemas.fleetSummary },
  }),
  listUsers: () => ({ method: "GET", path: "/v1/users", summary: "All users", answer: schemas.userList }),
  changeUser: () => ({
    method: "PUT",
    path: "/v1/users/:user",
    summary: "Make or change a user",
    params: z.object({ user: schemas.userName }),
    body: schemas.userChange,
    answer: schemas.user,
  }),
  removeUser: () => ({
    method: "DELETE",
    path: "/v1/users/:user",
    summary: "Remove a user and their tokens",
    params: z.object({ user: z.string() }),
    answer: nothing,
  }),
  listTokens: () => ({
    method: "GET",
    path: "/v1/tokens",
    summary: "Tokens, without their secrets",
    answer: schemas.tokenList,
  }),
  createToken: () => ({
    method: "POST",
    path: "/v1/tokens",
    summary: "Make a token, shown once",
    body: schemas.newToken,
    answer: schemas.createdToken,
  }),
  revokeToken: () => ({
    method: "DELETE",
    path: "/v1/tokens/:id",
    summary: "Revoke a token",
    params: z.object({ id: z.string() }),
    answer: nothing,
  }),
  listAudit: () => ({
    method: "GET",
    path: "/v1/audit",
    summary: "Who did what, the newest first",
    query: z.strictObject({
      vm: z.optional(z.string()),
      who: z.optional(z.string()),
      before: z.optional(z.coerce.number().check(z.int(), z.minimum(0))),
      limit,
    }),
    answer: schemas.auditRecords,
  }),
  health: () => ({ method: "GET", path: "/health", summary: "What works and what does not", answer: schemas.health }),
} as const);

export type EndpointName = keyof typeof endpoints;
