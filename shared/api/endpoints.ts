/**
 * The manager's API as one table: the manager serves it, the CLI calls it, OpenAPI describes it. Segments that begin with
 * a colon are filled in, percent-encoded; `:vm` is a name or a UUID.
 */
import * as z from "zod/mini";
import { count, key, messageId, prefix, requests } from "../protocol/message.ts";
import { madeOnUse } from "../protocol/made-on-use.ts";
import * as events from "./event-schemas.ts";
import * as monitor from "./monitor-schemas.ts";
import * as schemas from "./schemas.ts";

/** Where it is served unless the configuration says otherwise. */
export const DEFAULT_API_PORT = 7443;

/** The largest body of a request: a change of a whole cache at its configurable limit fits, as base64. */
export const MAX_BODY_BYTES = 2 * 1024 * 1024;

const vm = z.object({ vm: z.string() });
const sink = z.object({ sink: z.string() });
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
    summary: "All VMs of this manager, or of all that share its broker",
    query: z.strictObject({ everywhere: z.optional(events.flag) }),
    answer: schemas.vmList,
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
  statsVm: () => ({
    method: "GET",
    path: "/v1/vms/:vm/stats",
    summary: "Load, memory and disks of the guest, now",
    params: vm,
    answer: requests.stats.result,
  }),
  listHealth: () => ({
    method: "GET",
    path: "/v1/monitor",
    summary: "How the guests are",
    answer: z.object({ vms: z.array(monitor.vmHealth) }),
  }),
  showHealth: () => ({
    method: "GET",
    path: "/v1/vms/:vm/monitor",
    summary: "How one guest is, and its applications",
    params: vm,
    answer: monitor.vmHealth,
  }),
  sendFleet: () => ({
    method: "POST",
    path: "/v1/fleet",
    summary: "One request for many VMs",
    body: schemas.fleetRequest,
    stream: { begin: z.object({ vms: z.int() }), result: schemas.fleetResult, summary: schemas.fleetSummary },
  }),
  listEvents: () => ({
    method: "GET",
    path: "/v1/events",
    summary: "Events, the oldest first; without `since` the newest",
    query: z.strictObject({ ...events.eventQuery, limit }),
    answer: events.eventPage,
  }),
  followEvents: () => ({
    method: "GET",
    path: "/v1/events/stream",
    summary: "Events as they happen, after those since a cursor",
    query: z.strictObject(events.eventQuery),
    stream: { position: events.eventPosition, event: events.event, missed: events.eventPosition },
  }),
  listSinks: () => ({
    method: "GET",
    path: "/v1/sinks",
    summary: "Where events go, and how far each is",
    answer: z.object({ sinks: z.array(events.sink) }),
  }),
  listDeadLetters: () => ({
    method: "GET",
    path: "/v1/sinks/:sink/dead-letters",
    summary: "What could not be delivered to a sink, the newest first",
    params: sink,
    query: z.strictObject({ limit }),
    answer: z.object({ deadLetters: z.array(events.deadLetter) }),
  }),
  listDeliveries: () => ({
    method: "GET",
    path: "/v1/sinks/:sink/deliveries",
    summary: "The last attempts to deliver to a sink, the newest first",
    params: sink,
    query: z.strictObject({ limit }),
    answer: z.object({ deliveries: z.array(events.deliveryAttempt) }),
  }),
  redeliver: () => ({
    method: "POST",
    path: "/v1/sinks/:sink/redeliver",
    summary: "Deliver events again: those with these ids, or all dead letters",
    params: sink,
    body: z.strictObject({
      events: z.optional(z.array(z.string().check(z.maxLength(64))).check(z.minLength(1), z.maxLength(1000))),
    }),
    answer: z.object({ redelivered: count }),
  }),
  enableSink: () => ({
    method: "POST",
    path: "/v1/sinks/:sink/enable",
    summary: "Let a disabled sink have events again, from where it stood",
    params: sink,
    answer: events.sink,
  }),
  testSink: () => ({
    method: "POST",
    path: "/v1/sinks/:sink/test",
    summary: "Deliver a test event now, and answer what became of it",
    params: sink,
    answer: events.deliveryAttempt,
  }),
  listSubscriptions: () => ({
    method: "GET",
    path: "/v1/subscriptions",
    summary: "Subscriptions to events",
    answer: z.object({ subscriptions: z.array(events.subscription) }),
  }),
  createSubscription: () => ({
    method: "POST",
    path: "/v1/subscriptions",
    summary: "Subscribe endpoints to events",
    body: events.newSubscription,
    answer: events.subscription,
  }),
  showSubscription: () => ({
    method: "GET",
    path: "/v1/subscriptions/:id",
    summary: "One subscription",
    params: z.object({ id: z.string() }),
    answer: events.subscription,
  }),
  changeSubscription: () => ({
    method: "PUT",
    path: "/v1/subscriptions/:id",
    summary: "Change a subscription",
    params: z.object({ id: z.string() }),
    body: events.subscriptionChange,
    answer: events.subscription,
  }),
  removeSubscription: () => ({
    method: "DELETE",
    path: "/v1/subscriptions/:id",
    summary: "Remove a subscription and what waits for it",
    params: z.object({ id: z.string() }),
    answer: nothing,
  }),
  listNotify: () => ({
    method: "GET",
    path: "/v1/vms/:vm/notify",
    summary: "Who is notified of a VM's states over AMQP",
    params: vm,
    answer: z.object({ notify: z.array(events.notify) }),
  }),
  addNotify: () => ({
    method: "POST",
    path: "/v1/vms/:vm/notify",
    summary: "Notify a queue of a VM's states",
    params: vm,
    body: events.newNotify,
    answer: events.notify,
  }),
  removeNotify: () => ({
    method: "DELETE",
    path: "/v1/vms/:vm/notify/:id",
    summary: "Notify no more",
    params: z.extend(vm, { id: z.string() }),
    answer: nothing,
  }),
  saveImage: () => ({
    method: "POST",
    path: "/v1/vms/:vm/image-saves",
    summary: "Save a VM's disk image when it has shut down",
    params: vm,
    body: events.newImageSave,
    answer: events.imageSave,
  }),
  listImageSaves: () => ({
    method: "GET",
    path: "/v1/image-saves",
    summary: "Images that are to be saved, and those that were, the newest first",
    query: z.strictObject({ vm: z.optional(z.string()) }),
    answer: z.object({ imageSaves: z.array(events.imageSave) }),
  }),
  showImageSave: () => ({
    method: "GET",
    path: "/v1/image-saves/:id",
    summary: "How far the saving of an image is",
    params: z.object({ id: z.string() }),
    answer: events.imageSave,
  }),
  followImageSave: () => ({
    method: "GET",
    path: "/v1/image-saves/:id/stream",
    summary: "The saving of an image until it is over",
    params: z.object({ id: z.string() }),
    stream: { changed: events.imageSave },
  }),
  cancelImageSave: () => ({
    method: "DELETE",
    path: "/v1/image-saves/:id",
    summary: "Do not save an image, or stop saving it",
    params: z.object({ id: z.string() }),
    answer: events.imageSave,
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
